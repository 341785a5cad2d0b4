//! `hopwise/diff/v1`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, SnapshotName};
use crate::{Difference, Differences, Side};

/// What differs between two snapshots, or between two nodes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/diff/v1")]
pub struct DiffDocument {
    /// `hopwise/diff/v1`.
    pub schema: &'static str,
    /// What was before.
    pub before: SideEntry,
    /// What was after.
    pub after: SideEntry,
    /// What differs, sorted by element.
    pub differences: Vec<DifferenceEntry>,
    /// What could not be compared, because one side or both were not read there.
    pub not_compared: Vec<String>,
    /// How many differences of what changes by itself are left out.
    pub left_out: usize,
}

/// One side of a comparison.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SideEntry {
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// The node, where two nodes are compared. Elements are then named without it: `sysctl/net.ipv4.ip_forward`.
    pub node: Option<String>,
}

/// Something that differs.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DifferenceEntry {
    /// What.
    pub element: String,
    /// What it was; null where it was not there.
    pub before: Option<String>,
    /// What it is; null where it is no longer there.
    pub after: Option<String>,
    /// For a text of several lines, what changed in it, as a unified diff.
    pub diff: Option<String>,
}

impl Document for DiffDocument {
    const SCHEMA: &'static str = "hopwise/diff/v1";
}

impl DiffDocument {
    /// The document of a comparison.
    pub fn new(differences: &Differences<'_>) -> Self {
        Self {
            schema: Self::SCHEMA,
            before: SideEntry::new(&differences.before),
            after: SideEntry::new(&differences.after),
            differences: differences.list.iter().map(DifferenceEntry::new).collect(),
            not_compared: differences.not_compared.clone(),
            left_out: differences.n_left_out,
        }
    }
}

impl SideEntry {
    fn new(side: &Side<'_>) -> Self {
        Self { snapshot: SnapshotName::new(side.snapshot), node: side.node.as_ref().map(ToString::to_string) }
    }
}

impl DifferenceEntry {
    fn new(it: &Difference) -> Self {
        Self {
            element: it.element.clone(),
            before: it.before.clone(),
            after: it.after.clone(),
            diff: it.diff.clone(),
        }
    }
}
