//! `HW1703`: kube-proxy is told to ask an API server that is not there.

use hopwise_dataplane::{BlockerKind, kube_proxy_asks_nobody};
use hopwise_repair::{Action, Repair};
use hopwise_snapshot::Element;

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1703),
    name: "kubeproxy-kubeconfig-bad",
    summary: "kube-proxy asks an API server that is not there: it learns of no Service and no endpoint",
    manual: include_str!("kubeproxy_kubeconfig_bad.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let Some((server, wanted)) = kube_proxy_asks_nobody(case.snapshot) else { return };
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    let element = Element::object("configmap", "kube-system", "kube-proxy", Some("kubeconfig.conf"));
    let asks = case.blockers.keys().any(|it| matches!(it.kind, BlockerKind::AsksNobody { .. }));
    let told = "correct its server: kubectl -n kube-system edit configmap kube-proxy; then kubectl -n kube-system \
                rollout restart daemonset kube-proxy";
    let suspect = suspects.report(&CAUSE, element.clone());
    suspect
        .says(format!("kube-proxy is told to ask the API server at {server}, where none is."))
        .because([Evidence {
            element,
            observed: server.to_string(),
            expected: format!("one of {}", wanted.join(", ")),
            source: "kubectl -n kube-system get configmap kube-proxy -o yaml".to_owned(),
        }])
        .repaired_by(Repair::one(Action::told(
            None,
            told,
            "kubectl -n kube-system logs -l k8s-app=kube-proxy --tail=5",
        )));
    if !asks {
        suspect.later("kube-proxy learns of nothing new where it is started again");
    }
}
