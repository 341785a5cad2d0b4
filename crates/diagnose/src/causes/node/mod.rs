//! HW10xx: kernel switches and modules of nodes.

mod node_bridge_nf_call_off;
mod node_iface_forwarding_off;
mod node_ip_forward_off;
mod node_sysctl_drift;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[
    &node_ip_forward_off::CAUSE,
    &node_iface_forwarding_off::CAUSE,
    &node_bridge_nf_call_off::CAUSE,
    &node_sysctl_drift::CAUSE,
];
