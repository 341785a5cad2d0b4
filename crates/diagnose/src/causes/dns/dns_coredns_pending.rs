//! `HW1901`: no name server of the cluster was given a node, or got past its start.

use hopwise_repair::{Action, Repair};
use hopwise_snapshot::{Element, PodObject};

use super::{complaint, places, servers, unanswered, without_endpoints};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1901),
    name: "dns-coredns-pending",
    summary: "the cluster's name servers wait to be started: nobody resolves names",
    manual: include_str!("dns_coredns_pending.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let Some(service) = without_endpoints(case) else { return };
    let servers = servers(case, service);
    if servers.is_empty() || !servers.iter().all(|it| is_pending(it)) {
        return;
    }
    let first = servers[0].name();
    let unplaced = servers.iter().filter(|it| it.spec.node_name.is_none()).count();
    let waits = match unplaced {
        0 => "wait for their sandboxes".to_owned(),
        _ => format!("wait, {unplaced} of them for a node"),
    };
    let told = format!("see why {first} waits: kubectl -n {} describe pod {}", first.namespace, first.name);
    suspects
        .report(
            &CAUSE,
            Element::object(
                "service",
                &service.metadata.namespace,
                &service.metadata.name,
                Some("endpoints"),
            ),
        )
        .says(format!(
            "The cluster's {} name servers {waits}: {} has no endpoint.",
            servers.len(),
            service.full_name()
        ))
        .because(servers.iter().map(|it| complaint(case, it)))
        .also(unanswered(case, service))
        .waits_for(places(&servers))
        .repaired_by(Repair::one(Action::told(
            None,
            told,
            "kubectl -n kube-system get pods -l k8s-app=kube-dns",
        )));
}

fn is_pending(pod: &PodObject) -> bool {
    pod.status.phase == "Pending"
}
