//! `HW1702`: kube-proxy does not start with the configuration that it is given.

use hopwise_controllers::kube_proxy::KubeProxyConfig;
use hopwise_dataplane::BlockerKind;
use hopwise_repair::{Action, Repair};
use hopwise_snapshot::Element;

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1702),
    name: "kubeproxy-config-invalid",
    summary: "kube-proxy refuses its configuration: it does not start, or will not when it is started next",
    manual: include_str!("kubeproxy_config_invalid.md"),
    detect,
};

/// What keeps kube-proxy from starting, by its ConfigMap.
pub(in crate::causes) fn obstacles(case: &Case<'_>) -> Vec<String> {
    let config_map = case.snapshot.cluster.config_map("kube-system", "kube-proxy");
    config_map.map(KubeProxyConfig::obstacles).unwrap_or_default()
}

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let obstacles = obstacles(case);
    let Some(first) = obstacles.first() else { return };
    let element = Element::object("configmap", "kube-system", "kube-proxy", Some("config.conf"));
    let is_down = |it: &&hopwise_dataplane::Blocker| matches!(&it.kind, BlockerKind::NotRunning { program, .. } if program == "kube-proxy");
    let down: Vec<Element> = case.blockers.keys().filter(is_down).map(|it| it.element.clone()).collect();
    let told = "correct it: kubectl -n kube-system edit configmap kube-proxy; then kubectl -n kube-system rollout \
                restart daemonset kube-proxy";
    let verify = "kubectl -n kube-system get pods -l k8s-app=kube-proxy";
    let suspect = suspects.report(&CAUSE, element.clone());
    suspect
        .says(format!("kube-proxy does not start with its configuration: {first}."))
        .because(obstacles.iter().map(|it| Evidence {
            element: element.clone(),
            observed: it.clone(),
            expected: "what kube-proxy takes".to_owned(),
            source: "kubectl -n kube-system get configmap kube-proxy -o yaml".to_owned(),
        }))
        .because(last_words(case))
        .repaired_by(Repair::one(Action::told(None, told, verify)));
    if down.is_empty() {
        suspect.later("kube-proxy does not come back where it is started again: Services stay as they are");
    } else {
        suspect.also(down);
    }
}

/// What a kube-proxy wrote last.
fn last_words(case: &Case<'_>) -> Option<Evidence> {
    let pods = case.snapshot.cluster.pods.known().into_iter().flatten();
    let mut own = pods.filter(|it| it.metadata.labels.get("k8s-app").is_some_and(|it| it == "kube-proxy"));
    own.find_map(|pod| {
        let name = pod.name();
        Some(Evidence {
            element: Element::object("pod", &name.namespace, &name.name, Some("log")),
            observed: case.last_error(&name)?,
            expected: "no complaint".to_owned(),
            source: format!("kubectl -n {} logs {}", name.namespace, name.name),
        })
    })
}
