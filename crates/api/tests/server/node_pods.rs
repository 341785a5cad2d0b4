//! Pods on nodes: how they are made, spoken to and removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use hopwise_api::{NodePodError, NodePodOptions, NodePods};
use hopwise_snapshot::{NodeName, Reason};
use serde_json::{Value, json};

use crate::fake::{Answer, Fake, Request, empty, ok, status};

const PODS: &str = "/api/v1/namespaces/hopwise/pods";

/// A cluster that keeps pods, and gives each this status.
#[derive(Clone, Default)]
pub(crate) struct Cluster {
    pods: Arc<Mutex<BTreeMap<String, Value>>>,
    has_namespace: Arc<Mutex<bool>>,
}

impl Cluster {
    pub(crate) fn running() -> Value {
        json!({"phase": "Running", "containerStatuses": [{"name": "hopwise", "state": {"running": {}}}]})
    }

    pub(crate) fn serve(self, pod_status: Value) -> impl Fn(&Request) -> Answer + Send + Sync {
        move |request| self.answer(request, &pod_status)
    }

    fn answer(&self, request: &Request, pod_status: &Value) -> Answer {
        let mut pods = self.pods.lock().unwrap();
        let name = request.path.strip_prefix(PODS).and_then(|it| it.strip_prefix('/'));
        match (request.method.as_str(), request.path.as_str(), name) {
            ("GET", "/api/v1/namespaces/hopwise", _) if !*self.has_namespace.lock().unwrap() => {
                status(404, "NotFound", "namespaces \"hopwise\" not found")
            }
            ("GET", "/api/v1/namespaces/hopwise", _) => ok(&json!({})),
            ("POST", "/api/v1/namespaces", _) => {
                *self.has_namespace.lock().unwrap() = true;
                ok(&json!({}))
            }
            ("POST", PODS, _) => {
                let mut pod: Value = serde_json::from_slice(&request.body).unwrap();
                pod["status"] = pod_status.clone();
                pods.insert(pod["metadata"]["name"].as_str().unwrap().to_owned(), pod.clone());
                ok(&pod)
            }
            ("GET", PODS, _) => {
                let items: Vec<&Value> = pods.values().collect();
                ok(&json!({"kind": "PodList", "items": items}))
            }
            ("GET", "/api/v1/nodes/w1", _) => {
                ok(&json!({"metadata": {"name": "w1"}, "status": {"conditions": [
                {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting"}]}}))
            }
            ("GET", path, _) if path.ends_with("/exec") => Answer::Echo,
            (method, _, Some(name)) => match (method, pods.get(name)) {
                ("GET", Some(pod)) => ok(pod),
                ("DELETE", Some(_)) => ok(&pods.remove(name).unwrap()),
                _ => status(404, "NotFound", &format!("pods \"{name}\" not found")),
            },
            _ => empty(request),
        }
    }

    /// The namespace is there.
    pub(crate) fn has_namespace(&self) {
        *self.has_namespace.lock().unwrap() = true;
    }

    fn names(&self) -> Vec<String> {
        self.pods.lock().unwrap().keys().cloned().collect()
    }
}

pub(crate) fn options() -> NodePodOptions {
    NodePodOptions { patience: Duration::from_secs(20), ..NodePodOptions::new("hopwise.local/hopwise:1") }
}

/// What comes of a pod that has this status.
fn failing(pod_status: Value, patience: Duration) -> NodePodError {
    let cluster = Cluster::default();
    let fake = Fake::new(cluster.clone().serve(pod_status));
    let pods = NodePods::begin(&fake.connect(), NodePodOptions { patience, ..options() }).unwrap();
    let error = pods.open(&NodeName::from("w1")).map(drop).unwrap_err();
    assert_eq!(pods.end(), Vec::<String>::new());
    assert_eq!(cluster.names(), Vec::<String>::new(), "what failed is removed, too");
    error
}

#[test]
fn a_pod_is_made_spoken_to_and_removed() {
    let cluster = Cluster::default();
    let fake = Fake::new(cluster.clone().serve(Cluster::running()));
    let pods = NodePods::begin(&fake.connect(), options()).unwrap();
    let mut line = pods.open(&NodeName::from("w1")).unwrap();
    assert_eq!(cluster.names().len(), 1);
    let message: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let sent = message.clone();
    let writer = std::thread::spawn(move || {
        line.writes.write_all(&sent).unwrap();
        line.writes.flush().unwrap();
        // Its end is told to the program, which ends then.
        drop(line.writes);
    });
    let mut heard = Vec::new();
    line.reads.read_to_end(&mut heard).unwrap();
    writer.join().unwrap();
    assert!(heard == message, "{} of {} bytes came back", heard.len(), message.len());
    let exec = fake.requests().into_iter().find(|it| it.path.ends_with("/exec")).unwrap();
    assert!(exec.query.contains("command=%2Fhopwise&command=on-node"), "{}", exec.query);
    assert_eq!(pods.end(), Vec::<String>::new());
    assert_eq!(cluster.names(), Vec::<String>::new());
    let made = fake
        .requests()
        .into_iter()
        .find(|it| it.method == "POST" && it.path == "/api/v1/namespaces")
        .unwrap();
    let namespace: Value = serde_json::from_slice(&made.body).unwrap();
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
}

#[test]
fn several_nodes_are_spoken_to_at_once() {
    let cluster = Cluster::default();
    let fake = Fake::new(cluster.clone().serve(Cluster::running()));
    let pods = NodePods::begin(&fake.connect(), options()).unwrap();
    std::thread::scope(|scope| {
        for n in 0..6 {
            let pods = &pods;
            scope.spawn(move || {
                let mut line = pods.open(&NodeName::from(format!("w{n}").as_str())).unwrap();
                line.writes.write_all(format!("hello w{n}").as_bytes()).unwrap();
                drop(line.writes);
                let mut heard = String::new();
                line.reads.read_to_string(&mut heard).unwrap();
                assert_eq!(heard, format!("hello w{n}"));
            });
        }
    });
    // Pods are named in the order in which they were made, which is any.
    let nodes: BTreeSet<String> =
        cluster.pods.lock().unwrap().values().map(|it| it["spec"]["nodeName"].to_string()).collect();
    assert_eq!(nodes, ["w0", "w1", "w2", "w3", "w4", "w5"].map(|it| format!("\"{it}\"")).into());
    assert_eq!(pods.end(), Vec::<String>::new());
}

#[test]
fn an_image_that_is_not_there_is_named_with_what_to_do() {
    let waiting = json!({"phase": "Pending", "containerStatuses": [{"name": "hopwise", "state":
        {"waiting": {"reason": "ErrImagePull", "message": "no such host hopwise.local"}}}]});
    let error = failing(waiting, Duration::from_secs(20));
    assert_eq!(
        error.to_string(),
        "node w1 has no image hopwise.local/hopwise:1 and cannot get it: ErrImagePull: no such host hopwise.local"
    );
    assert!(error.next().unwrap().contains("ctr -n k8s.io images import"));
}

#[test]
fn a_node_that_does_not_start_it_is_waited_for_and_named() {
    let error = failing(json!({"phase": "Pending"}), Duration::from_secs(1));
    assert_eq!(
        error.to_string(),
        "node w1 did not start the pod within 1 s: the node is not ready (NodeStatusUnknown: Kubelet stopped posting); its \
         kubelet has not taken notice of it"
    );
    let full =
        json!({"phase": "Failed", "reason": "Evicted", "message": "The node had condition: [DiskPressure]."});
    let error = failing(full, Duration::from_secs(20));
    assert_eq!(
        error.to_string(),
        "the pod on node w1 ended: Evicted: The node had condition: [DiskPressure]."
    );
}

#[test]
fn what_may_not_be_done_is_named_as_a_right() {
    let fake = Fake::new(|request| match (request.method.as_str(), request.path.as_str()) {
        ("POST", _) => status(
            403,
            "Forbidden",
            "pods is forbidden: User \"jane\" cannot create resource \"pods\" in API group \"\" in the namespace \"hopwise\"",
        ),
        ("GET", PODS) => ok(&json!({"kind": "PodList", "items": []})),
        ("GET", "/api/v1/namespaces/hopwise") => ok(&json!({})),
        _ => empty(request),
    });
    let pods = NodePods::begin(&fake.connect(), options()).unwrap();
    let error = pods.open(&NodeName::from("w1")).map(drop).unwrap_err();
    assert_eq!(error.reason(), Reason::NotPermitted("create pods in namespace hopwise".to_owned()));
    assert!(error.next().unwrap().contains("deploy/rbac.yaml"));
}

#[test]
fn a_quota_on_the_priority_is_no_obstacle() {
    let cluster = Cluster::default();
    let inner = cluster.clone();
    let fake = Fake::new(move |request| {
        let is_critical = String::from_utf8_lossy(&request.body).contains("system-node-critical");
        if request.method == "POST" && request.path == PODS && is_critical {
            return status(
                403,
                "Forbidden",
                "insufficient quota to match these scopes: [{PriorityClass In [system-node-critical]}]",
            );
        }
        inner.answer(request, &Cluster::running())
    });
    let pods = NodePods::begin(&fake.connect(), options()).unwrap();
    pods.open(&NodeName::from("w1")).unwrap();
    assert_eq!(cluster.names().len(), 1);
    pods.end();
}

#[test]
fn what_an_earlier_run_left_is_removed_and_what_goes_on_is_not() {
    let cluster = Cluster::default();
    let pod = |name: &str, phase: &str, owner: &str| {
        json!({"kind": "Pod", "metadata": {"name": name, "namespace": "hopwise", "annotations": {"hopwise/owner": owner},
            "creationTimestamp": jiff::Timestamp::now().to_string()}, "status": {"phase": phase}})
    };
    {
        let mut pods = cluster.pods.lock().unwrap();
        for (name, phase, owner) in [
            ("ended", "Failed", "elsewhere/1/1"),
            ("elsewhere", "Running", "elsewhere/1/1"),
            ("unknown", "Running", ""),
        ] {
            pods.insert(name.to_owned(), pod(name, phase, owner));
        }
    }
    let fake = Fake::new(cluster.clone().serve(Cluster::running()));
    NodePods::begin(&fake.connect(), options()).unwrap();
    assert_eq!(cluster.names(), ["elsewhere", "unknown"]);
    let asked = fake.asked(PODS);
    assert_eq!(asked[0].asks("labelSelector"), Some("app.kubernetes.io%2Fmanaged-by%3Dhopwise"));
}

#[test]
fn a_program_that_fails_is_told_with_its_last_words() {
    let cluster = Cluster::default();
    let inner = cluster.clone();
    let fake = Fake::new(move |request| {
        if request.path.ends_with("/exec") {
            return Answer::Fails(
                "no such program\n".to_owned(),
                "command terminated with exit code 127".to_owned(),
            );
        }
        inner.answer(request, &Cluster::running())
    });
    let pods = NodePods::begin(&fake.connect(), options()).unwrap();
    let mut line = pods.open(&NodeName::from("w1")).unwrap();
    let error = line.reads.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "command terminated with exit code 127: no such program");
    pods.end();
}
