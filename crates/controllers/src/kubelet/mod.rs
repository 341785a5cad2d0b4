//! kubelet 1.34: its iptables chains, and the files that it gives to pods.

mod config;
mod dns;
mod hosts;
mod iptables;

pub use config::KubeletConfig;
pub use dns::{PodDns, PodDnsError, pod_dns};
pub use hosts::pod_hosts;
pub(crate) use iptables::block_incoming_localnet;
pub use iptables::{kubelet_iptables, sync_kubelet_iptables};
