//! Actions, and the repair that they make up.

use hopwise_change::Change;
use hopwise_snapshot::{Observed, Place, Snapshot, SysctlKey};

use crate::{Persist, Risk};

/// One step of a repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Where; none for a step outside of the cluster's nodes and pods.
    pub place: Option<Place>,
    /// What it changes, as the model understands it. Empty for a step that only a person can do.
    pub changes: Vec<Change>,
    /// The commands, or what a person is told to do.
    pub run: Vec<String>,
    /// What makes it last.
    pub persist: Option<Persist>,
    /// The commands that take it back.
    pub inverse: Vec<String>,
    /// How to see that it worked.
    pub verify: String,
    /// What it risks.
    pub risk: Risk,
}

impl Action {
    /// An action that makes one change.
    pub fn change(change: Change, before: &Snapshot, risk: Risk, verify: impl Into<String>) -> Self {
        let inverse = change.inverse(before);
        let run = match change.commands() {
            commands if commands.is_empty() => vec![change.summary()],
            commands => commands.iter().map(ToString::to_string).collect(),
        };
        Self {
            place: change.place(),
            run,
            persist: None,
            inverse: inverse.iter().flat_map(Change::commands).map(|it| it.to_string()).collect(),
            verify: verify.into(),
            risk,
            changes: vec![change],
        }
    }

    /// An action that sets a kernel switch, and on a node keeps it.
    pub fn sysctl(place: &Place, key: &SysctlKey, value: &str, before: &Snapshot) -> Self {
        let change = Change::Sysctl { place: place.clone(), key: key.clone(), value: value.to_owned() };
        let mut action = Self::change(change, before, Risk::Additive, format!("sysctl -n {key}"));
        let node = place.as_node().and_then(|it| before.nodes.get(it)).and_then(Observed::known);
        action.persist = node.map(|it| Persist::sysctl(place, it, key, value));
        action
    }

    /// A step that only a person can do.
    pub fn told(place: Option<Place>, text: impl Into<String>, verify: impl Into<String>) -> Self {
        Self {
            place,
            changes: Vec::new(),
            run: vec![text.into()],
            persist: None,
            inverse: Vec::new(),
            verify: verify.into(),
            risk: Risk::External,
        }
    }

    /// The same with what makes it last.
    pub fn persisted(mut self, persist: Persist) -> Self {
        self.persist = Some(persist);
        self
    }
}

/// What to do about a finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// The steps, in order.
    pub actions: Vec<Action>,
}

impl Repair {
    /// A repair of one step.
    pub fn one(action: Action) -> Self {
        Self { actions: vec![action] }
    }

    /// The risk of its riskiest step.
    pub fn risk(&self) -> Risk {
        self.actions.iter().map(|it| it.risk).max().unwrap_or_default()
    }

    /// All that it changes, in order, as the model understands it: files included.
    pub fn changes(&self) -> Vec<Change> {
        let mut all = Vec::new();
        for action in &self.actions {
            all.extend(action.changes.iter().cloned());
            all.extend(action.persist.iter().map(|it| Change::FileWritten {
                place: it.place.clone(),
                path: it.path.clone(),
                content: it.after.clone(),
            }));
        }
        all
    }

    /// The repair in one line.
    pub fn summary(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for action in &self.actions {
            parts.extend(action.run.iter().cloned());
            parts.extend(action.persist.iter().map(|it| format!("write {}", it.path)));
        }
        parts.dedup();
        parts.join("; ")
    }
}
