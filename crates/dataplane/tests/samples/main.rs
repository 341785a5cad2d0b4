//! The tracer on the state of a real cluster.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it looked at"
)]

use hopwise_dataplane::{Network, State, contract, trace, verify};
use hopwise_testkit::sample;

fn every_promise_is_kept_and_nothing_is_unknown(name: &str) {
    let snapshot = sample(name).unwrap();
    let network = Network::new(&snapshot);
    let contract = contract(&snapshot);
    assert!(contract.promises.len() > 100, "{}", contract.promises.len());
    let verification = verify(&network, &snapshot, &contract);
    let mut wrong = Vec::new();
    for (promise, result) in contract.promises.iter().zip(&verification.results) {
        if result.state != State::Kept {
            let why: Vec<String> =
                result.blockers.iter().map(|it| format!("{} ({})", it.element, it.note())).collect();
            wrong.push(format!(
                "{:?} {} → {} {}: {why:?} {:?}",
                result.state,
                promise.from,
                promise.to,
                promise.protocol(),
                result.assumptions
            ));
            if wrong.len() == 1
                && let hopwise_dataplane::Check::Flow { flow, .. } = &promise.check
            {
                for hop in &trace(&network, flow).representative().hops {
                    println!(
                        "{} {:?} {} {} {}",
                        hop.leg,
                        hop.stage,
                        hop.place.as_ref().map_or(String::new(), ToString::to_string),
                        hop.note,
                        hop.element.as_ref().map_or(String::new(), ToString::to_string)
                    );
                }
            }
        }
    }
    println!("{name}: {} promises", contract.promises.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), contract.promises.len(), wrong.join("\n"));
}

#[test]
fn a_healthy_cluster_with_nftables_keeps_every_promise() {
    every_promise_is_kept_and_nothing_is_unknown("kubeadm-1.34-flannel-vxlan-nftables");
}

#[test]
fn a_healthy_cluster_with_iptables_keeps_every_promise() {
    every_promise_is_kept_and_nothing_is_unknown("kubeadm-1.34-flannel-vxlan-iptables");
}
