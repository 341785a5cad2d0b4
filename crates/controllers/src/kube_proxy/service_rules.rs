//! The rules of one port of a Service in iptables mode.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    chain_name::ChainNames,
    endpoints::{ServiceEndpoint, ServiceEndpoints},
    iptables::LocalTraffic,
    service_port::ProxiedPort,
};
use crate::{Family, ruleset::Rule};

/// What the rules of every port depend on.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) family: Family,
    pub(super) masquerade_all: bool,
    /// None: local traffic cannot be told from other.
    pub(super) local_traffic: Option<LocalTraffic>,
    pub(super) has_comments_on_endpoints: bool,
    pub(super) counts_localhost_node_ports: bool,
    pub(super) node_ip: IpAddr,
}

/// The rules of a port: those in chains shared by all ports, and the chains of its own (all of table nat).
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceRules {
    /// Table, chain, rule.
    pub(super) shared: Vec<(&'static str, &'static str, String)>,
    /// Chain and its rules.
    pub(super) own: Vec<(String, Vec<String>)>,
}

/// The rules of one port, in the order of kube-proxy (the loop of `syncProxyRules`, Kubernetes 1.34
/// `pkg/proxy/iptables/proxier.go`).
pub(super) fn rules(context: &Context, port: &ProxiedPort, used: &ServiceEndpoints) -> ServiceRules {
    let mut writer = Writer {
        context,
        port,
        used,
        chains: ChainNames::of(&port.name),
        text: port.name.to_string(),
        rules: ServiceRules::default(),
    };
    writer.capture_cluster_ip();
    writer.capture_external_ips();
    writer.capture_load_balancer_ips();
    writer.capture_node_port();
    writer.accept_health_checks();
    writer.write_internal_chain();
    writer.write_external_chain();
    writer.write_firewall_chain();
    writer.write_policy_chains();
    writer.write_endpoint_chains();
    writer.rules
}

struct Writer<'a> {
    context: &'a Context,
    port: &'a ProxiedPort,
    used: &'a ServiceEndpoints,
    chains: ChainNames,
    /// `NAMESPACE/NAME:PORT`.
    text: String,
    rules: ServiceRules,
}

impl Writer<'_> {
    fn has_internal_endpoints(&self) -> bool {
        self.used.has_any && !(self.port.internal_policy_local && self.used.local.is_empty())
    }

    fn has_external_endpoints(&self) -> bool {
        self.used.has_any && !(self.port.external_policy_local && self.used.local.is_empty())
    }

    fn uses_external_chain(&self) -> bool {
        self.used.has_any && self.port.is_externally_accessible()
    }

    fn uses_firewall_chain(&self) -> bool {
        self.used.has_any && !self.port.load_balancer_ips.is_empty() && !self.port.source_ranges.is_empty()
    }

    /// The chain that picks an endpoint by the internal policy.
    fn internal_chain(&self) -> String {
        if self.port.internal_policy_local { self.chains.local.clone() } else { self.chains.cluster.clone() }
    }

    /// What becomes of packets for which no endpoint may be used: without any at all they are rejected, with
    /// endpoints on other nodes only they are dropped.
    fn refuse(&self, rule: Rule) -> String {
        if self.used.has_any {
            return rule.jump("DROP");
        }
        match self.context.family {
            Family::V4 => rule.jump("REJECT --reject-with icmp-port-unreachable"),
            Family::V6 => rule.jump("REJECT --reject-with icmp6-port-unreachable"),
        }
    }

    fn refusal_comment(&self) -> String {
        let kind = if self.used.has_any { "no local endpoints" } else { "no endpoints" };
        format!("{} has {kind}", self.text)
    }

    /// Packets to the port at an address, with a comment.
    fn at(&self, address: IpAddr, comment: &str) -> Rule {
        self.to_port(Rule::new().destination(IpNet::from(address)).comment(comment), self.port.port)
    }

    fn to_port(&self, rule: Rule, number: u16) -> Rule {
        let protocol = self.port.name.protocol;
        rule.protocol(protocol).and(format_args!("{protocol} --dport {number}"))
    }

    fn push(&mut self, table: &'static str, chain: &'static str, rule: String) {
        self.rules.shared.push((table, chain, rule));
    }

    fn capture_cluster_ip(&mut self) {
        let address = self.port.cluster_ip;
        if self.has_internal_endpoints() {
            let rule = self.at(address, &format!("{} cluster IP", self.text)).jump(self.internal_chain());
            self.push("nat", "KUBE-SERVICES", rule);
        } else {
            let rule = self.refuse(self.at(address, &self.refusal_comment()));
            self.push("filter", "KUBE-SERVICES", rule);
        }
    }

    fn capture_external_ips(&mut self) {
        for address in &self.port.external_ips {
            if self.used.has_any {
                let rule =
                    self.at(*address, &format!("{} external IP", self.text)).jump(&self.chains.external);
                self.push("nat", "KUBE-SERVICES", rule);
            }
            if !self.has_external_endpoints() {
                let rule = self.refuse(self.at(*address, &self.refusal_comment()));
                self.push("filter", "KUBE-EXTERNAL-SERVICES", rule);
            }
        }
    }

    fn capture_load_balancer_ips(&mut self) {
        let fw = &self.chains.firewall;
        let chain = if self.uses_firewall_chain() { fw.clone() } else { self.chains.external.clone() };
        let not_accepted = format!("{} traffic not accepted by {fw}", self.text);
        for address in &self.port.load_balancer_ips {
            if self.used.has_any {
                let rule = self.at(*address, &format!("{} loadbalancer IP", self.text)).jump(&chain);
                self.push("nat", "KUBE-SERVICES", rule);
            }
            if self.uses_firewall_chain() {
                let rule = self.at(*address, &not_accepted).jump("DROP");
                self.push("filter", "KUBE-PROXY-FIREWALL", rule);
            }
        }
        if !self.has_external_endpoints() {
            for address in &self.port.load_balancer_ips {
                let rule = self.refuse(self.at(*address, &self.refusal_comment()));
                self.push("filter", "KUBE-EXTERNAL-SERVICES", rule);
            }
        }
    }

    fn capture_node_port(&mut self) {
        let Some(number) = self.port.node_port else { return };
        if self.used.has_any {
            let rule = self.to_port(Rule::new().comment(&self.text), number);
            if self.context.counts_localhost_node_ports {
                let counted = rule
                    .clone()
                    .destination("127.0.0.0/8")
                    .and("nfacct --nfacct-name localhost_nps_accepted_pkts")
                    .jump(&self.chains.external);
                self.push("nat", "KUBE-NODEPORTS", counted);
            }
            let jump = rule.jump(&self.chains.external);
            self.push("nat", "KUBE-NODEPORTS", jump);
        }
        if !self.has_external_endpoints() {
            let to_node = Rule::new().comment(self.refusal_comment()).and("addrtype --dst-type LOCAL");
            let rule = self.refuse(self.to_port(to_node, number));
            self.push("filter", "KUBE-EXTERNAL-SERVICES", rule);
        }
    }

    fn accept_health_checks(&mut self) {
        let Some(number) = self.port.health_check_node_port else { return };
        let rule = Rule::new()
            .protocol("tcp")
            .comment(format_args!("{} health check node port", self.text))
            .and(format_args!("tcp --dport {number}"));
        self.push("filter", "KUBE-NODEPORTS", rule.jump("ACCEPT"));
    }

    /// Adds rules behind those that a chain already has.
    fn append(&mut self, chain: &str, rules: impl IntoIterator<Item = String>) {
        match self.rules.own.iter_mut().find(|(name, _)| name == chain) {
            Some((_, present)) => present.extend(rules),
            None => self.rules.own.push((chain.to_owned(), rules.into_iter().collect())),
        }
    }

    /// Traffic from outside the cluster to the cluster address might be sent on to another node.
    fn write_internal_chain(&mut self) {
        if !self.has_internal_endpoints() {
            return;
        }
        let rule = self.at(self.port.cluster_ip, &format!("{} cluster IP", self.text));
        let rule = match (&self.context.local_traffic, self.context.masquerade_all) {
            (_, true) => rule,
            (Some(local), false) => local.matches_not(rule),
            (None, false) => return,
        };
        self.append(&self.internal_chain(), [rule.jump("KUBE-MARK-MASQ")]);
    }

    fn write_external_chain(&mut self) {
        if !self.uses_external_chain() {
            return;
        }
        let text = &self.text;
        let cluster = &self.chains.cluster;
        let mut rules = Vec::new();
        if self.port.external_policy_local {
            if let Some(local) = &self.context.local_traffic {
                let rule = Rule::new().comment(format_args!("pod traffic for {text} external destinations"));
                rules.push(local.matches(rule).jump(cluster));
            }
            let from_node = |what: &str| {
                Rule::new()
                    .comment(format_args!("{what} LOCAL traffic for {text} external destinations"))
                    .and("addrtype --src-type LOCAL")
            };
            rules.push(from_node("masquerade").jump("KUBE-MARK-MASQ"));
            rules.push(from_node("route").jump(cluster));
        } else {
            let rule =
                Rule::new().comment(format_args!("masquerade traffic for {text} external destinations"));
            rules.push(rule.jump("KUBE-MARK-MASQ"));
        }
        if self.has_external_endpoints() {
            let is_local = self.port.external_policy_local;
            rules.push(Rule::new().jump(if is_local { &self.chains.local } else { cluster }));
        }
        self.append(&self.chains.external.clone(), rules);
    }

    fn write_firewall_chain(&mut self) {
        if !self.uses_firewall_chain() {
            return;
        }
        let text = &self.text;
        let from = |source: IpNet| {
            let rule = Rule::new().comment(format_args!("{text} loadbalancer IP")).source(source);
            rule.jump(&self.chains.external)
        };
        let mut rules: Vec<String> = self.port.source_ranges.iter().map(|it| from(*it)).collect();
        // A request of the node itself to the address comes back with that address as source.
        if self.port.source_ranges.iter().any(|it| it.contains(&self.context.node_ip)) {
            rules.extend(self.port.load_balancer_ips.iter().map(|it| from(IpNet::from(*it))));
        }
        let comment = format!("other traffic to {text} will be dropped by KUBE-PROXY-FIREWALL");
        rules.push(Rule::new().comment(comment).no_target());
        self.append(&self.chains.firewall.clone(), rules);
    }

    fn write_policy_chains(&mut self) {
        let used = self.used;
        for (chain, endpoints) in
            [(self.chains.cluster.clone(), &used.cluster), (self.chains.local.clone(), &used.local)]
        {
            if !endpoints.is_empty() {
                let rules = self.choice(endpoints);
                self.append(&chain, rules);
            }
        }
    }

    fn endpoint_comment(&self, rule: Rule, text: &str) -> Rule {
        if self.context.has_comments_on_endpoints { rule.comment(text) } else { rule }
    }

    /// First a client that was here lately goes where it went; then each endpoint gets an equal share.
    fn choice(&self, endpoints: &[ServiceEndpoint]) -> Vec<String> {
        let to = |it: &ServiceEndpoint| {
            self.endpoint_comment(Rule::new(), &format!("{} -> {}", self.text, it.address))
        };
        let mut rules = Vec::new();
        if let Some(seconds) = self.port.affinity_seconds {
            for endpoint in endpoints {
                let chain = self.chains.endpoint(endpoint.address);
                let recent = format!("recent --rcheck --seconds {seconds} --reap {}", self.recent(&chain));
                rules.push(to(endpoint).and(recent).jump(&chain));
            }
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let n_left = endpoints.len() - index;
            let mut rule = to(endpoint);
            if n_left > 1 {
                rule =
                    rule.and(format_args!("statistic --mode random --probability {}", probability(n_left)));
            }
            rules.push(rule.jump(self.chains.endpoint(endpoint.address)));
        }
        rules
    }

    /// The list of clients of an endpoint, with what iptables fills in.
    fn recent(&self, list: &str) -> String {
        let mask = match self.context.family {
            Family::V4 => "255.255.255.255",
            Family::V6 => "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        };
        format!("--name {list} --mask {mask} --rsource")
    }

    fn write_endpoint_chains(&mut self) {
        let used = self.used;
        for endpoint in &used.reachable {
            let chain = self.chains.endpoint(endpoint.address);
            let rule = self.endpoint_comment(Rule::new(), &self.text);
            // An endpoint that calls itself must see another source, or it would answer itself directly.
            let own = rule.clone().source(IpNet::from(endpoint.address.ip())).jump("KUBE-MARK-MASQ");
            let mut translate = rule.protocol(self.port.name.protocol);
            if self.port.affinity_seconds.is_some() {
                translate = translate.and(format_args!("recent --set {}", self.recent(&chain)));
            }
            let translate = translate
                .and(self.port.name.protocol)
                .jump(format_args!("DNAT --to-destination {}", endpoint.address));
            self.append(&chain, [own, translate]);
        }
    }
}

/// One n-th as iptables prints it: kube-proxy gives ten decimals, the kernel keeps 31 bits, iptables prints eleven
/// decimals (iptables 1.8 `extensions/libxt_statistic.c`).
fn probability(n: usize) -> String {
    const ONE: f64 = 2_147_483_648.0;
    #[expect(clippy::cast_precision_loss, reason = "a count of endpoints is far below 2^52")]
    let given: f64 = format!("{:.10}", 1.0 / n as f64).parse().unwrap_or(1.0);
    format!("{:.11}", (given * ONE).round() / ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_the_kernel_rounds_them() {
        let shares: Vec<String> = [2, 3, 7, 1000].into_iter().map(probability).collect();
        assert_eq!(shares, ["0.50000000000", "0.33333333349", "0.14285714272", "0.00100000016"]);
    }
}
