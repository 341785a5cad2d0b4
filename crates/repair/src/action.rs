//! Actions, and the repair that they make up.

use std::collections::BTreeMap;

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
    /// What brings these changes about where that is not the changes themselves: a pod that is made anew writes its files
    /// and starts its programs by itself.
    pub by: Option<Change>,
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
            by: None,
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
            by: None,
            run: vec![text.into()],
            persist: None,
            inverse: Vec::new(),
            verify: verify.into(),
            risk: Risk::External,
        }
    }

    /// What is done, in order: files included.
    pub fn acts(&self) -> Vec<Change> {
        let own = self.by.as_ref().map_or_else(|| self.changes.clone(), |it| vec![it.clone()]);
        own.into_iter().chain(self.persist.as_ref().map(Persist::change)).collect()
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

    /// A repair that sets a kernel switch, and on a node keeps it: against lines of somebody else's files, too, where
    /// the boot reads those later.
    pub fn sysctl(place: &Place, key: &SysctlKey, value: &str, before: &Snapshot) -> Self {
        let node = place.as_node().and_then(|it| before.nodes.get(it)).and_then(Observed::known);
        let disarmed = node.map(|it| Persist::disarmed(place, it, key, value)).unwrap_or_default();
        let disarm = |persist: Persist| Action {
            place: Some(place.clone()),
            changes: Vec::new(),
            by: None,
            run: Vec::new(),
            inverse: vec![format!("take the # from the line in {} again", persist.path)],
            verify: format!("grep -n {key} {}", persist.path),
            // Whoever wrote that line meant it.
            risk: Risk::Disruptive,
            persist: Some(persist),
        };
        let actions = [Action::sysctl(place, key, value, before)].into_iter();
        Self { actions: actions.chain(disarmed.into_iter().map(disarm)).collect() }
    }

    /// Steps of several repairs as one: each once, and what edits a file that an earlier one edits goes on from there.
    pub fn joined(actions: impl IntoIterator<Item = Action>) -> Self {
        let mut joined: Vec<Action> = Vec::new();
        let mut written: BTreeMap<(Place, String), String> = BTreeMap::new();
        let mut seen: Vec<Action> = Vec::new();
        for action in actions {
            if seen.contains(&action) {
                continue;
            }
            seen.push(action.clone());
            let mut action = action;
            if let Some(persist) = action.persist.take() {
                let file = (persist.place.clone(), persist.path.clone());
                let persist = match written.get(&file) {
                    Some(content) => persist.on(Some(content.clone())),
                    None => persist,
                };
                written.insert(file, persist.after.clone());
                action.persist = Some(persist);
            }
            joined.push(action);
        }
        Self { actions: joined }
    }

    /// The risk of its riskiest step.
    pub fn risk(&self) -> Risk {
        self.actions.iter().map(|it| it.risk).max().unwrap_or_default()
    }

    /// All that it changes, in order, as the model understands it: files included.
    pub fn changes(&self) -> Vec<Change> {
        let mut all = Vec::new();
        for action in &Self::joined(self.actions.iter().cloned()).actions {
            all.extend(action.changes.iter().cloned());
            all.extend(action.persist.iter().map(Persist::change));
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
