//! The nftables mode of kube-proxy.

mod expression;
mod names;
mod port;
mod table;

use hopwise_snapshot::Observed;
use serde_json::{Value, json};

use self::{
    expression::{concat, daddr, differs, l4proto, matches, one_of, verdict, vmap},
    table::{Table, Type},
};
use super::{
    endpoints::{categorize, zone_of},
    iptables::KubeProxy,
};
use crate::Family;

/// The table of kube-proxy in mode nftables, one of family `ip` and one of family `ip6`.
pub const TABLE: &str = "kube-proxy";

/// Chains that the kernel calls, with type, hook and priority (`nftablesBaseChains`).
const BASE_CHAINS: [(&str, &str, &str, i32); 8] = [
    ("filter-prerouting-pre-dnat", "filter", "prerouting", -110),
    ("filter-output-pre-dnat", "filter", "output", -110),
    ("filter-input", "filter", "input", 0),
    ("filter-forward", "filter", "forward", 0),
    ("filter-output", "filter", "output", 0),
    ("nat-prerouting", "nat", "prerouting", -100),
    ("nat-output", "nat", "output", -100),
    ("nat-postrouting", "nat", "postrouting", 100),
];

/// The jumps out of them: to which chain, from which, for new connections only (`nftablesJumpChains`).
const JUMPS: [(&str, &str, bool); 11] = [
    ("nodeport-endpoints-check", "filter-input", true),
    ("service-endpoints-check", "filter-input", true),
    ("service-endpoints-check", "filter-forward", true),
    ("service-endpoints-check", "filter-output", true),
    ("firewall-check", "filter-prerouting-pre-dnat", true),
    ("firewall-check", "filter-output-pre-dnat", true),
    ("services", "nat-output", false),
    ("services", "nat-prerouting", false),
    ("masquerading", "nat-postrouting", false),
    ("cluster-ips-check", "filter-forward", true),
    ("cluster-ips-check", "filter-output", true),
];

/// The chains that depend on no Service and that the kernel does not call.
const FIXED_CHAINS: [&str; 8] = [
    "nodeport-endpoints-check",
    "service-endpoints-check",
    "firewall-check",
    "services",
    "masquerading",
    "cluster-ips-check",
    MARK,
    REJECT,
];

/// The chain that asks for masquerading.
const MARK: &str = "mark-for-masquerade";
/// The chain that answers that a port is unreachable.
const REJECT: &str = "reject-chain";
/// What the sets of clients that an endpoint remembers begin with.
const AFFINITY: &str = "affinity-";

const CLUSTER_IPS: &str = "cluster-ips";
const NODE_PORT_IPS: &str = "nodeport-ips";
const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
const FIREWALL_IPS: &str = "firewall-ips";
const SERVICE_IPS: &str = "service-ips";
const SERVICE_NODE_PORTS: &str = "service-nodeports";

/// Does kube-proxy write or delete a chain of this name in its table? Names with a slash are those of Services
/// (`isServiceChainName`).
pub fn is_own_chain(name: &str) -> bool {
    name.contains('/') || FIXED_CHAINS.contains(&name) || BASE_CHAINS.iter().any(|it| it.0 == name)
}

/// Does kube-proxy write or delete a set or map of this name in its table?
pub fn is_own_set(name: &str) -> bool {
    let fixed = [
        CLUSTER_IPS,
        NODE_PORT_IPS,
        NO_ENDPOINT_SERVICES,
        NO_ENDPOINT_NODE_PORTS,
        FIREWALL_IPS,
        SERVICE_IPS,
        SERVICE_NODE_PORTS,
    ];
    fixed.contains(&name) || name.starts_with(AFFINITY)
}

impl KubeProxy<'_> {
    /// The [`TABLE`] of a family after a full sync, as the items of it that `nft -j list ruleset` prints (nft 1.0.6),
    /// without handles: the table, its sets and maps, its chains, their rules (`setupNFTables` and `syncProxyRules`,
    /// Kubernetes 1.34 `pkg/proxy/nftables/proxier.go`).
    ///
    /// Whatever mode the configuration names, this is what mode nftables writes. Sets of clients that an endpoint
    /// remembers are empty. The order of elements and of Services' chains is arbitrary in the real one; here it is that
    /// of their names.
    pub fn nftables(&self, family: Family) -> Observed<Vec<Value>> {
        self.ports_and_endpoints(family).map(|(ports, endpoints)| {
            let mut table = Table::new(family);
            self.add_sets(&mut table);
            add_fixed_chains(&mut table);
            self.add_fixed_rules(&mut table);
            let context = port::Context {
                family,
                masquerade_all: self.config.masquerade_all,
                local_traffic: self.local_traffic(family),
                node_ip: self.node_ip(family),
            };
            let zone = zone_of(self.cluster, &self.node);
            for (name, port) in &ports {
                let candidates = endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
                let used = categorize(candidates, port, &self.node, zone);
                port::add(&context, port, &used, &mut table);
            }
            table.into_items()
        })
    }

    fn add_sets(&self, table: &mut Table) {
        let family = table.family();
        let with_address = [Type::Address, Type::Protocol, Type::Port];
        let of_node = [Type::Protocol, Type::Port];
        table.add_set(CLUSTER_IPS, "Active ClusterIPs");
        if let Some(ranges) = self.node_port_ranges(family) {
            table.add_set(NODE_PORT_IPS, "IPs that accept NodePort traffic");
            for address in &self.host.addresses {
                if ranges.iter().any(|it| it.contains(address)) && !address.is_loopback() {
                    table.add_element(NODE_PORT_IPS, json!(address.to_string()));
                }
            }
        }
        table.add_verdict_map(
            NO_ENDPOINT_SERVICES,
            &with_address,
            "vmap to drop or reject packets to services with no endpoints",
        );
        table.add_verdict_map(
            NO_ENDPOINT_NODE_PORTS,
            &of_node,
            "vmap to drop or reject packets to service nodeports with no endpoints",
        );
        table.add_verdict_map(
            FIREWALL_IPS,
            &with_address,
            "destinations that are subject to LoadBalancerSourceRanges",
        );
        table.add_verdict_map(
            SERVICE_IPS,
            &with_address,
            "ClusterIP, ExternalIP and LoadBalancer IP traffic",
        );
        table.add_verdict_map(SERVICE_NODE_PORTS, &of_node, "NodePort traffic");
    }

    /// The rules that depend on no Service.
    fn add_fixed_rules(&self, table: &mut Table) {
        let family = table.family();
        let mark = json!({"meta": {"key": "mark"}});
        let bit = self.mark();
        // nft takes a mask of the highest bits for a range with a prefix.
        let is_unmarked = match self.config.masquerade_bit {
            31.. => matches(&mark, &json!({"prefix": {"addr": 0, "len": 1}})),
            _ => matches(&json!({"&": [mark, bit]}), &json!(0)),
        };
        let set_mark = |operation: &str| json!({"mangle": {"key": mark, "value": {operation: [mark, bit]}}});
        table.add_rule(MARK, [set_mark("|")], None);
        table.add_rule("masquerading", [is_unmarked, verdict("return")], None);
        table.add_rule("masquerading", [set_mark("^")], None);
        table.add_rule("masquerading", [json!({"masquerade": {"flags": "fully-random"}})], None);

        let to = daddr(family);
        let reject = match family {
            Family::V4 => json!({"reject": {"type": "icmp", "expr": "port-unreachable"}}),
            Family::V6 => json!({"reject": {"type": "icmpv6", "expr": "port-unreachable"}}),
        };
        let to_set = |set: &str| matches(&to, &json!(format!("@{set}")));
        table.add_rule(
            "cluster-ips-check",
            [to_set(CLUSTER_IPS), reject.clone()],
            Some("Reject traffic to invalid ports of ClusterIPs"),
        );
        let ranges: Vec<_> =
            self.host.service_ranges.iter().filter(|it| Family::of_net(it) == family).collect();
        if let Some(ranges) = one_of(ranges.into_iter().copied()) {
            table.add_rule(
                "cluster-ips-check",
                [matches(&to, &ranges), verdict("drop")],
                Some("Drop traffic to unallocated ClusterIPs"),
            );
        }
        table.add_rule(REJECT, [reject], None);

        let port = json!({"payload": {"protocol": "th", "field": "dport"}});
        let service = concat([to.clone(), l4proto(), port.clone()]);
        let node_port = concat([l4proto(), port]);
        let by_service = |map: &str| [vmap(&service, &json!(format!("@{map}")))];
        table.add_rule("service-endpoints-check", by_service(NO_ENDPOINT_SERVICES), None);
        table.add_rule("firewall-check", by_service(FIREWALL_IPS), None);
        table.add_rule("services", by_service(SERVICE_IPS), None);

        let by_node_port = |map: &str| vmap(&node_port, &json!(format!("@{map}")));
        let (refused, served) = (by_node_port(NO_ENDPOINT_NODE_PORTS), by_node_port(SERVICE_NODE_PORTS));
        if self.node_port_ranges(family).is_some() {
            table.add_rule("nodeport-endpoints-check", [to_set(NODE_PORT_IPS), refused], None);
            table.add_rule("services", [to_set(NODE_PORT_IPS), served], None);
        } else {
            let not_loopback = match family {
                Family::V4 => differs(&to, &json!({"prefix": {"addr": "127.0.0.0", "len": 8}})),
                Family::V6 => differs(&to, &json!("::1")),
            };
            let is_local = matches(&expression::address_type("daddr"), &json!("local"));
            table.add_rule("nodeport-endpoints-check", [not_loopback.clone(), refused], None);
            table.add_rule("services", [is_local, not_loopback, served], None);
        }
    }
}

fn add_fixed_chains(table: &mut Table) {
    for (name, kind, hook, priority) in BASE_CHAINS {
        table.add_base_chain(name, kind, hook, priority);
    }
    for name in FIXED_CHAINS {
        table.add_chain(name);
    }
    let is_new = json!({"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}});
    for (to, from, of_new_only) in JUMPS {
        let condition = of_new_only.then(|| is_new.clone());
        table.add_rule(from, condition.into_iter().chain([expression::jump(to)]), None);
    }
}
