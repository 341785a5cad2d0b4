//! Which pods stand for the others in a large cluster.
//!
//! Every pair of pods is a promise, which a few hundred pods make too many to follow. What a node does with a packet
//! depends on each end by itself, unless something names both. So from [`MOST_PODS`] pods on, every pod is tried with
//! a few that stand for all: the first of each node, those of each set of labels where policies tell pods apart, and
//! every pod whose address something on a node names by itself. Pairs of the others are left out, in number linear.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use hopwise_snapshot::{NetNs, NodeName, Observed, Place, PodName, PodObject, Snapshot};
use serde_json::Value;

/// Up to so many pods every pair is tried.
pub(crate) const MOST_PODS: usize = 40;
/// So many pods that something names stand for themselves at most: a rule for each pod is no rule for a pair.
const MOST_NAMED: usize = 32;
/// So many sets of labels are told apart at most.
const MOST_LABELS: usize = 32;

/// The pods that stand for others; none where every pair is tried.
pub(crate) fn standing<'a>(
    snapshot: &Snapshot,
    pods: impl Iterator<Item = (&'a PodName, &'a NodeName, &'a PodObject)>,
) -> Option<BTreeSet<Place>> {
    let pods: Vec<_> = pods.collect();
    if pods.len() <= MOST_PODS {
        return None;
    }
    let mut standing = BTreeSet::new();
    let mut nodes = BTreeSet::new();
    for (name, node, _) in &pods {
        if nodes.insert(*node) {
            standing.insert(Place::Pod((*name).clone()));
        }
    }
    if snapshot.cluster.network_policies.known().is_some_and(|it| !it.is_empty()) {
        let mut classes: BTreeMap<String, &PodName> = BTreeMap::new();
        for (name, _, pod) in &pods {
            let labels = pod.metadata.labels.iter().filter(|(key, _)| !key.ends_with("-hash"));
            let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
            classes.entry(format!("{} {}", pod.metadata.namespace, labels.join(","))).or_insert(name);
        }
        standing.extend(classes.into_values().take(MOST_LABELS).map(|it| Place::Pod(it.clone())));
    }
    let named = named_addresses(snapshot);
    let is_named = |pod: &PodObject| pod.ips().iter().any(|it| named.contains(it));
    let named = pods.iter().filter(|(_, _, pod)| is_named(pod)).take(MOST_NAMED);
    standing.extend(named.map(|(name, ..)| Place::Pod((*name).clone())));
    Some(standing)
}

/// The addresses that rules, routes and policies of nodes name, each by itself.
fn named_addresses(snapshot: &Snapshot) -> BTreeSet<IpAddr> {
    let mut named = BTreeSet::new();
    for node in snapshot.nodes.values().filter_map(Observed::known) {
        of_rules(&node.net, &mut named);
        let routes = node.net.routes.known().into_iter().flatten().map(|it| it.destination);
        let policies = node.net.xfrm_policies.known().into_iter().flatten();
        let policies = policies.flat_map(|it| [it.source, it.destination]);
        let single = routes.chain(policies).filter(|it| it.prefix_len() == it.max_prefix_len());
        named.extend(single.map(|it| it.addr()));
    }
    named
}

fn of_rules(net: &NetNs, named: &mut BTreeSet<IpAddr>) {
    let facts = &net.netfilter;
    let iptables = [
        &facts.iptables_nft.ipv4,
        &facts.iptables_nft.ipv6,
        &facts.iptables_legacy.ipv4,
        &facts.iptables_legacy.ipv6,
    ];
    // kube-proxy has a chain for each endpoint, which names it.
    let lines = iptables.into_iter().filter_map(|it| it.known()).flat_map(|it| it.lines());
    for line in lines.filter(|it| !it.contains("-A KUBE-SEP-")) {
        let words = line.split([' ', ',']).filter_map(|it| it.split('/').next());
        named.extend(words.filter_map(|it| it.parse::<IpAddr>().ok()));
    }
    let nft: Option<Value> = facts.nft.known().and_then(|it| serde_json::from_str(it).ok());
    let items = nft.as_ref().and_then(|it| it.get("nftables")?.as_array()).into_iter().flatten();
    for item in items.filter(|it| !is_of_endpoint(it)) {
        addresses_in(item, named);
    }
    let rules = net.rules.known().into_iter().flatten();
    let nets = rules.flat_map(|it| [it.source, it.destination]).flatten();
    named.extend(nets.filter(|it| it.prefix_len() == it.max_prefix_len()).map(|it| it.addr()));
}

/// Is it kube-proxy's own, which names every endpoint?
fn is_of_endpoint(item: &Value) -> bool {
    let Some(object) = item.as_object().and_then(|it| it.values().next()) else { return false };
    let word = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    word("table") == "kube-proxy" || word("chain").starts_with("KUBE-SEP-")
}

fn addresses_in(value: &Value, named: &mut BTreeSet<IpAddr>) {
    match value {
        Value::String(text) => named.extend(text.parse::<IpAddr>()),
        Value::Array(items) => items.iter().for_each(|it| addresses_in(it, named)),
        Value::Object(fields) => fields.values().for_each(|it| addresses_in(it, named)),
        _ => {}
    }
}
