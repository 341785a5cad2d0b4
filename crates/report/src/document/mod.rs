//! The documents that programs read: `-o json` and `-o yaml`.
//!
//! Fields are camelCase, times RFC 3339 with zone, durations seconds. A field that says nothing is null and not left
//! out. Lists are sorted. No timing of the run is in a document: the same snapshot gives the same bytes.

mod causes;
mod diagnosis;
mod diff;
mod drift;
mod error;
mod hop;
mod matrix;
mod probes;
mod repair;
mod trace;
mod version;

use hopwise_snapshot::{Snapshot, hop as hop_file};
use schemars::JsonSchema;
use serde::Serialize;

pub use causes::{CauseEntry, CausesDocument};
pub use diagnosis::{
    AskedFlow, Breaks, DiagnosisDocument, EvidenceEntry, FindingEntry, IgnoredEntry, PacketsEntry,
    ProofEntry, RuledOutEntry, SnapshotSummary, UnknownEntry, ViolationEntry,
};
pub use diff::{DiffDocument, DifferenceEntry, SideEntry};
pub use drift::{AfterEntry, DriftDocument, ExpectedEntry, LineEntry, OddEntry, OthersEntry, PredictedEntry};
pub use error::ErrorDocument;
pub use hop::HopEntry;
pub use matrix::{MatrixDocument, PairEntry};
pub use probes::{ProbesDocument, QuestionEntry};
pub use repair::{
    ActionEntry, ConflictEntry, PersistEntry, PlannedEntry, RepairDocument, RepairEntry, UndoDocument,
};
pub use trace::{TraceDocument, TracedFlowEntry, WayEntry};
pub use version::VersionDocument;

/// A document that is printed as a whole.
pub trait Document: Serialize + JsonSchema {
    /// Its name and version, which it carries in its field `schema`. A meaning that is added makes no new version; one
    /// that changes does.
    const SCHEMA: &'static str;
}

/// The document as JSON, indented, without a line feed at the end.
#[expect(clippy::missing_panics_doc, reason = "documents have string keys alone and write to memory")]
pub fn json<D: Document>(document: &D) -> String {
    serde_json::to_string_pretty(document).expect("a document has only string keys")
}

/// The same document as YAML 1.2, without a line feed at the end.
#[expect(clippy::missing_panics_doc, reason = "documents have string keys alone and write to memory")]
pub fn yaml<D: Document>(document: &D) -> String {
    let text = serde_saphyr::to_string(document).expect("a document has only string keys");
    text.trim_end_matches('\n').to_owned()
}

/// Which snapshot a document is about.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotName {
    /// Names the snapshot by its content: equal snapshots, equal names.
    pub id: String,
    /// When its collection began.
    #[schemars(extend("format" = "date-time"))]
    pub taken_at: String,
    /// Where it comes from: `lab/demo`.
    pub source: String,
}

impl SnapshotName {
    fn new(snapshot: &Snapshot) -> Self {
        Self {
            id: hop_file::id(snapshot),
            taken_at: snapshot.taken_at.to_string(),
            source: snapshot.source.clone(),
        }
    }
}
