//! A router with rules whose counters are compared with the model.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use hopwise_netfilter::{RuleRef, Ruleset, Verdict};

use crate::{
    packets::Packet,
    space::{self, Router, facts},
    tracer::{Connections, Trace, traces},
};

/// A router with rules, and what the model knows of its connections.
pub(crate) struct Bench {
    pub(crate) router: Router,
    pub(crate) connections: Connections,
    pub(crate) ruleset: Ruleset,
    counters: BTreeMap<String, u64>,
}

impl Bench {
    /// Reads the rules that were loaded, which must all be understood.
    #[track_caller]
    pub(crate) fn new(router: Router) -> Self {
        let ruleset = read();
        let counters = counters(&ruleset);
        assert!(!counters.is_empty(), "some rule counts");
        Self { router, connections: Connections::default(), ruleset, counters }
    }

    /// Reads the rules again, whose sets may have changed.
    pub(crate) fn reads_again(&mut self) {
        self.ruleset = read();
    }

    /// Sends a packet that the router forwards or receives, and compares.
    #[track_caller]
    pub(crate) fn sends(&mut self, packet: &Packet) -> Trace {
        let space = if space::is_left(packet.from) { &self.router.left } else { &self.router.right };
        space.inside(|| packet.send());
        self.compare(packet, false)
    }

    /// Sends a packet from the router itself, and compares.
    #[track_caller]
    pub(crate) fn sends_itself(&mut self, packet: &Packet) -> Trace {
        packet.send();
        self.compare(packet, true)
    }

    /// The trace whose rules are those whose counters grew.
    #[track_caller]
    fn compare(&mut self, packet: &Packet, is_local: bool) -> Trace {
        let traces = traces(&self.ruleset, packet, &self.connections, is_local);
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let after = counters(&read());
            let grown: BTreeMap<String, u64> = after
                .iter()
                .filter_map(|(rule, count)| {
                    let more = count - self.counters.get(rule).copied().unwrap_or(0);
                    (more > 0).then(|| (rule.clone(), more))
                })
                .collect();
            if let Some(trace) = traces.iter().find(|it| is_seen(&self.ruleset, it, &grown)) {
                self.counters = after;
                self.connections = trace.connections.clone();
                return trace.clone();
            }
            // The packet may still be on its way.
            if Instant::now() > deadline {
                let expected: Vec<_> =
                    traces.iter().map(|it| difference(&self.ruleset, it, &grown)).collect();
                panic!("{packet:?}\n{}", expected.join("\nor\n"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Are the rules that grew those of the trace? The router's own answer to a rejected packet passes more.
fn is_seen(ruleset: &Ruleset, trace: &Trace, grown: &BTreeMap<String, u64>) -> bool {
    let expected = named(ruleset, trace);
    if matches!(trace.verdict, Verdict::Reject(_)) {
        expected.iter().all(|(rule, count)| grown.get(rule).is_some_and(|it| it >= count))
    } else {
        expected == *grown
    }
}

/// What sets a trace apart from what was counted.
fn difference(ruleset: &Ruleset, trace: &Trace, grown: &BTreeMap<String, u64>) -> String {
    let expected = named(ruleset, trace);
    let only = |what: &str, all: &BTreeMap<String, u64>, other: &BTreeMap<String, u64>| -> Vec<String> {
        let odd = all.iter().filter(|(rule, count)| other.get(*rule) != Some(*count));
        odd.map(|(rule, count)| format!("  {what} {count}: {rule}")).collect()
    };
    let mut lines = only("expected", &expected, grown);
    lines.extend(only("counted ", grown, &expected));
    format!("{:?}\n{}", trace.verdict, lines.join("\n"))
}

/// The rules of a trace that have counters, by what they say.
fn named(ruleset: &Ruleset, trace: &Trace) -> BTreeMap<String, u64> {
    let counted = trace.counted.iter().filter(|(at, _)| has_counter(ruleset, **at));
    counted.map(|(at, count)| (name(ruleset, *at), *count)).collect()
}

fn has_counter(ruleset: &Ruleset, at: RuleRef) -> bool {
    match ruleset.rule(at) {
        Some(rule) => rule.counters.is_some(),
        // nf_tables counts for policies only where a chain was made with counters.
        None => ruleset.table_of(at).unwrap().tool().ends_with("legacy"),
    }
}

fn name(ruleset: &Ruleset, at: RuleRef) -> String {
    format!("{} [{}]", ruleset.describe(at), at.position().unwrap_or(0))
}

/// What every rule and policy has counted.
fn counters(ruleset: &Ruleset) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for at in ruleset.references().filter(|at| has_counter(ruleset, *at)) {
        let counters = match ruleset.rule(at) {
            Some(rule) => rule.counters,
            None => ruleset.chain_of(at).unwrap().base.as_ref().and_then(|it| it.counters),
        };
        all.insert(name(ruleset, at), counters.unwrap().packets);
    }
    all
}

/// Reads the namespace's rules, every one of which must be understood.
#[track_caller]
fn read() -> Ruleset {
    let ruleset = Ruleset::parse(&facts());
    assert_eq!(ruleset.remarks, []);
    assert_eq!(ruleset.missing, []);
    ruleset
}
