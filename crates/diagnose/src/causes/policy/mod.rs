//! HW22xx: NetworkPolicies.

mod netpol_not_enforced;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[&netpol_not_enforced::CAUSE];
