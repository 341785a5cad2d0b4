//! Rules of packet filters that the cluster's controllers write.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::{Change, Controller, backend};
use hopwise_controllers::{
    Family, Ruleset,
    flannel::{FlannelConfig, sync_flannel_iptables},
    kube_proxy::{KubeProxy, KubeProxyConfig, ProxyMode},
    kubelet::sync_kubelet_iptables,
};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, NetNs, NodeName, Observed, Place, Snapshot};

use super::{Aspect, Basis, Deviation, Intent, nodes};

/// From so many missing rules on, a table counts as emptied.
pub(super) const MANY: usize = 4;

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        for family in Family::ALL {
            let Some(expected) = expected(intent.snapshot, name, family) else { continue };
            let tool = backend(&node.net, family);
            let Some(actual) = actual(&node.net, tool) else { continue };
            compare(intent, name, &place, tool, &expected, &actual, found);
        }
    }
}

/// The rules of a family that kubelet, kube-proxy and flannel write on a node that has no others.
pub(crate) fn expected(snapshot: &Snapshot, node: &NodeName, family: Family) -> Option<Ruleset> {
    let cluster = &snapshot.cluster;
    let mut rules = Ruleset::default();
    let mut is_known = false;
    if let Observed::Known(Ok(config)) = KubeProxyConfig::of_cluster(cluster)
        && config.mode == ProxyMode::Iptables
    {
        sync_kubelet_iptables(family, &mut rules);
        KubeProxy::new(cluster, node, &config).sync(family, &mut rules).known()?;
        is_known = true;
    }
    if let Observed::Known(Ok(config)) = FlannelConfig::of_cluster(cluster)
        && let Observed::Known(Ok(())) = sync_flannel_iptables(cluster, node, &config, family, &mut rules)
    {
        is_known = true;
    }
    is_known.then_some(rules)
}

/// The rules that a tool shows; none where they were not read or cannot be.
fn actual(net: &NetNs, tool: &str) -> Option<Ruleset> {
    let facts = &net.netfilter;
    let text = match tool {
        "iptables-nft" => &facts.iptables_nft.ipv4,
        "ip6tables-nft" => &facts.iptables_nft.ipv6,
        "iptables-legacy" => &facts.iptables_legacy.ipv4,
        _ => &facts.iptables_legacy.ipv6,
    };
    match text {
        Observed::Known(text) => Ruleset::parse(&without_counters(text)).ok(),
        Observed::Absent => Some(Ruleset::default()),
        Observed::NotCollected(_) => None,
    }
}

fn without_counters(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('[').and_then(|it| it.split_once("] ")) {
        Some((_, rule)) => rule,
        None => line,
    });
    lines.flat_map(|it| [it, "\n"]).collect()
}

/// Whose rule it is, by its chain or by where it jumps to.
pub(crate) fn owner(chain: &str, rule: &str) -> Option<Controller> {
    let is_flannels = chain.starts_with("FLANNEL-") || rule.contains("-j FLANNEL-");
    let is_kubelets =
        chain == "KUBE-FIREWALL" || rule.ends_with("-j KUBE-FIREWALL") || chain.starts_with("KUBE-KUBELET");
    match (is_flannels, is_kubelets) {
        (true, _) => Some(Controller::Flannel),
        (false, true) => None,
        (false, false) => Some(Controller::KubeProxy),
    }
}

/// A rule of the cluster's that is missing.
struct Missing<'r> {
    /// Who would have written it.
    owner: Controller,
    chain: &'r str,
    /// Its place in its chain, from 1.
    position: usize,
    rule: &'r str,
    /// Is the whole chain gone?
    is_with_chain: bool,
}

fn compare(
    intent: &Intent<'_>,
    node: &NodeName,
    place: &Place,
    tool: &str,
    expected: &Ruleset,
    actual: &Ruleset,
    found: &mut Vec<Deviation>,
) {
    let mut missing: BTreeMap<&str, Vec<Missing<'_>>> = BTreeMap::new();
    let mut n_expected: BTreeMap<&str, usize> = BTreeMap::new();
    for (table, chain, wanted) in expected.chains() {
        let held = actual.chain(table, chain);
        let held_rules: BTreeSet<&str> =
            held.into_iter().flat_map(|it| &it.rules).map(String::as_str).collect();
        for (at, rule) in wanted.rules.iter().enumerate() {
            let Some(owner) = owner(chain, rule) else { continue };
            *n_expected.entry(table).or_default() += 1;
            if !held_rules.contains(rule.as_str()) {
                let lost = Missing { owner, chain, position: at + 1, rule, is_with_chain: held.is_none() };
                missing.entry(table).or_default().push(lost);
            }
        }
    }
    for (table, lost) in missing {
        let n_all = n_expected.get(table).copied().unwrap_or(0);
        if lost.len() >= MANY || lost.iter().any(|it| it.is_with_chain) {
            found.push(emptied(intent, node, place, tool, table, &lost, n_all));
            continue;
        }
        for it in lost {
            let verify = format!("{tool} -t {table} -S {}", it.chain);
            found.push(Deviation {
                element: Element::iptables_rule(place, tool, table, it.chain, it.position),
                place: place.clone(),
                aspect: Aspect::OwnedRule,
                observed: "missing".to_owned(),
                expected: format!("-A {} {}", it.chain, it.rule),
                basis: Basis::Controller(it.owner),
                source: format!("{tool}-save -t {table}"),
                repair: Repair::one(resync(intent, node, it.owner, verify)),
            });
        }
    }
}

/// A table that lost so much that it is at fault as a whole.
fn emptied(
    intent: &Intent<'_>,
    node: &NodeName,
    place: &Place,
    tool: &str,
    table: &str,
    lost: &[Missing<'_>],
    n_all: usize,
) -> Deviation {
    let owners: BTreeSet<Controller> = lost.iter().map(|it| it.owner).collect();
    let names: Vec<String> = owners.iter().map(ToString::to_string).collect();
    let verify = format!("{tool} -t {table} -S");
    let actions = owners.iter().map(|it| resync(intent, node, *it, verify.clone())).collect();
    Deviation {
        element: Element::iptables_table(place, tool, table),
        place: place.clone(),
        aspect: Aspect::OwnedTable,
        observed: format!("{} of {n_all} rules of {} are missing", lost.len(), names.join(" and ")),
        expected: format!("{n_all} rules"),
        basis: Basis::Controller(lost[0].owner),
        source: format!("{tool}-save -t {table}"),
        repair: Repair { actions },
    }
}

fn resync(intent: &Intent<'_>, node: &NodeName, controller: Controller, verify: String) -> Action {
    Action::change(
        Change::Resynced { node: node.clone(), controller },
        intent.snapshot,
        Risk::Restart,
        verify,
    )
}
