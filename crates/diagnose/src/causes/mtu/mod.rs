//! HW16xx: sizes of packets.

mod mtu_pod_too_large;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[&mtu_pod_too_large::CAUSE];
