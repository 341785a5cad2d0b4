//! What one node's flannel learns of another from its node object.

use std::net::IpAddr;

use hopwise_snapshot::{Mac, NodeName, NodeObject};
use ipnet::IpNet;
use serde::Deserialize;

use super::config::{Backend, FlannelConfig};
use crate::Family;

/// The prefix of flannel's annotations, as `--kube-annotation-prefix` has it by default.
pub(super) const PREFIX: &str = "flannel.alpha.coreos.com/";

/// Why flannel does not start on a node, or leaves a node out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum FlannelError {
    /// The backend is none that is modelled.
    #[error("the backend `{0}` is not modelled")]
    BackendNotModelled(String),
    /// The API server has no such node.
    #[error("there is no node `{0}`")]
    NoSuchNode(NodeName),
    /// The controller manager gave the node no range.
    #[error("node {node} has no podCIDR of {family}")]
    NoPodCidr {
        /// The node.
        node: NodeName,
        /// The family.
        family: Family,
    },
    /// The node's range is none of the network's: flannel refuses to start.
    #[error("podCIDR {pod_cidr} of node {node} lies outside of {}", .network.map_or_else(|| "an unset network".to_owned(), |it| it.to_string()))]
    OutsideOfNetwork {
        /// The node.
        node: NodeName,
        /// Its range.
        pod_cidr: IpNet,
        /// The range of the whole network.
        network: Option<IpNet>,
    },
    /// No address of the node's own interface is known.
    #[error("the interface of node {node} has no {family} address")]
    NoAddress {
        /// The node.
        node: NodeName,
        /// The family.
        family: Family,
    },
    /// An annotation of the node cannot be read: others leave it out.
    #[error("annotation `{annotation}` of node {node}: expected {expected}, found `{found}`")]
    Annotation {
        /// The node.
        node: NodeName,
        /// The annotation's name behind the prefix.
        annotation: &'static str,
        /// What would have been understood.
        expected: &'static str,
        /// What stands there; empty where it is missing.
        found: String,
    },
    /// The node runs another backend: others leave it out.
    #[error("node {node} has backend `{found}`, this node has `{expected}`")]
    OtherBackend {
        /// The node.
        node: NodeName,
        /// The backend of this node.
        expected: &'static str,
        /// The backend of that node.
        found: String,
    },
}

/// What one node's flannel learns of another, in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The other node.
    pub node: NodeName,
    /// The range of its pods.
    pub subnet: IpNet,
    /// Where it is reached.
    pub public_ip: IpAddr,
    /// The Ethernet address of its VXLAN device; none with host-gw.
    pub mac: Option<Mac>,
}

/// The annotation `backend-data`.
#[derive(Deserialize)]
struct BackendData {
    #[serde(rename = "VtepMAC")]
    vtep_mac: String,
}

/// The range of a node's pods in a family. A node without `podCIDRs` has its `podCIDR`.
pub(super) fn subnet(node: &NodeObject, family: Family) -> Result<IpNet, FlannelError> {
    let of_family = node.pod_cidrs().into_iter().find(|it| Family::of_net(it) == family);
    of_family.map(|it| it.trunc()).ok_or_else(|| FlannelError::NoPodCidr { node: node.name(), family })
}

/// The name of the backend in annotations, for those that are modelled.
pub(super) fn backend_type(backend: &Backend) -> Result<&'static str, FlannelError> {
    match backend {
        Backend::Vxlan(_) => Ok("vxlan"),
        Backend::HostGw => Ok("host-gw"),
        Backend::Other(name) => Err(FlannelError::BackendNotModelled(name.clone())),
    }
}

/// What others learn of a node in one family (`nodeToLease`, flannel 0.28 `pkg/subnet/kube/kube.go`, and the checks of
/// `handleSubnetEvents`).
pub(super) fn lease(
    node: &NodeObject,
    config: &FlannelConfig,
    family: Family,
) -> Result<Lease, FlannelError> {
    let (ip_name, data_name) = match family {
        Family::V4 => ("public-ip", "backend-data"),
        Family::V6 => ("public-ipv6", "backend-v6-data"),
    };
    let annotation =
        |name: &str| node.metadata.annotations.get(&format!("{PREFIX}{name}")).map_or("", String::as_str);
    let wrong = |name: &'static str, expected| FlannelError::Annotation {
        node: node.name(),
        annotation: name,
        expected,
        found: annotation(name).to_owned(),
    };
    if annotation("kube-subnet-manager") != "true" {
        return Err(wrong("kube-subnet-manager", "true"));
    }
    let public_ip: Option<IpAddr> = annotation(ip_name).parse().ok();
    let public_ip = public_ip
        .filter(|it| Family::of(*it) == family)
        .ok_or_else(|| wrong(ip_name, "an address of the family"))?;
    let subnet = subnet(node, family)?;
    let expected = backend_type(&config.backend)?;
    if annotation("backend-type") != expected {
        let found = annotation("backend-type").to_owned();
        return Err(FlannelError::OtherBackend { node: node.name(), expected, found });
    }
    let mac = match config.backend {
        Backend::Vxlan(_) => {
            Some(vtep_mac(annotation(data_name)).ok_or_else(|| wrong(data_name, "JSON with a VtepMAC"))?)
        }
        _ => None,
    };
    Ok(Lease { node: node.name(), subnet, public_ip, mac })
}

/// The Ethernet address that a node's annotation promises for its VXLAN device. flannel takes it up again when it
/// restarts.
pub(super) fn stored_mac(node: &NodeObject, family: Family) -> Option<Mac> {
    let name = match family {
        Family::V4 => "backend-data",
        Family::V6 => "backend-v6-data",
    };
    vtep_mac(node.metadata.annotations.get(&format!("{PREFIX}{name}"))?)
}

fn vtep_mac(backend_data: &str) -> Option<Mac> {
    serde_json::from_str::<BackendData>(backend_data).ok()?.vtep_mac.parse().ok()
}
