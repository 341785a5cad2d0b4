//! flannel's iptables chains.

use hopwise_snapshot::{Cluster, NodeName, Observed};
use ipnet::IpNet;

use super::{
    config::FlannelConfig,
    lease::{FlannelError, subnet},
};
use crate::{
    Family,
    ruleset::{Rule, Ruleset},
};

/// The rules that flannel writes where nothing else has written any: empty for a family that is not configured, and
/// with `EnableNFTables`.
///
/// Not collected where nodes were not listed.
///
/// # Errors
/// flannel would not start on the node.
pub fn flannel_iptables(
    cluster: &Cluster,
    node: &NodeName,
    config: &FlannelConfig,
    family: Family,
) -> Observed<Result<Ruleset, FlannelError>> {
    let mut rules = Ruleset::default();
    match sync_flannel_iptables(cluster, node, config, family, &mut rules) {
        Observed::Known(outcome) => Observed::Known(outcome.map(|()| rules)),
        Observed::Absent => Observed::Absent,
        Observed::NotCollected(reason) => Observed::NotCollected(reason),
    }
}

/// Does to `rules` what flannel does at its start, and whenever one of its rules is gone (flannel 0.28
/// `pkg/trafficmngr/iptables/iptables.go`, flags as in its manifest): its chains are written anew, and the jumps to
/// them become the last rules of their chains.
pub fn sync_flannel_iptables(
    cluster: &Cluster,
    node: &NodeName,
    config: &FlannelConfig,
    family: Family,
    rules: &mut Ruleset,
) -> Observed<Result<(), FlannelError>> {
    cluster.nodes.as_ref().map(|nodes| {
        let own = nodes.iter().find(|it| it.metadata.name == node.0);
        let own = own.ok_or_else(|| FlannelError::NoSuchNode(node.clone()))?;
        let Some(network) = config.network_of(family).filter(|_| !config.enable_nftables) else {
            return Ok(());
        };
        write(network, subnet(own, family)?, rules);
        Ok(())
    })
}

fn write(network: IpNet, pod_cidr: IpNet, rules: &mut Ruleset) {
    const MASQUERADE: &str = "MASQUERADE --random-fully";
    let multicast = match Family::of_net(&network) {
        Family::V4 => "224.0.0.0/4",
        Family::V6 => "ff00::/8",
    };
    let masq = || Rule::new().comment("flanneld masq");
    rules.chain_mut("nat", "FLANNEL-POSTRTG").rules = vec![
        // What kube-proxy has marked, kube-proxy masquerades.
        Rule::new().and("mark --mark 0x4000/0x4000").comment("flanneld masq").jump("RETURN"),
        masq().source(pod_cidr).destination(network).jump("RETURN"),
        masq().source(network).destination(pod_cidr).jump("RETURN"),
        masq().source_not(network).destination(pod_cidr).jump("RETURN"),
        masq().source(network).destination_not(multicast).jump(MASQUERADE),
        masq().source_not(network).destination(network).jump(MASQUERADE),
    ];
    let forward = || Rule::new().comment("flanneld forward");
    rules.chain_mut("filter", "FLANNEL-FWD").rules =
        vec![forward().source(network).jump("ACCEPT"), forward().destination(network).jump("ACCEPT")];
    for (table, chain, jump) in [
        ("nat", "POSTROUTING", masq().jump("FLANNEL-POSTRTG")),
        ("filter", "FORWARD", forward().jump("FLANNEL-FWD")),
    ] {
        let present = &mut rules.chain_mut(table, chain).rules;
        if let Some(index) = present.iter().position(|it| *it == jump) {
            present.remove(index);
        }
        present.push(jump);
    }
}
