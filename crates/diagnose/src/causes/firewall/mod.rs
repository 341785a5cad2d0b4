//! HW11xx: packet filters of nodes.

mod fw_forward_policy_drop;
mod fw_kube_rules_flushed;
mod fw_pod_masquerade_missing;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] =
    &[&fw_forward_policy_drop::CAUSE, &fw_kube_rules_flushed::CAUSE, &fw_pod_masquerade_missing::CAUSE];
