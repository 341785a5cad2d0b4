//! `HW2004`: a node lost its name servers, and so do the pods that copy its file.

use hopwise_repair::Action;
use hopwise_snapshot::{Observed, Place};

use crate::{
    case::{Case, listed},
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Deviation},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(2004),
    name: "node-resolvconf-empty",
    summary: "the node's resolv.conf names no server: it resolves nothing, nor do pods that copied the file",
    manual: include_str!("node_resolvconf_empty.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let is_empty = |it: &&Deviation| it.observed == "no name server";
    for deviation in case.deviating(Aspect::Resolver).filter(is_empty) {
        let Some(name) = deviation.place.as_node() else { continue };
        let copies: Vec<&Deviation> = case
            .deviating(Aspect::Resolver)
            .filter(is_empty)
            .filter(|it| {
                let pod =
                    it.place.as_pod().and_then(|pod| case.snapshot.pods.get(pod)).and_then(Observed::known);
                pod.is_some_and(|pod| pod.node == *name)
            })
            .collect();
        let silent: Vec<&Deviation> = case
            .deviating(Aspect::Socket)
            .filter(|it| copies.iter().any(|copy| copy.place == it.place) && needs_servers(case, &it.place))
            .collect();
        let mut repair = deviation.repair.clone();
        repair.actions.extend(copies.iter().flat_map(|it| restart(it, &silent)));
        let pods: Vec<String> = copies.iter().map(|it| it.place.to_string()).collect();
        let with = if pods.is_empty() { String::new() } else { format!(", and so did {}", listed(&pods)) };
        let ends = if silent.is_empty() { "" } else { ": CoreDNS does not start without one" };
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!("Node {name} lost its name servers{with}{ends}."))
            .also(copies.iter().chain(&silent).map(|it| it.element.clone()))
            .because([deviation.evidence()])
            .because(copies.iter().chain(&silent).map(|it| it.evidence()))
            .repaired_by(repair);
    }
}

/// A pod that is made anew gets the node's file as it then is, and its program starts again.
fn restart(copy: &Deviation, silent: &[&Deviation]) -> Vec<Action> {
    let mut actions = copy.repair.actions.clone();
    let sockets = silent.iter().filter(|it| it.place == copy.place).flat_map(|it| it.repair.changes());
    if let Some(last) = actions.last_mut() {
        last.changes.extend(sockets);
    }
    actions
}

/// Does the pod's program end when it finds no name server? CoreDNS does where it forwards to those of its
/// resolv.conf: `plugin/forward: no valid upstream addresses found` (coredns 1.12, plugin/forward/setup.go).
fn needs_servers(case: &Case<'_>, place: &Place) -> bool {
    let Some(pod) = place.as_pod().and_then(|it| case.snapshot.cluster.pod(it)) else { return false };
    let serves_dns = pod.spec.containers.iter().flat_map(|it| &it.ports).any(|it| it.container_port == 53);
    let Some(config) = case.snapshot.cluster.config_map("kube-system", "coredns") else { return false };
    let corefile = config.data.get("Corefile").map_or("", String::as_str);
    let forwards = |it: &str| it.trim_start().starts_with("forward ") && it.contains("/etc/resolv.conf");
    serves_dns && corefile.lines().any(forwards)
}
