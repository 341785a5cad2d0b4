//! A repair in a document.

use hopwise_repair::{Action, Repair};
use hopwise_snapshot::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, ProofEntry, SnapshotName};
use crate::{Repaired, Report, Undone};

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
    /// The commands that take it back, one a line; null where no command does that by itself. `hopwise undo` takes back
    /// whatever was applied.
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

/// A repair: what is to be done or was, finding by finding, and what became of it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/repair/v1")]
pub struct RepairDocument {
    /// `hopwise/repair/v1`.
    pub schema: &'static str,
    /// What was diagnosed.
    pub snapshot: SnapshotName,
    /// The findings that were asked for, those that are repaired first.
    pub findings: Vec<PlannedEntry>,
    /// What is done, in order, each once.
    pub repair: RepairEntry,
    /// What the model says of all of it together.
    pub proof: ProofEntry,
    /// The number of the run, for `hopwise undo`; null where nothing was done.
    pub run: Option<u32>,
    /// Was it done, and does it hold? Null where nothing was to be done.
    pub healed: Option<bool>,
    /// Why it does not hold; null where it does.
    pub why: Option<String>,
    /// How many flows that were broken were asked for with packets, and answered.
    pub answered: usize,
    /// What could not be taken back of what did not hold.
    pub left: Vec<String>,
}

/// A finding in a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedEntry {
    /// The code of its cause.
    pub code: String,
    /// The name of its cause.
    pub cause: String,
    /// Where.
    pub elements: Vec<String>,
    /// Why it is not repaired; null where it is.
    pub refused: Option<String>,
}

impl Document for RepairDocument {
    const SCHEMA: &'static str = "hopwise/repair/v1";
}

impl RepairDocument {
    /// The document of a repair.
    pub fn new(report: &Report<'_>, repaired: &Repaired<'_>) -> Self {
        let plan = repaired.plan;
        let entry = |at: usize, refused: Option<String>| {
            let finding = report.diagnosis.findings.get(at)?;
            Some(PlannedEntry {
                code: finding.cause.code.to_string(),
                cause: finding.cause.name.to_owned(),
                elements: finding.elements.iter().map(ToString::to_string).collect(),
                refused,
            })
        };
        let done = plan.repaired.iter().map(|it| entry(*it, None));
        let refused = plan.refused.iter().map(|(at, refusal)| entry(*at, Some(refusal.to_string())));
        Self {
            schema: Self::SCHEMA,
            snapshot: SnapshotName::new(report.snapshot),
            findings: done.chain(refused).flatten().collect(),
            repair: RepairEntry::new(&Repair { actions: plan.steps.clone() }, report.snapshot),
            proof: ProofEntry::new(&plan.proof),
            run: repaired.run,
            healed: repaired.is_healed,
            why: repaired.why.clone(),
            answered: repaired.n_asked,
            left: repaired.left.clone(),
        }
    }
}

/// A repair that was taken back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/undo/v1")]
pub struct UndoDocument {
    /// `hopwise/undo/v1`.
    pub schema: &'static str,
    /// The number of the run.
    pub run: u32,
    /// Is everything as it was?
    pub whole: bool,
    /// What was set back.
    pub elements: Vec<String>,
    /// What somebody changed since. Where there is any, nothing was set back.
    pub conflicts: Vec<ConflictEntry>,
    /// What could not be set back.
    pub left: Vec<String>,
}

/// What a repair changed, and somebody else since.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConflictEntry {
    /// Which element.
    pub element: String,
    /// What it was before the repair; null where it was not there.
    pub before: Option<String>,
    /// What the repair left; null where it took it away.
    pub repaired: Option<String>,
    /// What it is now; null where it is gone.
    pub now: Option<String>,
}

impl Document for UndoDocument {
    const SCHEMA: &'static str = "hopwise/undo/v1";
}

impl UndoDocument {
    /// The document of an undo.
    pub fn new(undone: &Undone<'_>) -> Self {
        let conflict = |it: &hopwise_repair::Conflict| ConflictEntry {
            element: it.element.to_string(),
            before: it.before.clone(),
            repaired: it.repaired.clone(),
            now: it.now.clone(),
        };
        Self {
            schema: Self::SCHEMA,
            run: undone.run,
            whole: undone.is_whole(),
            elements: undone.elements.iter().map(ToString::to_string).collect(),
            conflicts: undone.conflicts.iter().map(conflict).collect(),
            left: undone.left.clone(),
        }
    }
}
