//! What stands behind something that no repair of the model removes is found as well.

use hopwise_change::Change;
use hopwise_diagnose::{Diagnosis, Kind};
use hopwise_snapshot::{Observed, Place, Snapshot};

use crate::{changed, diagnosis, healthy, inserted, lines, sysctl};

/// Node w2 remembers as many connections as it may: to raise that is for the machine that it runs on.
fn full(mut snapshot: Snapshot) -> Snapshot {
    let net = snapshot.net_mut(&Place::node("w2")).unwrap();
    net.conntrack.count = Observed::Known(*net.conntrack.max.known().unwrap());
    snapshot
}

fn not_forwarding() -> Change {
    sysctl("w2", "net.ipv4.ip_forward", "0")
}

const FULL: &str = "HW9009 suspected node/w2/conntrack/max";

fn found(snapshot: &Snapshot) -> (Diagnosis, Vec<String>) {
    let diagnosis = diagnosis(snapshot, 11);
    let lines = lines(&diagnosis);
    (diagnosis, lines)
}

#[test]
fn a_full_table_alone_is_one_finding() {
    let (_, lines) = found(&full(healthy()));
    assert_eq!(lines, [FULL]);
}

#[test]
fn one_fault_behind_a_full_table_is_named_after_it() {
    let (diagnosis, lines) = found(&changed(full(healthy()), &[not_forwarding()]));
    assert_eq!(lines, [FULL, "HW1001 suspected node/w2/sysctl/net.ipv4.ip_forward"]);
    let [first, behind] = &diagnosis.findings[..] else { unreachable!() };
    assert!(behind.n_flows > 0 && behind.n_flows <= first.n_flows, "{} {}", behind.n_flows, first.n_flows);
    assert_eq!(behind.repair.actions[0].run, ["sysctl -w net.ipv4.ip_forward=1"]);
    assert_eq!(behind.kind, Kind::Suspected, "packets do not get there, so that nothing is proven");
}

#[test]
fn two_faults_behind_a_full_table_are_named_after_it() {
    let (_, mut lines) =
        found(&changed(full(healthy()), &[not_forwarding(), inserted("w2", "FORWARD", "-o cni0 -j DROP")]));
    // Which of the two breaks more depends on how many promises are looked at.
    lines[1..].sort();
    assert_eq!(
        lines,
        [
            FULL,
            "HW1001 suspected node/w2/sysctl/net.ipv4.ip_forward",
            "HW9001 suspected node/w2/iptables-nft/filter/FORWARD/1",
        ]
    );
}
