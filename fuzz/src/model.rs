//! The network that strange texts make.

use std::{collections::BTreeSet, sync::LazyLock};

use hopwise_dataplane::{Check, Contract, Network, check, contract};
use hopwise_snapshot::{File, FileContent, Observed, Place, Snapshot, hop};

use crate::text;

const HEALTHY: &[u8] = include_bytes!("../../crates/cli/tests/snapshots/healthy.hop");

/// A cluster's facts, its network, and some of its promises.
static BASE: LazyLock<(Snapshot, Network, Contract)> = LazyLock::new(|| {
    let snapshot = hop::read(HEALTHY).expect("the sample is read");
    let network = Network::new(&snapshot);
    let mut promised = contract(&snapshot);
    let node = Place::node("w1");
    let n_all = promised.promises.len();
    promised.promises.retain(|it| it.from == node || snapshot.node_of(&it.from) == node.as_node().cloned());
    assert!(!promised.promises.is_empty() && promised.promises.len() < n_all);
    // A few that differ.
    let step = (promised.promises.len() / 12).max(1);
    promised.promises = promised.promises.into_iter().step_by(step).collect();
    assert!(promised.promises.iter().any(|it| matches!(it.check, Check::Flow { .. })));
    (snapshot, network, promised)
});

/// A node's text, chosen by the first byte, replaced by the rest: flows are followed through what it makes, whatever
/// it makes.
pub fn model(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let (snapshot, network, promised) = &*BASE;
    let mut snapshot = snapshot.clone();
    let place = Place::node("w1");
    let net = snapshot.net_mut(&place).expect("the node was read");
    let text = Observed::Known(text(data).into_owned());
    match kind % 8 {
        0 => net.netfilter.nft = text,
        1 => net.netfilter.iptables_nft.ipv4 = text,
        2 => net.netfilter.iptables_nft.ipv6 = text,
        3 => net.netfilter.iptables_legacy.ipv4 = text,
        4 => net.netfilter.iptables_legacy.ipv6 = text,
        5 => net.netfilter.arptables_legacy = text,
        6 => {
            net.netfilter.iptables_legacy.ipv4 = Observed::Known(
                "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m set --match-set a src,dst -j DROP\nCOMMIT\n"
                    .to_owned(),
            );
            net.netfilter.ipsets = text;
        }
        _ => {
            let content = FileContent::Bytes(data.to_vec());
            let file = File { content, mode: 0o644, modified: None, link_target: None, n_redacted: 0 };
            let files = snapshot.files_mut(&place).expect("the node was read");
            files.insert("/etc/resolv.conf".to_owned(), Observed::Known(file));
        }
    }
    let network = network.rebuilt(&snapshot, &BTreeSet::from([place]));
    for promise in &promised.promises {
        check(&network, &snapshot, promise);
    }
}
