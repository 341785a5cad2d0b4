//! HW14xx: routes of nodes.

mod node_route_missing;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[&node_route_missing::CAUSE];
