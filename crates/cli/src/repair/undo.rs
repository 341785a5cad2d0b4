//! Taking a repair back.

use std::collections::BTreeSet;

use hopwise_change::{Change, Settings, differing, follows, restore, settings};
use hopwise_repair::{
    Conflict, Entry, Journal, PlannedStep, Recorded,
    journal::{BEFORE, State, UNDO_FROM, after},
    places, undo,
};
use hopwise_snapshot::{Element, Place, PodName, Snapshot};

use super::{
    act,
    run::{Run, point},
};
use crate::{
    failure::Failure,
    source::{Live, Source},
};

/// How often the state is read again to see what is still different.
const MOST_ROUNDS: usize = 8;

/// What came of taking a repair back.
#[derive(Debug, Default)]
pub(crate) struct TakenBack {
    /// What was set back.
    pub(crate) elements: BTreeSet<Element>,
    /// What was not, because somebody changed it since. Where this is not empty, nothing was done.
    pub(crate) conflicts: Vec<Conflict>,
    /// What could not be set back, and what was said.
    pub(crate) left: Vec<String>,
}

/// Takes a run back. What somebody changed since is overwritten only on demand.
pub(crate) fn take_back(
    source: &Source,
    live: Live<'_>,
    run: &Run,
    overwrite: bool,
) -> Result<TakenBack, Failure> {
    let journal = run.journal()?;
    let before = run.snapshot(BEFORE)?;
    let afters: Vec<(usize, Snapshot)> = journal
        .done()
        .map(|(step, _)| Ok((step, run.snapshot(&after(step))?)))
        .collect::<Result<_, Failure>>()?;
    let is_resumed = journal.state() == State::Undoing;
    let start = if is_resumed { run.snapshot(UNDO_FROM)? } else { source.read()?.snapshot };
    let done = afters.iter().filter_map(|(step, snapshot)| Some((journal.steps.get(*step)?, snapshot)));
    let recorded = Recorded { before: &before, done: done.collect(), open: journal.open_step() };
    let undo = undo(&recorded, &start);
    let mut elements = undo.elements;
    if overwrite {
        elements.extend(undo.conflicts.iter().map(|it| it.element.clone()));
    } else if !undo.conflicts.is_empty() {
        return Ok(TakenBack { conflicts: undo.conflicts, ..TakenBack::default() });
    }
    if !is_resumed {
        run.keep(UNDO_FROM, &start)?;
        run.write(&Entry::Undoing)?;
    }
    let touched = touched(&journal, &before);
    let mut taking = Taking {
        source,
        live,
        before: (&before, settings(&before)),
        start: (&start, settings(&start)),
        elements: &elements,
        said: Vec::new(),
    };
    // First what pods are made from; then the pods; then what is different about them.
    let nodes = touched.iter().filter(|it| it.as_node().is_some()).cloned().collect();
    let recreated = recreated(&journal);
    if !recreated.is_empty() {
        taking.settle(&nodes)?;
        for pod in recreated {
            point();
            act::act(live, &Change::PodRecreated { pod })?;
        }
    }
    let differing = taking.settle(&touched)?;
    let mut left: Vec<String> = differing.iter().map(ToString::to_string).collect();
    if !left.is_empty() {
        left.append(&mut taking.said);
    }
    run.write(&Entry::Undone { left: left.clone() })?;
    Ok(TakenBack { elements, conflicts: Vec::new(), left })
}

/// The steps of which something may have been done.
fn begun(journal: &Journal) -> impl Iterator<Item = &PlannedStep> {
    journal.done().map(|(_, it)| it).chain(journal.open_step())
}

fn touched(journal: &Journal, before: &Snapshot) -> BTreeSet<Place> {
    begun(journal).flat_map(|it| places(it, before)).collect()
}

fn recreated(journal: &Journal) -> BTreeSet<PodName> {
    let changes = begun(journal).flat_map(|it| &it.acts);
    let pods = changes.filter_map(|it| match it {
        Change::PodRecreated { pod } => Some(pod.clone()),
        _ => None,
    });
    pods.collect()
}

struct Taking<'a> {
    source: &'a Source,
    live: Live<'a>,
    /// How it was before the repair.
    before: (&'a Snapshot, Settings),
    /// How it was when this began.
    start: (&'a Snapshot, Settings),
    /// What is set back to before; everything else stays as it was when this began.
    elements: &'a BTreeSet<Element>,
    /// What failed.
    said: Vec<String>,
}

impl Taking<'_> {
    /// Restores until nothing differs at these places, or nothing changes any more; what differs then.
    fn settle(&mut self, places: &BTreeSet<Place>) -> Result<BTreeSet<Element>, Failure> {
        let mut last = None;
        for _ in 0..MOST_ROUNDS {
            let now = self.source.read()?.snapshot;
            let state = settings(&now);
            let at = |it: &Element| it.of_place().is_some_and(|it| places.contains(&it));
            let mut own = differing(&state, &self.before.1);
            own.retain(|it| at(it) && self.elements.contains(it));
            // What hangs on something that was made anew goes with it.
            let mut others = differing(&state, &self.start.1);
            let is_own = |it: &Element| self.start.1.get(it).is_none_or(|text| !follows(it, text));
            others.retain(|it| at(it) && !self.elements.contains(it) && is_own(it));
            let open: BTreeSet<Element> = own.union(&others).cloned().collect();
            if open.is_empty() || last.as_ref() == Some(&open) {
                return Ok(open);
            }
            self.said.clear();
            for (wanted, elements) in [(self.before.0, &own), (self.start.0, &others)] {
                for command in restore(&now, wanted, elements).commands {
                    point();
                    // What fails now may be possible in the next round.
                    if let Err(error) = act::run(self.live, &command) {
                        self.said.push(error.to_string());
                    }
                }
            }
            last = Some(open);
        }
        Ok(last.unwrap_or_default())
    }
}
