//! One rule of a policy against one connection.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_snapshot::{
    Container, IpBlock, NetworkPolicyPeer, NetworkPolicyPort, PodObject, PortNumberOrName, Protocol,
};
use ipnet::IpNet;

use crate::selector::{Truth, selects};

/// The other end of a connection as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other<'a> {
    /// The pod, where it is one that selectors may choose.
    pub(crate) pod: Option<&'a PodObject>,
    /// Its address, where one is known.
    pub(crate) address: Option<IpAddr>,
}

/// The labels of namespaces; none where they were not collected.
pub(crate) type Namespaces<'a> = Option<BTreeMap<&'a str, &'a BTreeMap<String, String>>>;

/// What the peers of rules are held against.
#[derive(Clone, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) namespaces: Namespaces<'a>,
    /// Does `ipBlock` choose pods by their addresses?
    pub(crate) ip_block_selects_pods: bool,
}

/// Does a rule's list of peers hold the other end? An empty list holds everyone.
pub(crate) fn peers_match(
    peers: &[NetworkPolicyPeer],
    policy_namespace: &str,
    other: Other<'_>,
    context: &Context<'_>,
) -> Truth {
    if peers.is_empty() {
        return Truth::Yes;
    }
    any(peers.iter().map(|it| peer_matches(it, policy_namespace, other, context)))
}

/// One entry of the list: all of its parts must match, which is what tells one entry with two selectors from two
/// entries with one each.
fn peer_matches(
    peer: &NetworkPolicyPeer,
    policy_namespace: &str,
    other: Other<'_>,
    context: &Context<'_>,
) -> Truth {
    if let Some(block) = &peer.ip_block {
        // The API does not allow it beside selectors.
        if peer.pod_selector.is_some() || peer.namespace_selector.is_some() {
            return Truth::Unknown;
        }
        if other.pod.is_some() && !context.ip_block_selects_pods {
            return Truth::No;
        }
        return other.address.map_or(Truth::Unknown, |it| block_holds(block, it));
    }
    if peer.pod_selector.is_none() && peer.namespace_selector.is_none() {
        // The API does not allow an entry without any part.
        return Truth::Unknown;
    }
    let Some(pod) = other.pod else { return Truth::No };
    let is_chosen = peer.pod_selector.as_ref().map_or(Truth::Yes, |it| selects(it, &pod.metadata.labels));
    let is_in_namespace = match &peer.namespace_selector {
        None => Truth::of(pod.metadata.namespace == policy_namespace),
        Some(selector) => {
            if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
                Truth::Yes
            } else {
                match context.namespaces.as_ref().map(|it| it.get(pod.metadata.namespace.as_str())) {
                    Some(Some(labels)) => selects(selector, labels),
                    _ => Truth::Unknown,
                }
            }
        }
    };
    is_chosen.and(is_in_namespace)
}

/// Is an address in a range and in none of its holes?
fn block_holds(block: &IpBlock, address: IpAddr) -> Truth {
    let Ok(range) = block.cidr.parse::<IpNet>() else { return Truth::Unknown };
    if !range.contains(&address) {
        return Truth::No;
    }
    let mut truth = Truth::Yes;
    for except in &block.except {
        truth = truth.and(match except.parse::<IpNet>() {
            Ok(hole) => Truth::of(!hole.contains(&address)),
            Err(_) => Truth::Unknown,
        });
    }
    truth
}

/// Does a rule's list of ports hold the port? An empty list holds every port and every protocol.
///
/// `destination` is the pod that is called: names of ports are its own. With another protocol than TCP, UDP and SCTP
/// (`port` is none), a list that is not empty says nothing.
pub(crate) fn ports_match(
    ports: &[NetworkPolicyPort],
    port: Option<(Protocol, u16)>,
    destination: Option<&PodObject>,
) -> Truth {
    if ports.is_empty() {
        return Truth::Yes;
    }
    let Some((protocol, number)) = port else { return Truth::No };
    any(ports.iter().map(|it| port_matches(it, protocol, number, destination)))
}

fn port_matches(
    allowed: &NetworkPolicyPort,
    protocol: Protocol,
    number: u16,
    destination: Option<&PodObject>,
) -> Truth {
    if allowed.protocol != protocol {
        return Truth::No;
    }
    match (&allowed.port, allowed.end_port) {
        (None, None) => Truth::Yes,
        (Some(PortNumberOrName::Number(only)), None) => Truth::of(*only == number),
        (Some(PortNumberOrName::Number(first)), Some(last)) => Truth::of((*first..=last).contains(&number)),
        (Some(PortNumberOrName::Name(name)), None) => {
            Truth::of(destination.is_some_and(|it| has_named_port(it, name, protocol, number)))
        }
        // The API does not allow a range that begins with a name or with nothing.
        (Some(PortNumberOrName::Name(_)) | None, Some(_)) => Truth::Unknown,
    }
}

/// Has a pod a port of this name and protocol, and with this number? Sidecars count, other init containers do not
/// (as for the target ports of Services: `FindPort`, k8s.io/endpointslice 0.34).
fn has_named_port(pod: &PodObject, name: &str, protocol: Protocol, number: u16) -> bool {
    let is_sidecar = |it: &&Container| it.restart_policy.as_deref() == Some("Always");
    let sidecars = pod.spec.init_containers.iter().filter(is_sidecar);
    let ports = pod.spec.containers.iter().chain(sidecars).flat_map(|it| &it.ports);
    let mut named = ports.filter(|it| it.name.as_deref() == Some(name) && it.protocol == protocol);
    named.any(|it| it.container_port == number)
}

/// Yes where one is, unknown where one may be.
pub(crate) fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut result = Truth::No;
    for truth in truths {
        match truth {
            Truth::Yes => return Truth::Yes,
            Truth::Unknown => result = Truth::Unknown,
            Truth::No => {}
        }
    }
    result
}
