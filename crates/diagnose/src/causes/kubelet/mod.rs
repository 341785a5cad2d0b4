//! HW20xx: resolver configuration of nodes and pods.

mod node_resolvconf_empty;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[&node_resolvconf_empty::CAUSE];
