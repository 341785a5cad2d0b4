//! `hopwise/drift/v1`.

use hopwise_diagnose::{
    Diagnosis, Kind,
    drift::{Drift, Odd, Predicted},
};
use hopwise_snapshot::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, SnapshotName};

/// What is odd about nodes, and what their next boot changes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/drift/v1")]
pub struct DriftDocument {
    /// `hopwise/drift/v1`.
    pub schema: &'static str,
    /// The snapshot.
    pub snapshot: SnapshotName,
    /// How many nodes were compared.
    pub nodes: usize,
    /// Where a node differs from most others, or from any where there is no majority.
    pub odd: Vec<OddEntry>,
    /// Kernel switches that the next boot sets otherwise than they are now.
    pub next_boot: Vec<PredictedEntry>,
    /// Kernel switches that `sysctl --system` would set to something else than the next boot does.
    pub reload: Vec<PredictedEntry>,
    /// Lines of the nodes' files that nobody understands.
    pub not_understood: Vec<LineEntry>,
    /// Nodes whose files were not read.
    pub not_predicted: Vec<String>,
    /// What breaks nothing now and is found to break something later.
    pub latent: Vec<ExpectedEntry>,
    /// The cluster after the next boot of every node, by the model.
    pub after: AfterEntry,
}

/// A node that differs from others.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OddEntry {
    /// The node.
    pub node: String,
    /// Where.
    pub element: String,
    /// What is compared, for a person.
    pub what: String,
    /// What the node has; null where it has nothing of this.
    pub found: Option<String>,
    /// The file and line that says so.
    pub line: Option<String>,
    /// What others have, the most frequent first.
    pub others: Vec<OthersEntry>,
}

/// What other nodes have in common.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OthersEntry {
    /// The value; null where they have nothing of this.
    pub value: Option<String>,
    /// Who they are.
    pub nodes: Vec<String>,
    /// The file and line that says so on the first of them.
    pub line: Option<String>,
}

/// A kernel switch that gets another value.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PredictedEntry {
    /// The switch.
    pub element: String,
    /// Its value now.
    pub now: String,
    /// Its value then.
    pub then: String,
    /// The file and line that sets it; null where the kernel's own default comes back.
    pub line: Option<String>,
}

/// A line that nobody understands.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineEntry {
    /// Which.
    pub element: String,
    /// What it says.
    pub text: String,
}

/// The cluster as it is expected to be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AfterEntry {
    /// `healthy`, `broken` or `incomplete`.
    pub verdict: &'static str,
    /// How many flows are promised.
    pub promised: usize,
    /// How many of them are broken.
    pub broken: usize,
    /// What breaks them.
    pub findings: Vec<ExpectedEntry>,
}

/// A finding in short.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExpectedEntry {
    /// The cause's code.
    pub code: String,
    /// The cause's name.
    pub cause: &'static str,
    /// Where.
    pub elements: Vec<String>,
    /// What it does or will do, as a sentence.
    pub summary: String,
}

impl Document for DriftDocument {
    const SCHEMA: &'static str = "hopwise/drift/v1";
}

impl DriftDocument {
    /// The document of a comparison, with the diagnosis of the same snapshot.
    pub fn new(snapshot: &Snapshot, drift: &Drift, now: &Diagnosis) -> Self {
        Self {
            schema: Self::SCHEMA,
            snapshot: SnapshotName::new(snapshot),
            nodes: drift.n_nodes,
            odd: drift.odd.iter().map(odd).collect(),
            next_boot: drift.next_boot.iter().map(predicted).collect(),
            reload: drift.reload.iter().map(predicted).collect(),
            not_understood: drift
                .not_understood
                .iter()
                .map(|(element, text)| LineEntry { element: element.to_string(), text: text.clone() })
                .collect(),
            not_predicted: drift.not_predicted.iter().map(ToString::to_string).collect(),
            latent: findings(now, true),
            after: AfterEntry {
                verdict: drift.after.verdict().word(),
                promised: drift.after.n_promised,
                broken: drift.after.n_broken,
                findings: findings(&drift.after, false),
            },
        }
    }
}

fn odd(it: &Odd) -> OddEntry {
    let others = it.others.iter().map(|it| OthersEntry {
        value: it.value.clone(),
        nodes: it.nodes.iter().map(ToString::to_string).collect(),
        line: it.line.clone(),
    });
    OddEntry {
        node: it.node.to_string(),
        element: it.element.to_string(),
        what: it.what.clone(),
        found: it.found.clone(),
        line: it.line.clone(),
        others: others.collect(),
    }
}

fn predicted(it: &Predicted) -> PredictedEntry {
    PredictedEntry {
        element: it.element.to_string(),
        now: it.now.clone(),
        then: it.then.clone(),
        line: it.line.clone(),
    }
}

fn findings(diagnosis: &Diagnosis, latent: bool) -> Vec<ExpectedEntry> {
    let all = diagnosis.findings.iter().filter(|it| (it.kind == Kind::Latent) == latent);
    all.map(|it| ExpectedEntry {
        code: it.cause.code.to_string(),
        cause: it.cause.name,
        elements: it.elements.iter().map(ToString::to_string).collect(),
        summary: it.summary.clone(),
    })
    .collect()
}
