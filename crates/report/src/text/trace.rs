//! One flow hop by hop, forward and reply, and what decides.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_dataplane::{Blocker, Disposition, Hop, Stage, State, Trace, Traces};

use super::{
    Layout,
    finding::RIGHT,
    page::{BAD, GOOD, OPEN, Page, STRONG, width},
};
use crate::{Traced, plural::count};

/// Where the parts of the kernel begin.
const STAGE: usize = 2;

/// How many facts that are not known are shown.
const N_SHOWN: usize = 5;

/// A traced flow for a person.
pub fn trace(traced: &Traced<'_>, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let (word, style) = match traced.state {
        State::Kept => ("delivered", GOOD),
        State::Broken => ("not delivered", BAD),
        State::Unknown => ("not known", OPEN),
    };
    page.edges((&format!("{} → {}", traced.from, traced.to), STRONG), (word, style), RIGHT);
    let label = if traced.state == State::Unknown { "may end at" } else { "decided by" };
    stops(&mut page, label, traced.blockers.iter());
    stops(&mut page, "further on", traced.further().into_iter());
    let n_shown = layout.n_shown(traced.assumptions.len(), N_SHOWN);
    for assumption in traced.assumptions.iter().take(n_shown) {
        page.field(2, "not known", 14, &format!("{}: {}", assumption.element, assumption.reason));
    }
    if traced.assumptions.len() > n_shown {
        page.line(14, &format!("and {} more; --verbose shows them", traced.assumptions.len() - n_shown));
    }
    for flow in &traced.flows {
        page.gap();
        one_flow(&mut page, flow, layout);
    }
    page.done()
}

/// What stops a flow, each once.
fn stops<'a>(page: &mut Page, label: &str, blockers: impl Iterator<Item = &'a Blocker>) {
    let stops: BTreeSet<(String, String)> =
        blockers.map(|it| (it.element.to_string(), super::path::stop(it))).collect();
    for (element, stop) in stops {
        page.field(2, label, 14, &element);
        page.line(14, &format!("✗ {stop}"));
    }
}

/// The ways of a flow, the likeliest first.
pub(crate) fn likeliest_first(traces: &Traces) -> Vec<&Trace> {
    let mut ways: Vec<&Trace> = traces.traces.iter().collect();
    ways.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    ways
}

fn one_flow(page: &mut Page, traces: &Traces, layout: &Layout) {
    let ways = likeliest_first(traces);
    page.styled(0, &traces.flow.to_string(), STRONG);
    if ways.len() > 1 {
        several_ways(page, &ways);
    }
    let shown = traces.representative();
    for way in ways.iter().filter(|it| layout.is_verbose || std::ptr::eq(**it, shown)) {
        if ways.len() > 1 {
            page.gap();
            page.line(0, &format!("{}: {}", share(way.probability), end(way)));
        }
        hops(page, way, layout);
    }
}

/// How the kernel chooses, and how that ends.
fn several_ways(page: &mut Page, ways: &[&Trace]) {
    page.line(2, &format!("{}, of which the kernel takes one at random", count(ways.len(), "way")));
    let mut ends: BTreeMap<String, (usize, f64)> = BTreeMap::new();
    for way in ways {
        let (n, probability) = ends.entry(end(way)).or_default();
        *n += 1;
        *probability += way.probability;
    }
    for (end, (n, probability)) in ends {
        page.field(2, &share(probability), 11, &format!("{}: {end}", count(n, "way")));
    }
}

fn share(probability: f64) -> String {
    format!("{:.1} %", probability * 100.0)
}

fn end(way: &Trace) -> String {
    match (&way.disposition, &way.blocker) {
        (Disposition::Delivered { by, source_seen }, _) => {
            format!("delivered to {by}, which sees {source_seen}")
        }
        (_, Some(blocker)) => format!("{} by {}", way.disposition.word(), blocker.element),
        (_, None) => way.disposition.word().to_owned(),
    }
}

fn hops(page: &mut Page, way: &Trace, layout: &Layout) {
    let is_shown = |it: &&Hop| layout.is_verbose || it.stage != Stage::Match;
    let hops: Vec<&Hop> = way.hops.iter().filter(is_shown).collect();
    let stage = hops.iter().map(|it| width(it.stage.word())).max().unwrap_or_default();
    let (mut leg, mut place) = (None, None);
    for hop in hops {
        if leg != Some(hop.leg) {
            leg = Some(hop.leg);
            place = None;
            page.styled(0, leg_name(hop.leg), STRONG);
        }
        if place != Some(&hop.place) {
            place = Some(&hop.place);
            let name = hop.place.as_ref().map_or_else(|| "between the nodes".to_owned(), ToString::to_string);
            page.line(STAGE, &name);
        }
        one_hop(page, hop, stage, layout);
    }
}

fn one_hop(page: &mut Page, hop: &Hop, stage: usize, layout: &Layout) {
    let outer = if hop.is_outer { "(tunnel) " } else { "" };
    let mark = if hop.stage == Stage::Drop { "✗ " } else { "" };
    let column = STAGE + 2 + stage + 2;
    page.field(STAGE + 2, hop.stage.word(), column, &format!("{mark}{outer}{}", hop.note));
    if let Some(element) = hop.element.as_ref().filter(|_| layout.is_verbose) {
        page.line(column + 2, &element.to_string());
    }
}

/// Which packet it is.
fn leg_name(leg: u8) -> &'static str {
    match leg {
        0 => "forward",
        1 => "reply",
        2 => "forward, further packets",
        _ => "reply, further packets",
    }
}
