//! HW13xx: bridges, veth pairs and what pods hang on.

mod bridge_down;
mod hairpin_off;
mod pod_default_route_missing;
mod veth_detached;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] =
    &[&bridge_down::CAUSE, &veth_detached::CAUSE, &hairpin_off::CAUSE, &pod_default_route_missing::CAUSE];
