//! What kube-proxy, flannel and kubelet write on a node, compiled from the API's objects.
//!
//! Two users: a lab that builds clusters which must look as the real ones, and a diagnosis that compares what a node
//! holds with what its controllers would write. Read [`kube_proxy::KubeProxy`] first, then [`Ruleset`].
//!
//! What is deliberately absent: I/O, clocks and the node's kernel. A function here says what a controller *would*
//! write; nothing here says what a node does with it. What a controller takes from its node (addresses, the MTU of an
//! interface) is an argument.
//!
//! Behaviour is that of Kubernetes 1.34, flannel 0.28 and the CNI plugins 1.1, read from their sources; functions name
//! the file that they follow.

#![deny(clippy::disallowed_methods)]

pub mod cni;
pub mod container_runtime;
pub mod endpoint_slice;
mod family;
pub mod flannel;
mod json;
pub mod kube_proxy;
pub mod kubeconfig;
pub mod kubelet;
mod ruleset;
mod yaml;

pub use family::Family;
pub use json::JsonError;
pub use ruleset::{Chain, Ruleset, RulesetError};
pub use yaml::YamlError;
