//! What NetworkPolicies make of a flow: a promise, the contrary of one, or neither.

use std::net::{IpAddr, SocketAddr};

use hopwise_policy::{Peer, Policies, Traffic, Verdict};
use hopwise_snapshot::{Place, Protocol, Snapshot};

use crate::packet::FlowProtocol;

/// What is promised of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// That it arrives.
    Arrives,
    /// That it does not.
    Stopped,
    /// Nothing: the network plugin may do either.
    Open,
}

/// The policies of a snapshot, as its nodes' addresses make them meant.
pub(crate) fn policies(snapshot: &Snapshot) -> Policies<'_> {
    let mut policies = Policies::new(&snapshot.cluster);
    for (name, node) in &snapshot.nodes {
        // Kubelet's probes come from the address of the pods' bridge.
        let addresses = node.known().and_then(|it| it.net.addresses.known()).into_iter().flatten();
        let own = addresses.map(|it| it.address.addr()).filter(|it| !it.is_loopback());
        policies = policies.with_node_addresses(name, own);
    }
    policies
}

/// What is promised of a flow between two ends. Policies that were not collected forbid nothing.
pub(crate) fn permission(
    policies: &Policies<'_>,
    from: (&Place, IpAddr),
    to: &Peer,
    protocol: FlowProtocol,
    address: IpAddr,
) -> Permission {
    let from = match from {
        (Place::Pod(name), _) => Peer::Pod(name.clone()),
        (Place::Node(_), address) => Peer::Address(address),
    };
    let port = match protocol {
        FlowProtocol::Tcp(port) => Some((Protocol::Tcp, port)),
        FlowProtocol::Udp(port) => Some((Protocol::Udp, port)),
        FlowProtocol::Icmp => None,
    };
    let traffic = Traffic { from, to: to.clone(), port, is_ipv6: address.is_ipv6() };
    match policies.verdict(&traffic) {
        Verdict::NotSelected | Verdict::Allowed { .. } | Verdict::Exempt(_) | Verdict::Unknown { .. } => {
            Permission::Arrives
        }
        Verdict::Denied { .. } => Permission::Stopped,
        Verdict::Undefined { .. } => Permission::Open,
    }
}

/// What is promised of a flow to a Service that may go to any of some endpoints.
pub(crate) fn permission_to_any(
    policies: &Policies<'_>,
    from: (&Place, IpAddr),
    endpoints: &[SocketAddr],
    protocol: FlowProtocol,
) -> Permission {
    let mut all = endpoints.iter().map(|endpoint| {
        let at_endpoint = match protocol {
            FlowProtocol::Tcp(_) => FlowProtocol::Tcp(endpoint.port()),
            FlowProtocol::Udp(_) => FlowProtocol::Udp(endpoint.port()),
            FlowProtocol::Icmp => FlowProtocol::Icmp,
        };
        permission(policies, from, &Peer::Address(endpoint.ip()), at_endpoint, endpoint.ip())
    });
    let Some(first) = all.next() else { return Permission::Open };
    // Which endpoint a flow gets is chance: only where all are alike something is promised.
    if all.all(|it| it == first) { first } else { Permission::Open }
}
