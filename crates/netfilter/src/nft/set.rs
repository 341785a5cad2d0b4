//! Sets, maps, stateful objects and flowtables of a table.

use serde_json::{Map, Value as Json};

use super::{elements::Elements, expression::Expression, statement::Words};

/// A set or map.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// `set`, `map` or `meter`.
    pub word: String,
    /// Its nf_tables handle.
    pub handle: Option<u64>,
    /// What its keys are.
    pub key: KeyType,
    /// What a map gives: types of values, `verdict`, or the kind of an object.
    pub data: Option<KeyType>,
    /// Its elements.
    pub elements: Elements,
    /// `constant`, `interval`, `timeout`, `dynamic`.
    pub flags: Words,
    /// The most elements that it takes.
    pub size: Option<u64>,
    /// Its other attributes as nft describes them: `comment`, `policy`, `timeout`, `gc-interval`,
    /// `auto-merge`, `stmt`.
    pub attributes: Map<String, Json>,
}

impl Set {
    /// Is it a map?
    pub fn is_map(&self) -> bool {
        self.data.is_some()
    }
}

/// What the keys or values of a set are.
#[derive(Clone, Debug, PartialEq)]
pub enum KeyType {
    /// The words of types, one or several.
    Words(Words),
    /// An expression whose values they are.
    Typeof(Box<Expression>),
}

/// A stateful object: a counter, quota, limit, helper, timeout policy, …
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its nf_tables handle.
    pub handle: Option<u64>,
    /// Its attributes as nft describes them.
    pub attributes: Map<String, Json>,
}

/// A flowtable.
#[derive(Clone, Debug, PartialEq)]
pub struct Flowtable {
    /// Its nf_tables handle.
    pub handle: Option<u64>,
    /// Its devices.
    pub devices: Words,
    /// Its other attributes as nft describes them: hook and priority.
    pub attributes: Map<String, Json>,
}
