//! The tracer against packets, and changes made by hand against the diagnosis (`hopwise-trials` has the long forms).
#![expect(clippy::print_stdout, reason = "how much was compared is what the test is for")]

use hopwise_trials::{Faults, Laboratory, Repairs, Underlay, kinds, tracer};

use crate::harness::program;

/// How many labs at a time: tests run beside each other, and a user has four at most in a directory.
const N_LABS: usize = 2;

fn say(line: &str) {
    println!("{line}");
}

fn the_tracer_says_what_packets_do(base: &str) {
    let laboratory = Laboratory::new(program()).unwrap();
    let score = tracer(&laboratory, N_LABS, base, 1, &say);
    println!("{base}: {}", score.line());
    assert!(score.is_good(1.0), "{}: {:#?}", score.line(), score.failures);
    assert!(score.comparison.n_compared > 40_000, "{}", score.line());
}

#[test]
fn the_tracer_says_what_packets_do_on_vxlan() {
    the_tracer_says_what_packets_do("vxlan");
}

#[test]
fn the_tracer_says_what_packets_do_on_dual_stack() {
    the_tracer_says_what_packets_do("dual-stack");
}

#[test]
fn what_was_changed_by_hand_is_named_first() {
    let laboratory = Laboratory::new(program()).unwrap();
    let bases = vec!["vxlan", "dual-stack"];
    let faults = Faults { kinds: kinds(), seed: 1, n_kept: 30, bases, at_once: 1, is_verbose: true };
    let score = faults.run(&laboratory, N_LABS, &say);
    score.lines().iter().for_each(|it| say(it));
    assert!(score.n_kept >= 30 && score.is_good(98), "{:#?}", score.misses);
}

/// Kinds of which each breaks promised packets wherever it is made: of two that are made at once both must be named.
const SURE: [&str; 6] = [
    "a pod's interface is down",
    "a pod's pair leaves the bridge",
    "a pod's pair is down",
    "a tunnel's neighbour is missing",
    "the tunnel has another number",
    "a pod has no name server",
];

#[test]
fn two_changes_on_two_nodes_are_two_findings() {
    let laboratory = Laboratory::new(program()).unwrap();
    let bases = vec!["vxlan", "dual-stack"];
    let faults = Faults {
        kinds: kinds().into_iter().filter(|it| SURE.contains(&it.name)).collect(),
        seed: 5_000,
        n_kept: 8,
        bases,
        at_once: 2,
        is_verbose: true,
    };
    let score = faults.run(&laboratory, N_LABS, &say);
    score.lines().iter().for_each(|it| say(it));
    assert!(score.n_kept >= 8 && score.is_good(98), "{:#?}", score.misses);
}

#[test]
fn every_cause_is_repaired_and_taken_back() {
    let laboratory = Laboratory::new(program()).unwrap();
    let trials = Repairs { bases: vec!["vxlan"] }.run(&laboratory, &say).unwrap();
    let wrong: Vec<_> = trials.iter().filter(|it| !it.wrong.is_empty()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(trials.len(), 15);
}

#[test]
fn what_gets_lost_between_nodes_is_located() {
    let laboratory = Laboratory::new(program()).unwrap();
    for (seed, loss, percent) in [(1, 0, 95), (2, 2, 90)] {
        let underlay = Underlay { seed, bases: vec!["vxlan"], loss };
        let score = underlay.run(&laboratory, &say).unwrap();
        say(&format!("{loss} % lost by chance: {}", score.line()));
        assert!(score.n_tried >= 24 && score.is_good(percent), "{:#?}", score.misses);
        assert!(score.median_probes() <= 8, "{}", score.line());
    }
}
