//! A repair in a document.

use hopwise_repair::{Action, Repair};
use hopwise_snapshot::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

/// What to do about a finding.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairEntry {
    /// The class of its riskiest step: 0 looks, 1 adds on one node, 2 restarts, 3 writes what lasts, 4 cuts for a
    /// while, 5 is for a person alone.
    #[schemars(range(max = 5))]
    pub risk: u8,
    /// The steps, in order; none where no repair is known.
    pub actions: Vec<ActionEntry>,
}

/// One step of a repair.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActionEntry {
    /// The node on which it is done; null for a step outside of the nodes.
    pub node: Option<String>,
    /// The node or the pod whose namespaces it is done in.
    pub place: Option<String>,
    /// The commands, one a line, or what a person is told to do; null where a file is written and nothing else.
    pub run: Option<String>,
    /// What makes it last.
    pub persist: Option<PersistEntry>,
    /// The commands that take it back, one a line; null where nothing does.
    pub inverse: Option<String>,
    /// How to see that it worked.
    pub verify: String,
    /// Its class of risk.
    #[schemars(range(max = 5))]
    pub risk: u8,
}

/// A file that makes a step last.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PersistEntry {
    /// The file.
    pub path: String,
    /// What changes in it, as a unified diff.
    pub diff: String,
    /// The line of somebody else's file, as `PATH:LINE`, that is read later and says otherwise.
    pub overruled_by: Option<String>,
}

impl RepairEntry {
    pub(super) fn new(repair: &Repair, snapshot: &Snapshot) -> Self {
        Self {
            risk: repair.risk().class(),
            actions: repair.actions.iter().map(|it| ActionEntry::new(it, snapshot)).collect(),
        }
    }
}

impl ActionEntry {
    fn new(action: &Action, snapshot: &Snapshot) -> Self {
        let node = action.place.as_ref().and_then(|it| snapshot.node_of(it));
        let persist = |it: &hopwise_repair::Persist| PersistEntry {
            path: it.path.clone(),
            diff: it.diff(),
            overruled_by: it.overruled_by.clone(),
        };
        Self {
            node: node.map(|it| it.to_string()),
            place: action.place.as_ref().map(ToString::to_string),
            run: (!action.run.is_empty()).then(|| action.run.join("\n")),
            persist: action.persist.as_ref().map(persist),
            inverse: (!action.inverse.is_empty()).then(|| action.inverse.join("\n")),
            verify: action.verify.clone(),
            risk: action.risk.class(),
        }
    }
}
