//! Pods that are made anew.

use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hopwise_api::RestartError;
use hopwise_snapshot::PodName;
use serde_json::{Value, json};

use crate::fake::{Answer, Fake, Request, forbidden, list, ok};

/// A pod of a DaemonSet.
fn pod(namespace: &str, name: &str, uid: &str) -> Value {
    json!({"metadata": {"namespace": namespace, "name": name, "uid": uid,
            "ownerReferences": [{"kind": "DaemonSet", "name": "kube-proxy", "controller": true}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// A server with one pod, which is made anew when it is deleted, if its controller runs.
pub(crate) fn one_pod(
    namespace: &'static str,
    has_controller: bool,
) -> impl Fn(&Request) -> Answer + Send + Sync {
    let deleted = Arc::new(AtomicBool::new(false));
    move |request| {
        let path = request.path.as_str();
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        if path == format!("{pods}/kube-proxy-a") && request.method == "DELETE" {
            deleted.store(true, Ordering::SeqCst);
            return ok(&json!({"kind": "Status", "status": "Success"}));
        }
        if path != pods {
            return forbidden(request);
        }
        match (deleted.load(Ordering::SeqCst), has_controller) {
            (false, _) => list("Pod", &[pod(namespace, "kube-proxy-a", "1")], ""),
            (true, true) => list("Pod", &[pod(namespace, "kube-proxy-b", "2")], ""),
            (true, false) => list("Pod", &[], ""),
        }
    }
}

#[test]
fn a_pod_is_deleted_and_waited_for() {
    let server = Fake::new(one_pod("kube-system", true));
    let name = PodName::new("kube-system", "kube-proxy-a");
    server.connect().restart_pod(&name, Duration::from_secs(20)).unwrap();
    assert_eq!(server.requests().iter().filter(|it| it.method == "DELETE").count(), 1);
}

#[test]
fn a_pod_that_does_not_come_back_is_told() {
    let server = Fake::new(one_pod("kube-system", false));
    let name = PodName::new("kube-system", "kube-proxy-a");
    let error = server.connect().restart_pod(&name, Duration::from_millis(700)).unwrap_err();
    assert!(matches!(error, RestartError::NotBack { .. }), "{error}");
}

#[test]
fn a_pod_of_nobodys_is_left_alone() {
    let server = Fake::new(|_: &Request| {
        list("Pod", &[json!({"metadata": {"namespace": "shop", "name": "bare", "uid": "1"}})], "")
    });
    let error =
        server.connect().restart_pod(&PodName::new("shop", "bare"), Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, RestartError::Bare(_)), "{error}");
    assert!(server.requests().iter().all(|it| it.method == "GET"));
}

#[test]
fn a_right_that_is_missing_is_told() {
    let server = Fake::new(|request: &Request| match request.method.as_str() {
        "GET" => list("Pod", &[pod("kube-system", "kube-proxy-a", "1")], ""),
        _ => forbidden(request),
    });
    let name = PodName::new("kube-system", "kube-proxy-a");
    let error = server.connect().restart_pod(&name, Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("cannot delete"), "{error}");
}
