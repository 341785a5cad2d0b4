//! HW17xx: kube-proxy, and what it makes of Services.

mod kubeproxy_clustercidr_wrong;
mod kubeproxy_config_invalid;
mod kubeproxy_down;
mod kubeproxy_kubeconfig_bad;

pub(super) use kubeproxy_config_invalid::obstacles;

use crate::cause::Cause;

pub(super) static CAUSES: &[&Cause] = &[
    &kubeproxy_down::CAUSE,
    &kubeproxy_config_invalid::CAUSE,
    &kubeproxy_kubeconfig_bad::CAUSE,
    &kubeproxy_clustercidr_wrong::CAUSE,
];
