//! The language of nft, as `nft -j list ruleset` prints it.

mod apply;
mod elements;
mod expression;
mod fields;
mod read;
mod relation;
mod select;
mod set;
mod statement;
mod syntax;
mod types;
mod worth;
mod write;

pub use elements::{Data, Element, Elements};
pub use expression::{Comparison, Constant, Datum, Expression, Operator, Relation, Scalar};
pub use fields::{Base, Field};
pub use read::parse;
pub use set::{Flowtable, KeyType, Object, Set};
pub use statement::{Nat, Statement, Verdict, Words};
pub use types::{Kind, Type};
pub use write::emit;

#[cfg(test)]
mod tests;
