//! HW14xx: routes of nodes.

mod kubelet_wrong_node_ip;
mod node_route_missing;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[&node_route_missing::CAUSE, &kubelet_wrong_node_ip::CAUSE];
