//! The iptables mode of kube-proxy.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hopwise_snapshot::{Cluster, EndpointSlice, NodeName, NodeObject, Observed, Service, SysctlKey};
use ipnet::IpNet;

use super::{
    ServicePortName,
    chain_name::is_of_a_service,
    config::{DetectLocal, KubeProxyConfig, ProxyMode},
    endpoints::{Candidate, categorize, endpoints_of, zone_of},
    service_port::{ProxiedPort, proxied_ports},
    service_rules::{self, ServiceRules},
};
use crate::{
    Family,
    family::parse_sloppy,
    kubelet::block_incoming_localnet,
    ruleset::{Rule, Ruleset},
};

/// From this many endpoints on, rules of endpoints carry no comments (`largeClusterEndpointsThreshold`).
const LARGE_CLUSTER: usize = 1000;

/// The text that `iptables-restore` takes to give a node the rules of kube-proxy 1.34, mode iptables, on a node
/// where nothing else has written any: a node with `MASQUERADE --random-fully` and nfacct, as all are since
/// Linux 3.14.
///
/// Whatever mode the configuration names, these are the rules of mode iptables. Not collected where Services or
/// EndpointSlices were not: kube-proxy writes nothing before it has seen both.
/// The order of Services in `KUBE-SERVICES`, `KUBE-NODEPORTS`, `KUBE-EXTERNAL-SERVICES` and `KUBE-PROXY-FIREWALL` is
/// arbitrary in the real one (it follows a Go map); here they are in the order of their names.
pub fn iptables(
    cluster: &Cluster,
    node: &NodeName,
    config: &KubeProxyConfig,
    family: Family,
) -> Observed<String> {
    KubeProxy::new(cluster, node, config).rules(family).map(|it| it.to_string())
}

/// What kube-proxy finds on its node besides the API's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The addresses of the node's interfaces. They matter only where the configuration limits the addresses of
    /// NodePorts.
    pub addresses: Vec<IpAddr>,
    /// Is `net.netfilter.nf_conntrack_tcp_be_liberal` on? Then packets of state INVALID are not dropped.
    pub conntrack_tcp_be_liberal: bool,
    /// Can nfacct counters be made?
    pub has_nfacct: bool,
    /// Does the iptables program know `MASQUERADE --random-fully`?
    pub has_random_fully: bool,
    /// The ranges that the cluster addresses of Services come from (objects `ServiceCIDR`); none where nobody knows.
    /// They matter in mode nftables only, which drops what goes to an address of them that no Service has.
    pub service_ranges: Vec<IpNet>,
}

impl Host {
    /// A current node with the addresses of its object and loopback.
    pub fn of_node(node: Option<&NodeObject>) -> Self {
        let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        addresses.extend(node.into_iter().flat_map(NodeObject::internal_ips));
        Self {
            addresses,
            conntrack_tcp_be_liberal: false,
            has_nfacct: true,
            has_random_fully: true,
            service_ranges: Vec::new(),
        }
    }
}

/// The ports that kube-proxy serves, by name.
pub(super) type Ports = BTreeMap<ServicePortName, ProxiedPort>;

/// The endpoints that it knows, by the port that they are of.
pub(super) type Endpoints = BTreeMap<ServicePortName, Vec<Candidate>>;

/// kube-proxy on one node.
#[derive(Clone, Debug)]
pub struct KubeProxy<'a> {
    /// The API's objects.
    pub cluster: &'a Cluster,
    /// The node.
    pub node: NodeName,
    /// Its configuration.
    pub config: &'a KubeProxyConfig,
    /// What it finds on the node.
    pub host: Host,
}

impl<'a> KubeProxy<'a> {
    /// kube-proxy on a node that is as [`Host::of_node`] says.
    pub fn new(cluster: &'a Cluster, node: &NodeName, config: &'a KubeProxyConfig) -> Self {
        let host = Host::of_node(cluster.node(node));
        Self { cluster, node: node.clone(), config, host }
    }

    /// The kernel switches that decide about packets and that it sets when it starts (`NewProxier`,
    /// `setupConntrack`).
    pub fn sysctls(&self) -> Vec<(SysctlKey, &'static str)> {
        let mut sysctls = Vec::new();
        if self.config.mode != ProxyMode::Nftables && self.offers_localhost_node_ports(Family::V4) {
            sysctls.push((SysctlKey::of_link(false, "all", "route_localnet"), "1"));
        }
        if self.config.conntrack_tcp_be_liberal {
            sysctls.push((SysctlKey::from_path("net/netfilter/nf_conntrack_tcp_be_liberal"), "1"));
        }
        sysctls
    }

    /// The rules that it writes where nothing else has written any.
    pub fn rules(&self, family: Family) -> Observed<Ruleset> {
        let mut rules = Ruleset::default();
        self.sync(family, &mut rules).map(|()| rules)
    }

    /// Does to `rules` what a full sync does (`syncProxyRules`): jumps that are missing come first in their chains,
    /// its own chains are written anew, chains of Services that are gone are deleted, everything else stays.
    pub fn sync(&self, family: Family, rules: &mut Ruleset) -> Observed<()> {
        let (ports, endpoints) = match self.ports_and_endpoints(family) {
            Observed::Known(both) => both,
            Observed::Absent => return Observed::Absent,
            Observed::NotCollected(reason) => return Observed::NotCollected(reason),
        };
        ensure_jumps(rules);
        self.write_fixed_chains(family, rules);
        let kept = self.write_services(family, &ports, &endpoints, rules);
        self.write_node_port_jumps(family, rules);
        for chain in chains_of_services(rules) {
            if !kept.contains_key(&chain) {
                rules.remove("nat", &chain);
            }
        }
        for (chain, written) in kept {
            rules.chain_mut("nat", &chain).rules = written;
        }
        for table in ["mangle", "nat", "filter"] {
            rules.chain_mut(table, "KUBE-PROXY-CANARY").rules.clear();
        }
        Observed::Known(())
    }

    /// The ports that it serves in a family and the endpoints that it knows; not collected where Services or
    /// EndpointSlices were not.
    pub(super) fn ports_and_endpoints(&self, family: Family) -> Observed<(Ports, Endpoints)> {
        let (services, slices) = match (&self.cluster.services, &self.cluster.endpoint_slices) {
            (Observed::NotCollected(reason), _) | (_, Observed::NotCollected(reason)) => {
                return Observed::NotCollected(reason.clone());
            }
            (services, slices) => (services.known(), slices.known()),
        };
        let services: &[Service] = services.map_or(&[], Vec::as_slice);
        let ports = services.iter().flat_map(|it| proxied_ports(it, family));
        let ports = ports.map(|it| (it.name.clone(), it)).collect();
        let all_slices: &[EndpointSlice] = slices.map_or(&[], Vec::as_slice);
        Observed::Known((ports, endpoints_of(all_slices.iter(), &self.node, family)))
    }

    /// The bit of the packet mark that asks for masquerading.
    pub(super) fn mark(&self) -> u32 {
        1 << self.config.masquerade_bit.min(31)
    }

    /// The chains whose rules depend on no Service.
    fn write_fixed_chains(&self, family: Family, rules: &mut Ruleset) {
        for chain in ["KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-PROXY-FIREWALL"] {
            rules.chain_mut("filter", chain).rules.clear();
        }
        for chain in ["KUBE-SERVICES", "KUBE-NODEPORTS"] {
            rules.chain_mut("nat", chain).rules.clear();
        }
        let mark = format!("{:#x}", self.mark());
        let random = if self.host.has_random_fully { " --random-fully" } else { "" };
        rules.chain_mut("nat", "KUBE-POSTROUTING").rules = vec![
            Rule::new().and(format_args!("mark ! --mark {mark}/{mark}")).jump("RETURN"),
            Rule::new().jump(format_args!("MARK --set-xmark {mark}/0x0")),
            Rule::new()
                .comment("kubernetes service traffic requiring SNAT")
                .jump(format_args!("MASQUERADE{random}")),
        ];
        rules.chain_mut("nat", "KUBE-MARK-MASQ").rules =
            vec![Rule::new().jump(format_args!("MARK --set-xmark {mark}/{mark}"))];
        if self.offers_localhost_node_ports(family) {
            rules.chain_mut("filter", "KUBE-FIREWALL").rules = vec![block_incoming_localnet()];
        }
        let mut forward = Vec::new();
        if !self.host.conntrack_tcp_be_liberal && !self.config.conntrack_tcp_be_liberal {
            let mut invalid = Rule::new().and("conntrack --ctstate INVALID");
            if self.host.has_nfacct {
                invalid = invalid.and("nfacct --nfacct-name ct_state_invalid_dropped_pkts");
            }
            forward.push(invalid.jump("DROP"));
        }
        forward.push(
            Rule::new()
                .comment("kubernetes forwarding rules")
                .and(format_args!("mark --mark {mark}/{mark}"))
                .jump("ACCEPT"),
        );
        forward.push(
            Rule::new()
                .comment("kubernetes forwarding conntrack rule")
                .and("conntrack --ctstate RELATED,ESTABLISHED")
                .jump("ACCEPT"),
        );
        rules.chain_mut("filter", "KUBE-FORWARD").rules = forward;
    }

    /// Writes the rules of all Services into the shared chains and returns the chains of their own.
    fn write_services(
        &self,
        family: Family,
        ports: &Ports,
        endpoints: &Endpoints,
        rules: &mut Ruleset,
    ) -> BTreeMap<String, Vec<String>> {
        let n_endpoints: usize = ports.keys().filter_map(|it| endpoints.get(it)).map(Vec::len).sum();
        let context = service_rules::Context {
            family,
            masquerade_all: self.config.masquerade_all,
            local_traffic: self.local_traffic(family),
            has_comments_on_endpoints: n_endpoints <= LARGE_CLUSTER,
            counts_localhost_node_ports: self.offers_localhost_node_ports(family) && self.host.has_nfacct,
            node_ip: self.node_ip(family),
        };
        let zone = zone_of(self.cluster, &self.node);
        let mut own_chains = BTreeMap::new();
        for (name, port) in ports {
            let candidates = endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
            let used = categorize(candidates, port, &self.node, zone);
            let ServiceRules { shared, own } = service_rules::rules(&context, port, &used);
            for (table, chain, rule) in shared {
                rules.chain_mut(table, chain).rules.push(rule);
            }
            own_chains.extend(own);
        }
        own_chains
    }

    /// The last rules of `KUBE-SERVICES`: what goes to the node itself may go to a NodePort.
    fn write_node_port_jumps(&self, family: Family, rules: &mut Ruleset) {
        let comment = "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
        let chain = &mut rules.chain_mut("nat", "KUBE-SERVICES").rules;
        let Some(ranges) = self.node_port_ranges(family) else {
            let rule = match family {
                Family::V6 => Rule::new().destination_not("::1/128"),
                Family::V4 if self.offers_localhost_node_ports(family) => Rule::new(),
                Family::V4 => Rule::new().destination_not("127.0.0.0/8"),
            };
            chain.push(rule.comment(comment).and("addrtype --dst-type LOCAL").jump("KUBE-NODEPORTS"));
            return;
        };
        let mut addresses = self.host.addresses.clone();
        addresses.sort_unstable();
        addresses.dedup();
        let is_offered = |it: &&IpAddr| {
            ranges.iter().any(|range| range.contains(*it))
                && (!it.is_loopback() || self.offers_localhost_node_ports(family))
        };
        for address in addresses.iter().filter(is_offered) {
            chain
                .push(Rule::new().destination(IpNet::from(*address)).comment(comment).jump("KUBE-NODEPORTS"));
        }
    }

    fn offers_localhost_node_ports(&self, family: Family) -> bool {
        let covers_loopback = self.node_port_ranges(family).is_none_or(|ranges| {
            ranges.iter().any(|it| it.addr().is_loopback() || it.contains(&IpAddr::from([127, 0, 0, 0])))
        });
        family == Family::V4 && self.config.localhost_node_ports && covers_loopback
    }

    /// The ranges of node addresses that NodePorts of a family are offered on; none means all.
    pub(super) fn node_port_ranges(&self, family: Family) -> Option<Vec<IpNet>> {
        if !self.config.node_ports_on_primary {
            return self.config.node_port_ranges(family);
        }
        // Where the node has no address of the family, its range is missing, and without any all count
        // (`newProxyServer`, `cmd/kube-proxy/app/server.go`).
        let own = self.node_ip(family);
        (!own.is_loopback()).then(|| vec![IpNet::from(own)])
    }

    /// How to tell traffic of local pods (`getLocalDetectors`, `cmd/kube-proxy/app/server_linux.go`).
    pub(super) fn local_traffic(&self, family: Family) -> Option<LocalTraffic> {
        let first = |nets: &[IpNet]| nets.iter().find(|it| Family::of_net(it) == family).copied();
        match &self.config.detect_local {
            DetectLocal::ClusterCidr(nets) => first(nets).map(LocalTraffic::From),
            DetectLocal::NodeCidr => {
                first(&self.cluster.node(&self.node)?.pod_cidrs()).map(|it| LocalTraffic::From(it.trunc()))
            }
            DetectLocal::BridgeInterface(name) => Some(LocalTraffic::By(name.clone())),
            DetectLocal::InterfaceNamePrefix(prefix) => Some(LocalTraffic::ByPrefix(prefix.clone())),
        }
    }

    /// The address that the node is taken to have (`detectNodeIPs`, `cmd/kube-proxy/app/server.go`).
    pub(super) fn node_ip(&self, family: Family) -> IpAddr {
        if let Some(address) = self.config.bind_address.filter(|it| Family::of(*it) == family) {
            return address;
        }
        let addresses = self.cluster.node(&self.node).map(|it| it.status.addresses.as_slice());
        let of_kind = |kind: &'static str| {
            let listed = addresses.unwrap_or_default().iter().filter(move |it| it.kind == kind);
            listed.filter_map(|it| parse_sloppy(&it.address))
        };
        let mut known = of_kind("InternalIP").chain(of_kind("ExternalIP"));
        let loopback = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Family::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        known.find(|it| Family::of(*it) == family).unwrap_or(loopback)
    }
}

/// What tells packets of local pods from others.
#[derive(Clone, Debug)]
pub(super) enum LocalTraffic {
    /// Their source.
    From(IpNet),
    /// The interface that they come in by.
    By(String),
    /// An interface that they come in by, whose name begins so.
    ByPrefix(String),
}

impl LocalTraffic {
    /// A rule for packets of local pods.
    pub(super) fn matches(&self, rule: Rule) -> Rule {
        match self {
            Self::From(net) => rule.source(net),
            Self::By(interface) => rule.input(interface),
            Self::ByPrefix(prefix) => rule.input(&format!("{prefix}+")),
        }
    }

    /// A rule for all other packets.
    pub(super) fn matches_not(&self, rule: Rule) -> Rule {
        match self {
            Self::From(net) => rule.source_not(net),
            Self::By(interface) => rule.input_not(interface),
            Self::ByPrefix(prefix) => rule.input_not(&format!("{prefix}+")),
        }
    }
}

/// The jumps into kube-proxy's chains. Each goes before what is there, so the last written comes first.
fn ensure_jumps(rules: &mut Ruleset) {
    const IS_NEW: &str = "conntrack --ctstate NEW";
    const EXTERNAL: &str = "kubernetes externally-visible service portals";
    const PORTALS: &str = "kubernetes service portals";
    const FIREWALL: &str = "kubernetes load balancer firewall";
    let new = |comment: &str, chain: &str| Rule::new().and(IS_NEW).comment(comment).jump(chain);
    let any = |comment: &str, chain: &str| Rule::new().comment(comment).jump(chain);
    let jumps = [
        ("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", new(EXTERNAL, "KUBE-EXTERNAL-SERVICES")),
        ("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", new(EXTERNAL, "KUBE-EXTERNAL-SERVICES")),
        ("filter", "INPUT", "KUBE-NODEPORTS", any("kubernetes health check service ports", "KUBE-NODEPORTS")),
        ("filter", "FORWARD", "KUBE-SERVICES", new(PORTALS, "KUBE-SERVICES")),
        ("filter", "OUTPUT", "KUBE-SERVICES", new(PORTALS, "KUBE-SERVICES")),
        ("filter", "FORWARD", "KUBE-FORWARD", any("kubernetes forwarding rules", "KUBE-FORWARD")),
        ("filter", "INPUT", "KUBE-PROXY-FIREWALL", new(FIREWALL, "KUBE-PROXY-FIREWALL")),
        ("filter", "OUTPUT", "KUBE-PROXY-FIREWALL", new(FIREWALL, "KUBE-PROXY-FIREWALL")),
        ("filter", "FORWARD", "KUBE-PROXY-FIREWALL", new(FIREWALL, "KUBE-PROXY-FIREWALL")),
        ("nat", "OUTPUT", "KUBE-SERVICES", any(PORTALS, "KUBE-SERVICES")),
        ("nat", "PREROUTING", "KUBE-SERVICES", any(PORTALS, "KUBE-SERVICES")),
        ("nat", "POSTROUTING", "KUBE-POSTROUTING", any("kubernetes postrouting rules", "KUBE-POSTROUTING")),
        ("filter", "INPUT", "KUBE-FIREWALL", Rule::new().jump("KUBE-FIREWALL")),
        ("filter", "OUTPUT", "KUBE-FIREWALL", Rule::new().jump("KUBE-FIREWALL")),
    ];
    for (table, from, to, jump) in jumps {
        rules.chain_mut(table, to);
        rules.ensure_first(table, from, jump);
    }
}

fn chains_of_services(rules: &Ruleset) -> Vec<String> {
    let nat = rules.chains().filter(|(table, name, _)| *table == "nat" && is_of_a_service(name));
    nat.map(|(_, name, _)| name.to_owned()).collect()
}
