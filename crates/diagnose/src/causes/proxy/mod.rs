//! HW17xx: kube-proxy, and what it makes of Services.

mod kubeproxy_down;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[&kubeproxy_down::CAUSE];
