//! What nobody reads in a case.

use hopwise_snapshot::{Cluster, NetNs, NodeName, Observed, Place, Reason, Snapshot};

/// The kinds of facts that can be left unread.
const KINDS: &str = "addresses, conntrack, fdb, files, links, neighbours, netfilter, processes, qdiscs, routes, rules, \
                     sockets, sysctl, tc, xfrm";

/// The kinds of objects that can be left unread at the place `api`.
const OBJECTS: &str = "config-maps, endpoint-slices, network-policies, nodes, pods, services, workloads";

fn unread<T>() -> Observed<T> {
    Observed::NotCollected(Reason::TimedOut)
}

/// Forgets `PLACE: KIND`.
pub(crate) fn forget(snapshot: &mut Snapshot, text: &str) -> Result<(), String> {
    let (place, kind) =
        text.split_once(": ").ok_or_else(|| format!("expected `PLACE: KIND`, found `{text}`"))?;
    if place == "api" {
        return of_objects(&mut snapshot.cluster, kind.trim());
    }
    let place = if place.starts_with("pod/") { place.parse()? } else { Place::Node(NodeName::from(place)) };
    if snapshot.net(&place).is_none() {
        return Err(format!("{place} is not in this base"));
    }
    match kind.trim() {
        "files" => {
            for file in snapshot.files_mut(&place).into_iter().flat_map(|it| it.values_mut()) {
                *file = unread();
            }
            if let Place::Node(name) = &place
                && let Some(node) = snapshot.nodes.get_mut(name).and_then(Observed::known_mut)
            {
                for directory in node.directories.values_mut() {
                    *directory = unread();
                }
            }
        }
        "processes" => match &place {
            Place::Node(name) => {
                if let Some(node) = snapshot.nodes.get_mut(name).and_then(Observed::known_mut) {
                    node.processes = unread();
                }
            }
            Place::Pod(name) => {
                if let Some(pod) = snapshot.pods.get_mut(name).and_then(Observed::known_mut) {
                    pod.processes = unread();
                }
            }
        },
        kind => {
            let Some(net) = snapshot.net_mut(&place) else { return Ok(()) };
            of_namespace(net, kind)?;
        }
    }
    Ok(())
}

fn of_objects(cluster: &mut Cluster, kind: &str) -> Result<(), String> {
    match kind {
        "config-maps" => cluster.config_maps = unread(),
        "endpoint-slices" => cluster.endpoint_slices = unread(),
        "network-policies" => cluster.network_policies = unread(),
        "nodes" => cluster.nodes = unread(),
        "pods" => cluster.pods = unread(),
        "services" => cluster.services = unread(),
        "workloads" => cluster.workloads = unread(),
        other => return Err(format!("expected one of {OBJECTS}, found `{other}`")),
    }
    Ok(())
}

fn of_namespace(net: &mut NetNs, kind: &str) -> Result<(), String> {
    match kind {
        "addresses" => net.addresses = unread(),
        "conntrack" => net.conntrack = hopwise_snapshot::Conntrack::default(),
        "fdb" => net.fdb = unread(),
        "links" => net.links = unread(),
        "neighbours" => net.neighbours = unread(),
        "netfilter" => net.netfilter = hopwise_snapshot::Netfilter::default(),
        "qdiscs" => net.qdiscs = unread(),
        "routes" => net.routes = unread(),
        "rules" => net.rules = unread(),
        "sockets" => net.sockets = unread(),
        "sysctl" => net.sysctls = unread(),
        "tc" => net.tc_filters = unread(),
        "xfrm" => net.xfrm_policies = unread(),
        other => return Err(format!("expected one of {KINDS}, found `{other}`")),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base;

    #[test]
    fn what_is_forgotten_is_not_collected() {
        let mut base = base("vxlan").unwrap();
        for kind in KINDS.split(", ") {
            forget(&mut base, &format!("w2: {kind}")).unwrap();
        }
        let net = base.net(&Place::node("w2")).unwrap();
        assert!(net.sysctls.is_not_collected() && net.netfilter.iptables_nft.ipv4.is_not_collected());
        assert!(net.links.is_not_collected() && net.conntrack.max.is_not_collected());
        assert!(base.files(&Place::node("w2")).unwrap().values().all(Observed::is_not_collected));
        assert!(!base.net(&Place::node("w1")).unwrap().links.is_not_collected());
    }

    #[test]
    fn what_cannot_be_forgotten_is_named() {
        let mut base = base("vxlan").unwrap();
        assert!(forget(&mut base, "w2: rout").unwrap_err().ends_with("found `rout`"));
        assert_eq!(forget(&mut base, "w9: routes").unwrap_err(), "node/w9 is not in this base");
        assert_eq!(forget(&mut base, "routes").unwrap_err(), "expected `PLACE: KIND`, found `routes`");
    }
}
