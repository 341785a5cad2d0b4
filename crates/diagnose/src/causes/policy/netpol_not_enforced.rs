//! `HW2206`: NetworkPolicies forbid flows, and nothing on the nodes stops them.

use hopwise_repair::{Action, Repair};
use hopwise_snapshot::{Element, NetworkPolicy};

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(2206),
    name: "netpol-not-enforced",
    summary: "no network plugin obeys the cluster's NetworkPolicies: what they forbid arrives",
    manual: include_str!("netpol_not_enforced.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    // Where some of it is stopped, somebody enforces policies, and lags or errs.
    if case.n_forbidden == 0 || case.n_open < case.n_forbidden {
        return;
    }
    let policies = case.snapshot.cluster.network_policies.known().map_or(&[][..], Vec::as_slice);
    let element = |it: &NetworkPolicy| {
        Element::object("networkpolicy", &it.metadata.namespace, &it.metadata.name, None)
    };
    let mut elements = policies.iter().map(element);
    let Some(first) = elements.next() else { return };
    let n = case.n_forbidden;
    let told =
        "install a network plugin that enforces policies, as Calico, Cilium or kube-router beside flannel";
    suspects
        .report(&CAUSE, first.clone())
        .says(format!(
            "NetworkPolicies forbid {n} flows, and all of them arrive: nothing here enforces policies."
        ))
        .because([Evidence {
            element: first,
            observed: format!("{n} of {n} forbidden flows arrive"),
            expected: "none".to_owned(),
            source: "the traced flows".to_owned(),
        }])
        .also(elements)
        .later("who relies on them is not protected")
        .repaired_by(Repair::one(Action::told(None, told, "kubectl get networkpolicies -A")));
}
