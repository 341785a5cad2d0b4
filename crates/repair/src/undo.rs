//! What an undo sets back, and what it leaves to a person.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::{Change, Settings, differing, settings};
use hopwise_snapshot::{Element, Place, Snapshot};

use crate::PlannedStep;

/// What a repair left behind, as far as it was recorded.
#[derive(Debug)]
pub struct Recorded<'a> {
    /// How everything was before.
    pub before: &'a Snapshot,
    /// The steps that were done to their end, each with how everything was after it.
    pub done: Vec<(&'a PlannedStep, &'a Snapshot)>,
    /// The step that was begun and not done.
    pub open: Option<&'a PlannedStep>,
}

/// What an undo does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// What is set back to what it was before.
    pub elements: BTreeSet<Element>,
    /// What the repair changed, and somebody else since.
    pub conflicts: Vec<Conflict>,
}

/// An element that the repair changed, and somebody else since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Which.
    pub element: Element,
    /// What it was before the repair; none where it was not there.
    pub before: Option<String>,
    /// What the repair left; none where it took it away.
    pub repaired: Option<String>,
    /// What it is now.
    pub now: Option<String>,
}

/// What the undo of a repair sets back, by how everything is now.
pub fn undo(recorded: &Recorded<'_>, now: &Snapshot) -> Undo {
    let before = settings(recorded.before);
    let now = settings(now);
    let mut last = (recorded.before, before.clone());
    let mut touched = BTreeSet::new();
    for (step, after) in &recorded.done {
        let state = settings(after);
        let places = places(step, last.0);
        touched.extend(differing(&last.1, &state).into_iter().filter(|it| is_at(it, &places)));
        last = (after, state);
    }
    let mut all = Undo::default();
    let open = recorded.open.map(|it| Open::new(it, last.0, &last.1));
    let may_be_open =
        |element: &Element| open.as_ref().is_some_and(|it| it.may_have(element, now.get(element)));
    touched.extend(differing(&last.1, &now).into_iter().filter(may_be_open));
    for element in touched {
        let text = |state: &Settings| state.get(&element).cloned();
        let (was, repaired, is) = (text(&before), text(&last.1), text(&now));
        if is == was {
            continue;
        }
        if is == repaired || may_be_open(&element) {
            all.elements.insert(element);
        } else {
            all.conflicts.push(Conflict { element, before: was, repaired, now: is });
        }
    }
    all
}

/// The places whose state a step may change.
pub fn places(step: &PlannedStep, snapshot: &Snapshot) -> BTreeSet<Place> {
    let changes = || step.changes.iter().chain(&step.acts);
    let mut places: BTreeSet<Place> = changes().filter_map(Change::place).collect();
    for change in changes() {
        match change {
            // A pod that is made anew gets a new end at its node's bridge.
            Change::PodRecreated { pod } => {
                places.extend(snapshot.node_of(&Place::Pod(pod.clone())).map(Place::Node));
            }
            // The other end of a pair follows.
            Change::LinkUp { .. } | Change::LinkRemoved { .. } => {
                let mut copy = snapshot.clone();
                places.extend(change.apply(&mut copy).into_iter().flatten());
            }
            _ => {}
        }
    }
    places
}

fn is_at(element: &Element, places: &BTreeSet<Place>) -> bool {
    element.of_place().is_some_and(|it| places.contains(&it))
}

/// A step of which nobody knows how far it came.
struct Open {
    places: BTreeSet<Place>,
    /// What it would have made of the elements that it changes by the model.
    predicted: BTreeMap<Element, Option<String>>,
    /// Does somebody else write the state, so that the model does not know every element?
    is_wide: bool,
}

impl Open {
    fn new(step: &PlannedStep, last: &Snapshot, state: &Settings) -> Self {
        let mut after = last.clone();
        let is_of_others = |it: &Change| matches!(it, Change::Resynced { .. } | Change::PodRecreated { .. });
        let mut is_wide = step.acts.iter().any(is_of_others);
        for change in &step.changes {
            // What cannot be applied to the model changes nothing there.
            is_wide |= change.apply(&mut after).is_err();
        }
        let after = settings(&after);
        let predicted = differing(state, &after).into_iter().map(|it| (it.clone(), after.get(&it).cloned()));
        Self { places: places(step, last), predicted: predicted.collect(), is_wide }
    }

    /// May the step have made this of an element?
    fn may_have(&self, element: &Element, now: Option<&String>) -> bool {
        if !is_at(element, &self.places) {
            return false;
        }
        self.is_wide || self.predicted.get(element).is_some_and(|it| it.as_ref() == now)
    }
}
