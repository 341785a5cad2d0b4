//! The network of a lab: what is wanted, and how it is made with `ip`, `bridge` and `iptables-restore`.

pub(crate) mod batch;
mod job;
pub(crate) mod nfacct;
pub(crate) mod rules;
pub(crate) mod sysctl;
mod wanted;

pub(crate) use batch::Batch;
pub(crate) use job::{Job, inside, output_in, run_all};
pub(crate) use wanted::{UNDERLAY_MTU, UPLINK, Wanted, kubelet_config};
