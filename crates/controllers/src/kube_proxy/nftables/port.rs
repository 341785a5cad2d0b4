//! What one port of a Service adds to the table.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    super::{
        endpoints::{ServiceEndpoint, ServiceEndpoints},
        iptables::LocalTraffic,
        service_port::ProxiedPort,
    },
    CLUSTER_IPS, FIREWALL_IPS, MARK, NO_ENDPOINT_NODE_PORTS, NO_ENDPOINT_SERVICES, REJECT, SERVICE_IPS,
    SERVICE_NODE_PORTS,
    expression::{
        address_type, concat, daddr, differs, goto, jump, l4proto, matches, one_of, range, saddr, verdict,
        vmap,
    },
    names::Names,
    table::Table,
};
use crate::Family;

/// What the rules of every port depend on.
pub(super) struct Context {
    pub(super) family: Family,
    pub(super) masquerade_all: bool,
    /// None: local traffic cannot be told from other.
    pub(super) local_traffic: Option<LocalTraffic>,
    pub(super) node_ip: IpAddr,
}

/// Adds the elements, chains and sets of one port (the loop of `syncProxyRules`, Kubernetes 1.34
/// `pkg/proxy/nftables/proxier.go`).
pub(super) fn add(context: &Context, port: &ProxiedPort, used: &ServiceEndpoints, table: &mut Table) {
    let names = Names::of(&port.name);
    let mut writer = Writer { context, port, used, names, text: port.name.to_string(), table };
    writer.capture_cluster_ip();
    writer.capture_external_ips();
    writer.capture_load_balancer_ips();
    writer.capture_node_port();
    writer.add_internal_chain();
    writer.add_external_chain();
    writer.add_firewall_chain();
    writer.add_policy_chains();
    writer.add_endpoint_chains();
}

struct Writer<'a> {
    context: &'a Context,
    port: &'a ProxiedPort,
    used: &'a ServiceEndpoints,
    names: Names,
    /// `NAMESPACE/NAME:PORT`.
    text: String,
    table: &'a mut Table,
}

impl Writer<'_> {
    fn has_internal_endpoints(&self) -> bool {
        self.used.has_any && !(self.port.internal_policy_local && self.used.local.is_empty())
    }

    fn has_external_endpoints(&self) -> bool {
        self.used.has_any && !(self.port.external_policy_local && self.used.local.is_empty())
    }

    fn uses_firewall_chain(&self) -> bool {
        !self.port.load_balancer_ips.is_empty() && !self.port.source_ranges.is_empty()
    }

    /// The chain that picks an endpoint by the internal policy.
    fn internal_chain(&self) -> String {
        if self.port.internal_policy_local { self.names.local.clone() } else { self.names.cluster.clone() }
    }

    /// The key of the port at an address.
    fn at(&self, address: IpAddr) -> Value {
        concat([
            json!(address.to_string()),
            json!(self.port.name.protocol.to_string()),
            json!(self.port.port),
        ])
    }

    /// What becomes of packets for which no endpoint may be used: without any at all they are rejected, with
    /// endpoints on other nodes only they are dropped.
    fn refuse(&mut self, map: &str, key: &Value) {
        let refusal = if self.used.has_any { verdict("drop") } else { goto(REJECT) };
        self.table.add_verdict(map, key, &refusal, Some(&self.text));
    }

    fn capture_cluster_ip(&mut self) {
        let address = self.port.cluster_ip;
        self.table.add_element(CLUSTER_IPS, json!(address.to_string()));
        let key = self.at(address);
        if self.has_internal_endpoints() {
            let chain = self.internal_chain();
            self.table.add_verdict(SERVICE_IPS, &key, &goto(&chain), None);
        } else {
            self.refuse(NO_ENDPOINT_SERVICES, &key);
        }
    }

    fn capture_external_ips(&mut self) {
        for address in &self.port.external_ips {
            self.capture_external(*address);
        }
    }

    fn capture_load_balancer_ips(&mut self) {
        for address in &self.port.load_balancer_ips {
            self.capture_external(*address);
            if self.uses_firewall_chain() {
                let key = self.at(*address);
                self.table.add_verdict(FIREWALL_IPS, &key, &goto(&self.names.firewall), None);
            }
        }
    }

    fn capture_external(&mut self, address: IpAddr) {
        let key = self.at(address);
        if self.used.has_any {
            self.table.add_verdict(SERVICE_IPS, &key, &goto(&self.names.external), None);
        }
        if !self.has_external_endpoints() {
            self.refuse(NO_ENDPOINT_SERVICES, &key);
        }
    }

    fn capture_node_port(&mut self) {
        let Some(number) = self.port.node_port else { return };
        let key = concat([json!(self.port.name.protocol.to_string()), json!(number)]);
        if self.used.has_any {
            self.table.add_verdict(SERVICE_NODE_PORTS, &key, &goto(&self.names.external), None);
        }
        if !self.has_external_endpoints() {
            self.refuse(NO_ENDPOINT_NODE_PORTS, &key);
        }
    }

    /// Traffic from outside the cluster to the cluster address might be sent on to another node.
    fn add_internal_chain(&mut self) {
        if !self.has_internal_endpoints() {
            return;
        }
        let to = matches(&daddr(self.context.family), &json!(self.port.cluster_ip.to_string()));
        let statements = match (&self.context.local_traffic, self.context.masquerade_all) {
            (_, true) => vec![to, jump(MARK)],
            (Some(local), false) => vec![to, self.local(local, false), jump(MARK)],
            (None, false) => return,
        };
        self.table.add_rule(&self.internal_chain(), statements, None);
    }

    /// The condition that a packet is, or is not, of a local pod.
    fn local(&self, traffic: &LocalTraffic, is_local: bool) -> Value {
        let by_name = || json!({"meta": {"key": "iifname"}});
        let (left, right) = match traffic {
            LocalTraffic::From(net) => (saddr(self.context.family), range(*net)),
            LocalTraffic::By(interface) => (by_name(), json!(interface)),
            LocalTraffic::ByPrefix(prefix) => (by_name(), json!(format!("{prefix}*"))),
        };
        if is_local { matches(&left, &right) } else { differs(&left, &right) }
    }

    fn add_external_chain(&mut self) {
        if !self.used.has_any || !self.port.is_externally_accessible() {
            return;
        }
        let chain = self.names.external.clone();
        let to_cluster = goto(&self.names.cluster);
        if self.port.external_policy_local {
            if let Some(local) = &self.context.local_traffic {
                let statements = [self.local(local, true), to_cluster.clone()];
                self.table.add_rule(&chain, statements, Some("short-circuit pod traffic"));
            }
            let from_node = matches(&address_type("saddr"), &json!("local"));
            let masquerade = [from_node.clone(), jump(MARK)];
            self.table.add_rule(&chain, masquerade, Some("masquerade local traffic"));
            self.table.add_rule(&chain, [from_node, to_cluster.clone()], Some("short-circuit local traffic"));
        } else {
            self.table.add_rule(&chain, [jump(MARK)], None);
        }
        if self.has_external_endpoints() {
            let is_local = self.port.external_policy_local;
            let on = if is_local { goto(&self.names.local) } else { to_cluster };
            self.table.add_rule(&chain, [on], None);
        }
    }

    fn add_firewall_chain(&mut self) {
        if !self.uses_firewall_chain() {
            return;
        }
        let mut sources = self.port.source_ranges.clone();
        // A request of the node itself to the address comes back with that address as source.
        if sources.iter().any(|it| it.contains(&self.context.node_ip)) {
            sources.extend(self.port.load_balancer_ips.iter().map(|it| IpNet::from(*it)));
        }
        let Some(sources) = one_of(sources) else { return };
        let from_others = differs(&saddr(self.context.family), &sources);
        self.table.add_rule(&self.names.firewall.clone(), [from_others, verdict("drop")], None);
    }

    fn add_policy_chains(&mut self) {
        let used = self.used;
        for (chain, endpoints) in
            [(self.names.cluster.clone(), &used.cluster), (self.names.local.clone(), &used.local)]
        {
            if !endpoints.is_empty() {
                self.add_choice(&chain, endpoints);
            }
        }
    }

    /// First a client that was here lately goes where it went; then each endpoint gets an equal share.
    fn add_choice(&mut self, chain: &str, endpoints: &[ServiceEndpoint]) {
        if self.port.affinity_seconds.is_some() {
            for endpoint in endpoints {
                let set = json!(format!("@{}", self.names.affinity(endpoint.address)));
                let is_known = matches(&saddr(self.context.family), &set);
                let on = goto(&self.names.endpoint(endpoint.address));
                self.table.add_rule(chain, [is_known, on], None);
            }
        }
        let number = json!({"numgen": {"mode": "random", "mod": endpoints.len(), "offset": 0}});
        let shares: Vec<Value> = endpoints
            .iter()
            .enumerate()
            .map(|(at, endpoint)| json!([at, goto(&self.names.endpoint(endpoint.address))]))
            .collect();
        self.table.add_rule(chain, [vmap(&number, &json!({"set": shares}))], None);
    }

    fn add_endpoint_chains(&mut self) {
        let used = self.used;
        let source = saddr(self.context.family);
        for endpoint in &used.reachable {
            let chain = self.names.endpoint(endpoint.address);
            let (ip, port) = (endpoint.address.ip().to_string(), endpoint.address.port());
            // An endpoint that calls itself must see another source, or it would answer itself directly.
            self.table.add_rule(&chain, [matches(&source, &json!(ip)), jump(MARK)], None);
            if let Some(seconds) = self.port.affinity_seconds {
                let set = self.names.affinity(endpoint.address);
                self.table.add_affinity_set(&set, seconds);
                let update = json!({"set": {"op": "update", "elem": source, "set": format!("@{set}")}});
                self.table.add_rule(&chain, [update], None);
            }
            let of_protocol = matches(&l4proto(), &json!(self.port.name.protocol.to_string()));
            self.table.add_rule(&chain, [of_protocol, json!({"dnat": {"addr": ip, "port": port}})], None);
        }
    }
}
