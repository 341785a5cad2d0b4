//! Reports: text for people, documents for programs.
//!
//! Read [`Report`] first (a diagnosis as it is to be shown), then [`text`] (what an operator reads, with ANSI styles
//! that a stream may strip) and [`document`] (what a program reads; the owner of every machine format). [`schemas`]
//! are the JSON Schemas of the documents.
//!
//! What is deliberately absent: I/O, clocks and terminals. The same snapshot gives the same bytes; how wide the
//! terminal is, and which commands to name as the next step, is told by the caller.

mod diff;
pub mod document;
mod endpoint;
mod nearest;
mod plural;
mod query;
mod repaired;
mod report;
mod schema;
pub mod text;
mod traced;

pub use diff::{Difference, Differences, Side, differences, differences_of_nodes};
pub use endpoint::{Endpoint, EndpointError, Named, Transport};
pub use nearest::nearest;
pub use query::{Query, QueryError};
pub use repaired::{Repaired, Undone};
pub use report::{Asked, Ignored, Report};
pub use schema::schemas;
pub use traced::{Matrix, Traced};
