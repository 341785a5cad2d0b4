//! What is not known, and what would settle it.

use std::collections::BTreeMap;

use hopwise_dataplane::{Assumption, State, Unknown, Verification};
use hopwise_snapshot::{Cluster, Element, NetNs, Observed, Place, Reason, Scope, Snapshot};

use crate::finding::UnknownFact;

/// What the answer for some promise depends on.
pub(crate) fn unknown(verification: &Verification) -> Vec<UnknownFact> {
    let mut facts: BTreeMap<Assumption, usize> = BTreeMap::new();
    for result in verification.results.iter().filter(|it| it.state == State::Unknown) {
        for assumption in &result.assumptions {
            *facts.entry(assumption.clone()).or_default() += 1;
        }
    }
    facts
        .into_iter()
        .map(|(assumption, n_flows)| UnknownFact { settled_by: settled_by(&assumption), assumption, n_flows })
        .collect()
}

/// The one command or right that would settle something unknown.
fn settled_by(assumption: &Assumption) -> String {
    let place = assumption.element.of_place().map_or_else(|| "the cluster".to_owned(), |it| it.to_string());
    match &assumption.reason {
        Unknown::NotCollected(Reason::NotAsked(option)) => format!("run without {option}"),
        Unknown::NotCollected(Reason::NotPermitted(right)) if assumption.element.of_place().is_none() => {
            format!("run as somebody who may {right}; deploy/rbac.yaml grants it")
        }
        Unknown::NotCollected(Reason::NotPermitted(right)) => format!("run with {right} on {place}"),
        Unknown::NotCollected(Reason::ProgramMissing(program)) => format!("install {program} on {place}"),
        Unknown::NotCollected(Reason::TimedOut) => format!("collect {place} again, with more time"),
        Unknown::NotCollected(Reason::TooLarge { .. }) => format!("collect {place} with a larger limit"),
        Unknown::NotCollected(_) => format!("collect {} again", assumption.element),
        Unknown::NotModelled(_) => format!("send packets: hopwise lab truth, or ping and curl from {place}"),
    }
}

/// Places and facts that could not be read, whether or not something depends on them.
pub(crate) fn not_seen(snapshot: &Snapshot) -> Vec<UnknownFact> {
    let mut all = Vec::new();
    let mut add = |element: Element, reason: &Reason| {
        let assumption =
            Assumption { element, reason: Unknown::NotCollected(reason.clone()), is_tried: false };
        all.push(UnknownFact { settled_by: settled_by(&assumption), assumption, n_flows: 0 });
    };
    of_cluster(&snapshot.cluster, &mut add);
    for (name, node) in &snapshot.nodes {
        let place = Place::Node(name.clone());
        match node {
            Observed::Known(node) => {
                of_namespace(&place, &node.net, &mut add);
                for (path, file) in &node.files {
                    if let Observed::NotCollected(reason) = file {
                        add(Element::file(&place, path), reason);
                    }
                }
            }
            Observed::NotCollected(reason) => add(Element::place(&place), reason),
            Observed::Absent => {}
        }
    }
    for (name, pod) in &snapshot.pods {
        let place = Place::Pod(name.clone());
        match pod {
            Observed::Known(pod) => of_namespace(&place, &pod.net, &mut add),
            Observed::NotCollected(reason) => add(Element::place(&place), reason),
            Observed::Absent => {}
        }
    }
    all
}

/// The objects that could not be listed. What a source does not carry at all, as a lab's has no events, is no news.
fn of_cluster(cluster: &Cluster, add: &mut impl FnMut(Element, &Reason)) {
    let facts = [
        ("node", reason(&cluster.nodes)),
        ("pod", reason(&cluster.pods)),
        ("service", reason(&cluster.services)),
        ("endpointslice", reason(&cluster.endpoint_slices)),
        ("configmap", reason(&cluster.config_maps)),
        ("networkpolicy", reason(&cluster.network_policies)),
        ("namespace", reason(&cluster.namespaces)),
        ("workload", reason(&cluster.workloads)),
        ("event", reason(&cluster.events)),
        ("log", reason(&cluster.logs)),
    ];
    let facts = facts.into_iter().filter_map(|(kind, reason)| Some((kind, reason?)));
    for (kind, reason) in facts.filter(|(_, reason)| **reason != Reason::SourceLacksIt) {
        add(Element::new(&Scope::Cluster, [kind]), reason);
    }
    for (resource, reason) in &cluster.partly {
        add(Element::new(&Scope::Cluster, [resource.as_str()]), reason);
    }
    for log in cluster.logs.known().into_iter().flatten() {
        if let Observed::NotCollected(reason) = &log.lines {
            let parts = ["log", &log.pod.namespace, &log.pod.name, &log.container];
            add(Element::new(&Scope::Cluster, parts), reason);
        }
    }
}

fn reason<T>(fact: &Observed<T>) -> Option<&Reason> {
    match fact {
        Observed::NotCollected(reason) => Some(reason),
        Observed::Known(_) | Observed::Absent => None,
    }
}

fn of_namespace(place: &Place, net: &NetNs, add: &mut impl FnMut(Element, &Reason)) {
    let facts = [
        ("links", reason(&net.links)),
        ("addresses", reason(&net.addresses)),
        ("routes", reason(&net.routes)),
        ("rules", reason(&net.rules)),
        ("neighbours", reason(&net.neighbours)),
        ("fdb", reason(&net.fdb)),
        ("qdiscs", reason(&net.qdiscs)),
        ("tc", reason(&net.tc_filters)),
        ("xfrm", reason(&net.xfrm_policies)),
        ("sysctl", reason(&net.sysctls)),
        ("sockets", reason(&net.sockets)),
        ("nft", reason(&net.netfilter.nft)),
        ("iptables-nft", reason(&net.netfilter.iptables_nft.ipv4)),
        ("ip6tables-nft", reason(&net.netfilter.iptables_nft.ipv6)),
        ("iptables-legacy", reason(&net.netfilter.iptables_legacy.ipv4)),
        ("ip6tables-legacy", reason(&net.netfilter.iptables_legacy.ipv6)),
        ("arptables-legacy", reason(&net.netfilter.arptables_legacy)),
        ("ipset", reason(&net.netfilter.ipsets)),
        ("conntrack/count", reason(&net.conntrack.count)),
        ("conntrack/max", reason(&net.conntrack.max)),
    ];
    for (name, reason) in facts {
        if let Some(reason) = reason {
            add(Element::ruleset(place, name), reason);
        }
    }
}
