//! What the other places of a kind have.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_controllers::flannel::Uplink;
use hopwise_snapshot::Snapshot;
use ipnet::IpNet;

use super::nodes;

/// The value that more than half of the places have; none if no value has that many.
pub(crate) fn majority<T: Ord>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    let mut n_all = 0;
    for value in values {
        *counts.entry(value).or_default() += 1;
        n_all += 1;
    }
    counts.into_iter().find(|(_, n)| n * 2 > n_all).map(|(value, _)| value)
}

/// The uplink of a node that lost its address or its interface, by the name and prefix that other nodes have.
pub(crate) fn uplink(snapshot: &Snapshot, internal: &[IpAddr]) -> Option<Uplink> {
    let mut seen = Vec::new();
    for (name, node) in nodes(snapshot) {
        let addresses: Vec<IpAddr> = snapshot.cluster.node(name)?.internal_ips().collect();
        if let Some(uplink) = hopwise_change::uplink(&node.net, &addresses) {
            let lengths: Vec<u8> = uplink.addresses.iter().map(IpNet::prefix_len).collect();
            seen.push((uplink.name, uplink.mtu, lengths));
        }
    }
    let (name, mtu, lengths) = majority(seen)?;
    let addresses = internal.iter().zip(lengths).filter_map(|(it, length)| IpNet::new(*it, length).ok());
    Some(Uplink { name, mtu, addresses: addresses.collect() })
}

/// The node's own addresses that its uplink lost, with the prefix lengths that other nodes have.
pub(crate) fn lost_addresses(snapshot: &Snapshot, uplink: &Uplink, internal: &[IpAddr]) -> Vec<IpNet> {
    let is_lost = |it: &&IpAddr| !uplink.addresses.iter().any(|held| held.addr() == **it);
    let with_prefix = |it: &IpAddr| {
        let others = nodes(snapshot).flat_map(|(_, node)| node.net.addresses.known().into_iter().flatten());
        let near = others.map(|it| it.address).find(|other| other.addr() != *it && other.contains(it))?;
        IpNet::new(*it, near.prefix_len()).ok()
    };
    internal.iter().filter(is_lost).filter_map(with_prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!(majority([1, 1, 2]), Some(1));
        assert_eq!(majority([1, 2]), None);
        assert_eq!(majority::<u8>([]), None);
    }
}
