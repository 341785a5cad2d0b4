//! kubelet's own few iptables chains.

use crate::{
    Family,
    ruleset::{Rule, Ruleset},
};

/// What kubelet 1.34 writes on a node where nothing else has written rules (`pkg/kubelet/kubelet_network_linux.go`):
/// a chain whose presence tells others which back end is in use, canaries by which it notices a flush, and the rule
/// that keeps strangers away from loopback addresses.
pub fn kubelet_iptables(family: Family) -> Ruleset {
    let mut rules = Ruleset::default();
    sync_kubelet_iptables(family, &mut rules);
    rules
}

/// Does to `rules` what kubelet does at its start and whenever its canaries are gone.
pub fn sync_kubelet_iptables(family: Family, rules: &mut Ruleset) {
    rules.chain_mut("mangle", "KUBE-IPTABLES-HINT");
    if family == Family::V4 {
        rules.chain_mut("filter", "KUBE-FIREWALL");
        for chain in ["OUTPUT", "INPUT"] {
            rules.ensure_first("filter", chain, Rule::new().jump("KUBE-FIREWALL"));
        }
        rules.ensure_last("filter", "KUBE-FIREWALL", block_incoming_localnet());
    }
    for table in ["mangle", "nat", "filter"] {
        rules.chain_mut(table, "KUBE-KUBELET-CANARY");
    }
}

/// The rule that undoes the danger of `route_localnet`; kubelet and kube-proxy write the same.
pub(crate) fn block_incoming_localnet() -> String {
    Rule::new()
        .source_not("127.0.0.0/8")
        .destination("127.0.0.0/8")
        .comment("block incoming localnet connections")
        .and("conntrack ! --ctstate RELATED,ESTABLISHED,DNAT")
        .jump("DROP")
}
