//! One flow, by every way that it can take.

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_snapshot::{Element, Place};

use crate::{
    Network,
    model::PlaceId,
    trace::{Assumption, Blocker, BlockerKind, Disposition, Flow, Recipient, Trace},
    walk::{Choices, Mode, trace_once},
};

/// The most ways that are followed. Beyond it a flow counts as not fully known.
const MOST_WAYS: usize = 4_096;
/// The same where something unknown decides: each further unknown doubles the ways and says no more.
const MOST_GUESSES: usize = 32;

/// All ways that a flow can take.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The flow.
    pub flow: Flow,
    /// One trace for each way. More than one where the kernel throws dice, or where what is not known was
    /// followed both ways.
    pub traces: Vec<Trace>,
    /// Was something unknown followed both ways?
    pub is_guess: bool,
    /// Were there more ways than are followed?
    pub is_cut: bool,
    /// What else would stop a flow that is stopped, once the first is out of its way; written down with hops.
    pub further: BTreeSet<Blocker>,
    pub(crate) visited: BTreeSet<PlaceId>,
    pub(crate) touches_underlay: bool,
}

/// Follows a flow by every way that it can take, and writes down every hop.
pub fn trace(network: &Network, flow: &Flow) -> Traces {
    let mut traces = follow(network, flow, Mode::Recording);
    if traces.blockers().is_empty() {
        return traces;
    }
    let all = all_blockers(network, flow);
    traces.further = all.into_iter().filter(|it| !traces.blockers().contains(it)).collect();
    traces
}

/// Everything that would stop a flow on any of its ways, forward and reply, one behind the other.
///
/// What packets cannot be imagined past ends the search on that way: a missing route, a station that is not there,
/// anything unknown.
pub fn all_blockers(network: &Network, flow: &Flow) -> BTreeSet<Blocker> {
    let forced = follow(network, flow, Mode::Forced);
    let last = forced.traces.into_iter().filter_map(|it| it.blocker);
    forced.further.into_iter().chain(last).collect()
}

/// Follows a flow by every way.
pub(crate) fn follow(network: &Network, flow: &Flow, mode: Mode) -> Traces {
    let mut choices = Choices::default();
    let mut all = Traces {
        flow: flow.clone(),
        traces: Vec::new(),
        is_guess: false,
        is_cut: false,
        further: BTreeSet::new(),
        visited: BTreeSet::new(),
        touches_underlay: false,
    };
    loop {
        let walked = trace_once(network, flow, &mut choices, mode);
        all.is_guess |= walked.is_guess;
        all.touches_underlay |= walked.touches_underlay;
        all.visited.extend(walked.visited);
        all.further.extend(walked.passed);
        all.traces.push(walked.trace);
        if !choices.next() {
            break;
        }
        if all.traces.len() >= if all.is_guess { MOST_GUESSES } else { MOST_WAYS } {
            all.is_cut = true;
            break;
        }
    }
    all
}

/// Whether a promise is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Certainly kept.
    Kept,
    /// Certainly broken, at least for some of the ways that the kernel chooses from.
    Broken,
    /// It depends on something unknown.
    Unknown,
}

/// What a flow is expected to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expectation {
    /// Who may take it.
    pub recipients: BTreeSet<Recipient>,
    /// Which source the recipient must see; none where translation is allowed.
    pub source: Option<IpAddr>,
}

impl Expectation {
    /// Expects anyone at all.
    pub fn anyone() -> Self {
        Self { recipients: BTreeSet::new(), source: None }
    }

    fn holds(&self, by: &Recipient, source_seen: IpAddr) -> bool {
        (self.recipients.is_empty() || self.recipients.contains(by))
            && self.source.is_none_or(|it| it == source_seen)
    }

    /// The trace of a flow as seen by someone who expects this: delivered to the wrong one is misdelivered.
    fn judge(&self, from: &Place, trace: &mut Trace) {
        let Disposition::Delivered { by, source_seen } = &trace.disposition else { return };
        if self.holds(by, *source_seen) {
            return;
        }
        let (by, source_seen) = (by.clone(), *source_seen);
        let wrong_recipient = !self.recipients.is_empty() && !self.recipients.contains(&by);
        let mut rules = trace.translations.iter().rev();
        let rule = rules.find(|it| it.is_destination == wrong_recipient).or(trace.translations.last());
        let (element, place) = match (rule, &by) {
            (Some(rule), _) => (rule.element.clone(), Some(rule.place.clone())),
            // Nobody on the way gave it that source: its sender did.
            (None, _) if !wrong_recipient => (Element::place(from), Some(from.clone())),
            (None, Recipient::Place(place)) => (Element::place(place), Some(place.clone())),
            (None, Recipient::Outside(_)) => (Element::underlay(["all"]), None),
        };
        let kind = BlockerKind::Misdirected { by: by.clone(), source_seen };
        trace.blocker = Some(Blocker { element, place, kind });
        trace.disposition = Disposition::Misdelivered { by, source_seen };
    }
}

/// Does a trace end for its addresses alone, after rules that nobody read and that may have given it others?
fn may_be_translated(trace: &Trace) -> bool {
    let by_address = matches!(
        trace.blocker.as_ref().map(|it| &it.kind),
        Some(
            BlockerKind::NoRoute { .. }
                | BlockerKind::RouteRefuses { .. }
                | BlockerKind::NoWayBack { .. }
                | BlockerKind::NoNeighbour { .. }
                | BlockerKind::Misdirected { .. }
                | BlockerKind::UnexpectedAnswer { .. }
                | BlockerKind::TimeToLive
        )
    );
    let is_ruleset = |it: &Assumption| {
        let tools = ["nft", "iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];
        matches!(it.element.parts().as_slice(), [kind] if tools.contains(&kind.as_str()))
    };
    by_address && trace.assumptions.iter().any(|it| !it.is_tried && is_ruleset(it))
}

impl Traces {
    /// Judges every way by what is expected.
    pub fn judged(mut self, expectation: &Expectation) -> Self {
        for trace in &mut self.traces {
            expectation.judge(&self.flow.from, trace);
        }
        self
    }

    /// Whether the flow does what was expected, by every way.
    pub fn state(&self) -> State {
        let fails = |it: &&Trace| !it.disposition.is_delivered();
        let n_failing = self.traces.iter().filter(fails).count();
        let is_open = |it: &&Trace| it.disposition == Disposition::Unknown || may_be_translated(it);
        let n_unknown = self.traces.iter().filter(is_open).count();
        let is_assumed = self.assumptions().iter().any(|it| !it.is_tried);
        if n_failing == 0 {
            return if is_assumed || self.is_cut { State::Unknown } else { State::Kept };
        }
        // What was not read was taken to be as the flow needs it: if it fails all the same, it fails. Where
        // both possibilities were followed, only what happens on all of them is certain.
        let fails_surely = !self.is_cut
            && if self.is_guess { n_failing - n_unknown == self.traces.len() } else { n_failing > n_unknown };
        if fails_surely { State::Broken } else { State::Unknown }
    }

    /// The trace to show: the most likely one that fails, else the most likely one.
    pub fn representative(&self) -> &Trace {
        let likelier = |a: &&Trace, b: &&Trace| a.probability.total_cmp(&b.probability);
        let failing = self.traces.iter().rev().filter(|it| !it.disposition.is_delivered()).max_by(likelier);
        failing.or_else(|| self.traces.iter().rev().max_by(likelier)).unwrap_or(&self.traces[0])
    }

    /// What stops the flow, on any of its ways.
    pub fn blockers(&self) -> BTreeSet<&Blocker> {
        self.traces.iter().filter_map(|it| it.blocker.as_ref()).collect()
    }

    /// What the answer depends on and nobody knows. Unknowns that were followed both ways count as well.
    pub fn assumptions(&self) -> BTreeSet<&Assumption> {
        self.traces.iter().flat_map(|it| &it.assumptions).collect()
    }
}
