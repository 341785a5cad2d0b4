//! kubelet 1.34: its iptables chains, and the files that it gives to pods.

mod iptables;

pub(crate) use iptables::block_incoming_localnet;
pub use iptables::{kubelet_iptables, sync_kubelet_iptables};
