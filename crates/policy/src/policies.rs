//! All policies of a cluster, and what they say about one connection.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use hopwise_snapshot::{
    Cluster, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyRule, NodeName, Observed, PodName, PodObject,
    Protocol, Reason,
};

use crate::{
    rule::{Context, Other, peers_match, ports_match},
    selector::{Truth, selects},
};

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// A pod. One in its node's network counts as its node's address.
    Pod(PodName),
    /// An address: of a node, of something outside, or of a pod, which then is that pod.
    Address(IpAddr),
}

/// A connection as the pods see it: behind the translation of Service addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Who calls.
    pub from: Peer,
    /// Who is called.
    pub to: Peer,
    /// The protocol and the port that is called; none for other protocols, as ICMP.
    pub port: Option<(Protocol, u16)>,
    /// Is it IPv6? It tells which of a pod's addresses count.
    pub is_ipv6: bool,
}

/// A direction, as the isolated pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Into the pod that is called.
    Ingress,
    /// Out of the pod that calls.
    Egress,
}

/// The name of a policy. Written `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyName {
    /// The policy's namespace.
    pub namespace: String,
    /// The policy's own name.
    pub name: String,
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl PolicyName {
    fn of(policy: &NetworkPolicy) -> Self {
        Self { namespace: policy.metadata.namespace.clone(), name: policy.metadata.name.clone() }
    }
}

/// What the policies say about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No policy isolates either end in the connection's direction.
    NotSelected,
    /// Every end that is isolated permits it.
    Allowed {
        /// The rules that do, of every isolated end.
        by: Vec<Permission>,
    },
    /// No policy may forbid it.
    Exempt(Exemption),
    /// An end that is isolated does not permit it.
    Denied {
        /// Which ends, and by which policies.
        denials: Vec<Denial>,
    },
    /// The API leaves it to the network plugin: protocols other than TCP, UDP and SCTP that no rule without ports
    /// permits.
    Undefined {
        /// The ends that would deny it.
        denials: Vec<Denial>,
    },
    /// It depends on what was not collected or not understood.
    Unknown {
        /// On what.
        because: Vec<Unknown>,
    },
}

/// A rule that permits a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// For which end.
    pub direction: Direction,
    /// The policy.
    pub policy: PolicyName,
    /// The rule, by its place in the policy's list, from 0.
    pub rule: usize,
}

/// An end that does not permit a connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// Which end.
    pub direction: Direction,
    /// The pod at that end.
    pub pod: PodName,
    /// The policies that isolate it. A rule in any of them could permit the connection.
    pub by: Vec<PolicyName>,
}

/// Why no policy may forbid a connection (Kubernetes 1.34, "Network Policies").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exemption {
    /// A pod calls itself.
    Itself,
    /// One end is a pod and the other is the node that it runs on, by whichever address.
    OwnNode,
}

/// What a verdict would depend on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unknown {
    /// The policies themselves.
    Policies(Reason),
    /// The pods.
    Pods(Reason),
    /// There is no pod of this name among those that were listed.
    Pod(PodName),
    /// A rule of this policy asks for labels of a namespace that were not collected, or holds something that the API
    /// does not allow.
    Policy(PolicyName),
}

/// What the policies of `cluster` say about a connection. For many connections make [`Policies`] once.
pub fn verdict(cluster: &Cluster, traffic: &Traffic) -> Verdict {
    Policies::new(cluster).verdict(traffic)
}

/// The policies of a cluster, ready to be asked.
#[derive(Clone, Debug)]
pub struct Policies<'a> {
    by_namespace: BTreeMap<&'a str, Vec<&'a NetworkPolicy>>,
    pods: BTreeMap<PodName, &'a PodObject>,
    pods_by_address: BTreeMap<IpAddr, &'a PodObject>,
    node_by_address: BTreeMap<IpAddr, NodeName>,
    context: Context<'a>,
    missing: Vec<Unknown>,
    /// Why not all pods were read, where some were.
    partly: Option<Reason>,
}

impl<'a> Policies<'a> {
    /// The policies of a cluster. Nodes have the addresses of their objects.
    pub fn new(cluster: &'a Cluster) -> Self {
        let mut policies = Self {
            by_namespace: BTreeMap::new(),
            pods: BTreeMap::new(),
            pods_by_address: BTreeMap::new(),
            node_by_address: BTreeMap::new(),
            context: Context {
                namespaces: cluster
                    .namespaces
                    .known()
                    .map(|it| it.iter().map(|it| (it.metadata.name.as_str(), &it.metadata.labels)).collect()),
                ip_block_selects_pods: true,
            },
            missing: Vec::new(),
            partly: cluster.partly.get("pods").cloned(),
        };
        if let Observed::NotCollected(reason) = &cluster.network_policies {
            policies.missing.push(Unknown::Policies(reason.clone()));
        }
        if let Observed::NotCollected(reason) = &cluster.pods {
            policies.missing.push(Unknown::Pods(reason.clone()));
        }
        for policy in cluster.network_policies.known().into_iter().flatten() {
            policies.by_namespace.entry(&policy.metadata.namespace).or_default().push(policy);
        }
        for pod in cluster.pods.known().into_iter().flatten() {
            policies.pods.insert(pod.name(), pod);
            // A pod that has ended holds no address: another may have it by now.
            if !pod.spec.host_network && !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
                policies.pods_by_address.extend(pod.ips().into_iter().map(|it| (it, pod)));
            }
        }
        for node in cluster.nodes.known().into_iter().flatten() {
            let addresses = node.status.addresses.iter().filter_map(|it| it.address.parse::<IpAddr>().ok());
            policies.node_by_address.extend(addresses.map(|it| (it, node.name())));
        }
        policies
    }

    /// Adds addresses that a node has besides those of its object, as that of its pods' bridge.
    #[must_use]
    pub fn with_node_addresses(
        mut self,
        node: &NodeName,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        self.node_by_address.extend(addresses.into_iter().map(|it| (it, node.clone())));
        self
    }

    /// Does `ipBlock` choose pods by their addresses? The API does not say. It does with Calico, kube-router and in
    /// Kubernetes' own conformance tests, which is what is taken unless told otherwise; with Cilium it does not.
    #[must_use]
    pub fn with_ip_block_for_pods(mut self, selects_pods: bool) -> Self {
        self.context.ip_block_selects_pods = selects_pods;
        self
    }

    /// The policies that isolate a pod in a direction, in the order of their names. None isolates a pod in its node's
    /// network: most plugins cannot tell such pods from their node, and the API lets them ignore those.
    pub fn selecting(&self, pod: &PodObject, direction: Direction) -> Vec<&'a NetworkPolicy> {
        self.isolating(pod, direction).0
    }

    /// The policies that isolate a pod, and those of which it is not known.
    fn isolating(&self, pod: &PodObject, direction: Direction) -> (Vec<&'a NetworkPolicy>, Vec<Unknown>) {
        let (mut isolating, mut unknown) = (Vec::new(), Vec::new());
        if pod.spec.host_network {
            return (isolating, unknown);
        }
        let of_namespace = self.by_namespace.get(pod.metadata.namespace.as_str());
        for policy in of_namespace.into_iter().flatten().filter(|it| has_direction(it, direction)) {
            match selects(&policy.spec.pod_selector, &pod.metadata.labels) {
                Truth::Yes => isolating.push(*policy),
                Truth::No => {}
                Truth::Unknown => unknown.push(Unknown::Policy(PolicyName::of(policy))),
            }
        }
        isolating.sort_by_key(|it| &it.metadata.name);
        (isolating, unknown)
    }

    /// What the policies say about a connection. Its answers are always let through.
    pub fn verdict(&self, traffic: &Traffic) -> Verdict {
        let mut unknown = self.missing.clone();
        let ends =
            [self.end(&traffic.from, traffic, &mut unknown), self.end(&traffic.to, traffic, &mut unknown)];
        if !unknown.is_empty() {
            return Verdict::Unknown { because: unknown };
        }
        let [from, to] = ends;
        if let Some(exemption) = exemption(&from, &to) {
            return Verdict::Exempt(exemption);
        }
        let egress = self.judge(Direction::Egress, &from, &to, &to, traffic);
        let ingress = self.judge(Direction::Ingress, &to, &from, &to, traffic);
        combine([egress, ingress], traffic)
    }

    /// An end of a connection: which pod it is to policies, its address, and the node that it is.
    fn end(&self, peer: &Peer, traffic: &Traffic, unknown: &mut Vec<Unknown>) -> End<'a> {
        let found = match peer {
            Peer::Pod(name) => self.pods.get(name),
            Peer::Address(address) => self.pods_by_address.get(address),
        };
        let Some(pod) = found else {
            return match peer {
                Peer::Pod(name) => {
                    unknown.push(Unknown::Pod(name.clone()));
                    End::default()
                }
                Peer::Address(address) => {
                    let node = self.node_by_address.get(address).cloned();
                    // A policy may select it by labels that nobody read.
                    if let Some(reason) =
                        self.partly.as_ref().filter(|_| node.is_none() && !self.by_namespace.is_empty())
                    {
                        unknown.push(Unknown::Pods(reason.clone()));
                    }
                    End { pod: None, address: Some(*address), node }
                }
            };
        };
        let node = pod.spec.node_name.as_deref().map(NodeName::from);
        let address = pod.ips().into_iter().find(|it| it.is_ipv6() == traffic.is_ipv6);
        if pod.spec.host_network {
            return End { pod: None, address, node };
        }
        End { pod: Some(pod), address, node: None }
    }

    /// One end's say. `called` is the end whose ports are meant.
    fn judge(
        &self,
        direction: Direction,
        own: &End<'a>,
        other: &End<'a>,
        called: &End<'a>,
        traffic: &Traffic,
    ) -> Say {
        let Some(pod) = own.pod else { return Say::NotIsolated };
        let (isolating, mut unknown) = self.isolating(pod, direction);
        let mut permissions = Vec::new();
        for policy in &isolating {
            for (index, rule) in rules(policy, direction).iter().enumerate() {
                let other = Other { pod: other.pod, address: other.address };
                let peers =
                    peers_match(peers(rule, direction), &policy.metadata.namespace, other, &self.context);
                match peers.and(ports_match(&rule.ports, traffic.port, called.pod)) {
                    Truth::Yes => {
                        permissions.push(Permission {
                            direction,
                            policy: PolicyName::of(policy),
                            rule: index,
                        });
                    }
                    Truth::No => {}
                    Truth::Unknown => unknown.push(Unknown::Policy(PolicyName::of(policy))),
                }
            }
        }
        let by = isolating.iter().map(|it| PolicyName::of(it)).collect();
        match (permissions.is_empty(), unknown.is_empty()) {
            // One permission is enough, whatever else is not known.
            (false, _) => Say::Permits(permissions),
            (true, false) => Say::Unknown(unknown),
            (true, true) if isolating.is_empty() => Say::NotIsolated,
            (true, true) => Say::Denies(Denial { direction, pod: pod.name(), by }),
        }
    }
}

/// An end of a connection as policies see it.
#[derive(Clone, Debug, Default)]
struct End<'a> {
    /// The pod, where it is one that selectors may choose.
    pod: Option<&'a PodObject>,
    address: Option<IpAddr>,
    /// The node that it is.
    node: Option<NodeName>,
}

/// What one end says.
#[derive(Clone, Debug)]
enum Say {
    NotIsolated,
    Permits(Vec<Permission>),
    Denies(Denial),
    Unknown(Vec<Unknown>),
}

/// What no policy may forbid.
fn exemption(from: &End<'_>, to: &End<'_>) -> Option<Exemption> {
    if let (Some(from), Some(to)) = (from.pod, to.pod)
        && from.name() == to.name()
    {
        return Some(Exemption::Itself);
    }
    let is_own_node = |pod: &End<'_>, node: &End<'_>| {
        let runs_on = pod.pod.and_then(|it| it.spec.node_name.as_deref());
        runs_on.is_some() && runs_on == node.node.as_ref().map(NodeName::as_str)
    };
    (is_own_node(from, to) || is_own_node(to, from)).then_some(Exemption::OwnNode)
}

/// A connection needs both ends; what one denies, the other cannot save.
fn combine(says: [Say; 2], traffic: &Traffic) -> Verdict {
    let (mut by, mut denials, mut because) = (Vec::new(), Vec::new(), Vec::new());
    let mut is_isolated = false;
    for say in says {
        is_isolated |= !matches!(say, Say::NotIsolated);
        match say {
            Say::NotIsolated => {}
            Say::Permits(permissions) => by.extend(permissions),
            Say::Denies(denial) => denials.push(denial),
            Say::Unknown(unknown) => because.extend(unknown),
        }
    }
    if !denials.is_empty() {
        return match traffic.port {
            Some(_) => Verdict::Denied { denials },
            None => Verdict::Undefined { denials },
        };
    }
    if !because.is_empty() {
        because.sort();
        because.dedup();
        return Verdict::Unknown { because };
    }
    if is_isolated { Verdict::Allowed { by } } else { Verdict::NotSelected }
}

/// Does a policy isolate in a direction? Without `policyTypes` all isolate for ingress, and those with an egress rule
/// for egress too (`SetDefaults_NetworkPolicy`, Kubernetes 1.34 `pkg/apis/networking/v1/defaults.go`).
fn has_direction(policy: &NetworkPolicy, direction: Direction) -> bool {
    let types = &policy.spec.policy_types;
    match direction {
        Direction::Ingress => types.is_empty() || types.iter().any(|it| it == "Ingress"),
        Direction::Egress => {
            types.iter().any(|it| it == "Egress") || (types.is_empty() && !policy.spec.egress.is_empty())
        }
    }
}

fn rules(policy: &NetworkPolicy, direction: Direction) -> &[NetworkPolicyRule] {
    match direction {
        Direction::Ingress => &policy.spec.ingress,
        Direction::Egress => &policy.spec.egress,
    }
}

fn peers(rule: &NetworkPolicyRule, direction: Direction) -> &[NetworkPolicyPeer] {
    match direction {
        Direction::Ingress => &rule.from,
        Direction::Egress => &rule.to,
    }
}

#[cfg(test)]
mod tests;
