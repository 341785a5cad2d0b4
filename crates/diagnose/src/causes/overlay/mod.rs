//! HW15xx: tunnels between nodes.

mod overlay_fdb_stale;
mod overlay_port_mismatch;
mod overlay_udp_blocked;
mod overlay_vni_mismatch;
mod overlay_vtep_mac_mismatch;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[
    &overlay_udp_blocked::CAUSE,
    &overlay_port_mismatch::CAUSE,
    &overlay_vni_mismatch::CAUSE,
    &overlay_fdb_stale::CAUSE,
    &overlay_vtep_mac_mismatch::CAUSE,
];
