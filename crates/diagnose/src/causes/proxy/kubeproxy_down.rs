//! `HW1701`: kube-proxy does not run on a node.

use hopwise_change::Controller;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    causes::cni::report_agent,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1701),
    name: "kubeproxy-down",
    summary: "kube-proxy does not run: Services of the node stay as they were",
    manual: include_str!("kubeproxy_down.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_agent(case, suspects, &CAUSE, ("kube-proxy", Controller::KubeProxy));
}
