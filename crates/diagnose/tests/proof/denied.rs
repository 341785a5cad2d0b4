//! What a policy denies stays denied: a repair that opens it is no repair.

use hopwise_change::Change;
use hopwise_dataplane::{Denied, Network, contract, verify};
use hopwise_diagnose::{Kind, prove};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{
    LabelSelector, NetworkPolicy, NetworkPolicySpec, ObjectMeta, Observed, Place, PodName, Snapshot,
};

use crate::{changed, deleted, diagnosis, healthy, inserted, lines, sysctl};

/// A policy that lets nobody in to a pod, and the rule by which its node obeys it.
fn with_policy(snapshot: Snapshot) -> Snapshot {
    let (snapshot, address) = with_policy_alone(snapshot);
    // No policy keeps a pod from itself, by way of a Service neither.
    let rule = format!("! -s {address}/32 -d {address}/32 -o cni0 -m conntrack --ctstate NEW -j DROP");
    changed(snapshot, &[dropped(&rule)])
}

/// A policy that lets nobody in to a pod, which nothing obeys, and the pod's address.
fn with_policy_alone(mut snapshot: Snapshot) -> (Snapshot, std::net::IpAddr) {
    let pods = snapshot.cluster.pods.known_mut().unwrap();
    let pod = pods.iter_mut().find(|it| it.name() == PodName::new("default", "echo-w2")).unwrap();
    pod.metadata.labels.insert("only".to_owned(), "this".to_owned());
    let address = pod.ips().into_iter().find(std::net::IpAddr::is_ipv4).unwrap();
    let labels = [("only".to_owned(), "this".to_owned())].into();
    let policy = NetworkPolicy {
        metadata: ObjectMeta { namespace: "default".into(), name: "closed".into(), ..ObjectMeta::default() },
        spec: NetworkPolicySpec {
            pod_selector: LabelSelector { match_labels: labels, ..LabelSelector::default() },
            policy_types: vec!["Ingress".into()],
            ..NetworkPolicySpec::default()
        },
    };
    snapshot.cluster.network_policies = Observed::Known(vec![policy]);
    (snapshot, address)
}

fn dropped(rule: &str) -> Change {
    inserted("w2", "FORWARD", rule)
}

fn forwarding(value: &str) -> Change {
    sysctl("w2", "net.ipv4.ip_forward", value)
}

fn opening() -> Change {
    deleted("w2", "FORWARD", 1)
}

fn repair(snapshot: &Snapshot, changes: &[Change]) -> Repair {
    let actions = changes.iter().map(|it| Action::change(it.clone(), snapshot, Risk::Additive, "")).collect();
    Repair { actions }
}

#[test]
fn what_is_denied_is_forbidden_by_the_contract_and_stopped() {
    let snapshot = with_policy(healthy());
    let contract = contract(&snapshot);
    assert!(!contract.forbidden.is_empty());
    let verification = verify(&Network::new(&snapshot), &snapshot, &contract);
    let forbidden = verification.forbidden;
    assert!(forbidden.iter().all(|it| *it == Denied::Filtered), "{forbidden:?}");
}

#[test]
fn a_repair_that_opens_a_denied_flow_is_refused() {
    let snapshot = changed(with_policy(healthy()), &[forwarding("0")]);
    let right = prove(&snapshot, &repair(&snapshot, &[forwarding("1")]));
    assert!(right.holds(), "{right:?}");
    let greedy = prove(&snapshot, &repair(&snapshot, &[forwarding("1"), opening()]));
    assert!(greedy.n_healed > 0 && greedy.n_opened > 0, "{greedy:?}");
    assert!(!greedy.holds());
}

/// A rule that stops answers too breaks more than the policy says. It is named, and deleting it is no proof: that would
/// open what the policy denies.
#[test]
fn a_rule_that_stops_more_than_its_policy_is_suspected() {
    let snapshot = with_policy(healthy());
    let net = snapshot.net(&Place::node("w2")).unwrap();
    let text = net.netfilter.iptables_nft.ipv4.known().unwrap().clone();
    let mut greedy = snapshot;
    let text = text.replace("-o cni0 -m conntrack --ctstate NEW -j DROP", "-o cni0 -j DROP");
    greedy.net_mut(&Place::node("w2")).unwrap().netfilter.iptables_nft.ipv4 = Observed::Known(text);
    let diagnosis = diagnosis(&greedy, 11);
    let finding = &diagnosis.findings[0];
    assert!(
        finding.elements[0].as_str().starts_with("node/w2/iptables-nft/filter/FORWARD/"),
        "{:?}",
        lines(&diagnosis)
    );
    assert_eq!(finding.kind, Kind::Suspected);
    assert!(finding.proof.n_opened > 0, "{:?}", finding.proof);
}

#[test]
fn a_rule_that_obeys_a_policy_is_not_accused() {
    let snapshot = changed(with_policy(healthy()), &[forwarding("0")]);
    assert_eq!(lines(&diagnosis(&snapshot, 11)), ["HW1001 proven node/w2/sysctl/net.ipv4.ip_forward"]);
}

/// A switch that stops every packet is not what denies some: turning it on opens nothing.
#[test]
fn what_no_rule_denies_is_not_opened_by_forwarding() {
    let (snapshot, _) = with_policy_alone(healthy());
    let snapshot = changed(snapshot, &[forwarding("0")]);
    let contract = contract(&snapshot);
    let verification = verify(&Network::new(&snapshot), &snapshot, &contract);
    assert!(verification.forbidden.contains(&Denied::Hindered), "{:?}", verification.forbidden);
    assert!(!verification.forbidden.contains(&Denied::Filtered), "{:?}", verification.forbidden);
    assert_eq!(lines(&diagnosis(&snapshot, 11)), ["HW1001 proven node/w2/sysctl/net.ipv4.ip_forward"]);
}
