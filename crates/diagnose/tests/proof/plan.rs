//! What is repaired, and what is refused and why.

use hopwise_change::Change;
use hopwise_diagnose::{
    Diagnosis, Finding, Kind, causes, diagnose,
    plan::{Plan, Refusal, Selector, plan, questions},
};
use hopwise_repair::{Repair, Risk};
use hopwise_snapshot::{File, Message, Observed, Place, PodName, Snapshot, SysctlKey};

use crate::{broken, changed, diagnosis, healthy, inserted, sysctl};

/// A diagnosis of a sample, and the plan for it.
fn planned(snapshot: &Snapshot, may_cut: bool) -> (Diagnosis, Plan) {
    let found = diagnosis(snapshot, 40);
    let plan = plan(snapshot, &found, &[], may_cut);
    (found, plan)
}

/// The first finding of a diagnosis with something else about it, and why it is refused.
fn refused(
    snapshot: &Snapshot,
    mut found: Diagnosis,
    may_cut: bool,
    other: impl FnOnce(&mut Finding),
) -> Refusal {
    found.findings.truncate(1);
    other(&mut found.findings[0]);
    let plan = plan(snapshot, &found, &[], may_cut);
    assert!(plan.repaired.is_empty() && plan.steps.is_empty(), "{plan:?}");
    plan.refused[0].1.clone()
}

#[test]
fn what_is_proven_is_repaired_each_step_once() {
    let snapshot = broken();
    let (found, plan) = planned(&snapshot, true);
    assert_eq!(plan.repaired.len(), found.findings.len(), "{:?}", plan.refused);
    assert!(plan.proof.holds(), "{:?}", plan.proof);
    for (at, step) in plan.steps.iter().enumerate() {
        assert!(!plan.steps[..at].contains(step), "{step:?}");
    }
}

#[test]
fn only_what_is_selected_is_repaired() {
    let snapshot = broken();
    let found = diagnosis(&snapshot, 40);
    let selector = |code: &str, prefix: Option<&str>| Selector {
        cause: causes::find(code).unwrap(),
        prefix: prefix.map(str::to_owned),
    };
    let named = |plan: &Plan| -> Vec<String> {
        plan.repaired.iter().map(|it| found.findings[*it].elements[0].to_string()).collect()
    };
    let one = plan(&snapshot, &found, &[selector("HW1001", Some("node/w2"))], true);
    assert_eq!(named(&one), ["node/w2/sysctl/net.ipv4.ip_forward"]);
    let none = plan(&snapshot, &found, &[selector("HW1001", Some("node/w1"))], true);
    assert!(none.repaired.is_empty() && none.refused.is_empty() && none.steps.is_empty());
}

#[test]
fn what_cuts_something_asks_first() {
    let rule = "-p udp -m udp --dport 8472 -j DROP";
    let snapshot = changed(healthy(), &[inserted("w2", "INPUT", rule)]);
    let (found, plan) = planned(&snapshot, false);
    assert!(!found.findings.is_empty() && plan.steps.is_empty(), "{plan:?}");
    assert_eq!(plan.refused[0].1, Refusal::Risky(Risk::Disruptive));
    assert_eq!(plan.refused[0].1.to_string(), "risk 4 is only done with --yes");
    let (_, plan) = planned(&snapshot, true);
    assert!(!plan.steps.is_empty(), "{plan:?}");
}

#[test]
fn what_is_not_proven_is_refused() {
    let snapshot = changed(healthy(), &[sysctl("w2", "net.ipv4.ip_forward", "0")]);
    let found = diagnosis(&snapshot, 40);
    for kind in [Kind::Suspected, Kind::Located] {
        assert_eq!(refused(&snapshot, found.clone(), true, |it| it.kind = kind), Refusal::Unproven(kind));
    }
    assert_eq!(refused(&snapshot, found.clone(), true, |it| it.repair = Repair::default()), Refusal::None);
    let by_hand = hopwise_repair::Action::told(None, "open UDP 8472", "hopwise probe mesh");
    let refusal = refused(&snapshot, found.clone(), true, |it| it.repair = Repair::one(by_hand));
    assert_eq!(refusal.to_string(), "only a person can do it: open UDP 8472");
    let harmful = refused(&snapshot, found.clone(), true, |it| it.proof.n_opened = 2);
    assert_eq!(harmful.to_string(), "it would open 2 forbidden flows");
    let nowhere = Change::LinkUp { place: Place::node("w2"), link: "cni7".to_owned(), up: true };
    let action = hopwise_repair::Action::change(nowhere, &snapshot, Risk::Additive, "");
    let refusal = refused(&snapshot, found, true, |it| it.repair = Repair::one(action));
    assert!(matches!(&refusal, Refusal::NotTried(why) if why.contains("cni7")), "{refusal}");
}

/// Nobody could load the program again that a repair would take off an interface.
#[test]
fn what_nothing_takes_back_is_refused() {
    let link = "eth0".to_owned();
    let attached = Change::XdpAttached { place: Place::node("w2"), link: link.clone(), program: 7 };
    let snapshot = changed(healthy(), &[attached, sysctl("w2", "net.ipv4.ip_forward", "0")]);
    let removed = Change::XdpRemoved { place: Place::node("w2"), link };
    let action = hopwise_repair::Action::change(removed, &snapshot, Risk::Additive, "");
    let refusal = refused(&snapshot, diagnosis(&snapshot, 40), false, |it| {
        it.kind = Kind::Proven;
        it.repair = Repair::one(action);
    });
    assert_eq!(refusal.to_string(), "nothing would take back node/w2/xdp/eth0: it is only done with --yes");
}

/// Two repairs each of which is harmless, and which open together what a policy denies.
#[test]
fn repairs_that_harm_together_are_refused_together() {
    let snapshot = changed(healthy(), &[sysctl("w2", "net.ipv4.ip_forward", "0")]);
    let mut found = diagnosis(&snapshot, 40);
    found.findings.truncate(1);
    let mut other = found.findings[0].clone();
    let forwarding = sysctl("w1", "net.ipv4.ip_forward", "0");
    other.repair =
        Repair::one(hopwise_repair::Action::change(forwarding, &snapshot, Risk::Additive, "sysctl"));
    found.findings.push(other);
    let plan = plan(&snapshot, &found, &[], true);
    assert!(plan.steps.is_empty() && plan.repaired.is_empty(), "{plan:?}");
    assert_eq!(plan.refused.len(), 2);
    assert!(matches!(&plan.refused[0].1, Refusal::Harms(proof) if proof.n_newly_broken > 0), "{plan:?}");
}

/// Two switches of one node are kept in one file: the second does not forget the first.
#[test]
fn what_is_kept_of_two_repairs_is_kept_of_both() {
    let keys = ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"];
    let snapshot = changed(healthy(), &keys.map(|it| sysctl("w2", it, "0")));
    let (_, plan) = planned(&snapshot, true);
    let mut after = snapshot.clone();
    for change in plan.planned().iter().flat_map(|it| &it.changes) {
        change.apply(&mut after).unwrap();
    }
    let file = after.files(&Place::node("w2")).unwrap()["/etc/sysctl.d/99-hopwise.conf"].known().unwrap();
    let text = String::from_utf8_lossy(file.content.bytes()).into_owned();
    for key in keys {
        assert!(text.contains(&format!("{key} = 1")), "{text}");
    }
}

/// Somebody else's file that the boot reads later is changed only where somebody agreed; what it says now is set anyway.
#[test]
fn somebody_elses_file_is_changed_only_on_demand() {
    let mut snapshot = changed(healthy(), &[sysctl("w2", "net.ipv4.ip_forward", "0")]);
    let path = "/etc/sysctl.d/zz-hardening.conf";
    let files = snapshot.files_mut(&Place::node("w2")).unwrap();
    files.insert(path.to_owned(), Observed::Known(File::text("net.ipv4.ip_forward = 0\n")));
    let written = |plan: &Plan| -> Vec<String> {
        plan.steps.iter().filter_map(|it| Some(it.persist.as_ref()?.path.clone())).collect()
    };
    let (_, careful) = planned(&snapshot, false);
    assert_eq!(written(&careful), ["/etc/sysctl.d/99-hopwise.conf"]);
    let (_, allowed) = planned(&snapshot, true);
    assert_eq!(written(&allowed), ["/etc/sysctl.d/99-hopwise.conf", path]);
    let mut after = snapshot.clone();
    for change in allowed.planned().iter().flat_map(|it| &it.changes) {
        change.apply(&mut after).unwrap();
    }
    let node = after.nodes[&"w2".into()].known().unwrap();
    let boot = hopwise_repair::boot::boot(node);
    let key = SysctlKey::from_dotted("net.ipv4.ip_forward");
    assert_eq!(boot.known().unwrap().decides(&key).unwrap().value, "1");
}

/// A pod's file is not written in it: the pod is made anew, and gets it so.
#[test]
fn a_pod_is_made_anew_for_its_file() {
    let snapshot = broken();
    let (_, plan) = planned(&snapshot, true);
    let place = Place::Pod(PodName::new("kube-system", "coredns-a"));
    let step = plan.planned().into_iter().find(|it| it.place.as_ref() == Some(&place)).unwrap();
    assert_eq!(step.acts, [Change::PodRecreated { pod: PodName::new("kube-system", "coredns-a") }]);
    assert!(matches!(&step.changes[..], [Change::FileWritten { .. }]), "{step:?}");
}

/// Whether a name resolves is asked of the server that the pod would ask, by the name that it would find.
#[test]
fn a_name_is_asked_for_as_the_resolver_completes_it() {
    let snapshot = changed(healthy(), &[sysctl("w2", "net.ipv4.ip_forward", "0")]);
    let found = diagnose(&snapshot);
    // Nothing is asked for that is still broken.
    assert_eq!(questions(&snapshot, &found, &[0]), []);
    let asked = questions(&healthy(), &found, &[0]);
    let names: Vec<_> = asked
        .iter()
        .filter_map(|it| match &it.message {
            Message::Name { name, port } => {
                Some((it.from.to_string(), it.to.to_string(), name.as_str(), *port))
            }
            _ => None,
        })
        .collect();
    let server = "10.96.0.10".to_owned();
    let from = names.first().map(|it| it.0.clone()).unwrap_or_default();
    assert_eq!(names, [(from, server, "kubernetes.default.svc.cluster.local", 53)]);
}
