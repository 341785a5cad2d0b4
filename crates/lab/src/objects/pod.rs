//! Pod objects, and what happens to them while the lab runs.

use std::net::IpAddr;

use hopwise_snapshot::{PodName, Protocol};
use serde_json::{Value, json};

use super::{Maker, is_called};
use crate::{
    LabError,
    layout::{App, NodeLayout, PodLayout},
    random,
};

/// The version of Kubernetes that the lab's objects show.
pub(super) const KUBERNETES_VERSION: &str = "v1.34.4";

/// What a pod that shares its node's network namespace runs.
struct HostPod {
    namespace: &'static str,
    name: String,
    container: &'static str,
    image: String,
    command: Vec<String>,
    owner: (&'static str, String),
    labels: Value,
    port: Option<u16>,
}

impl Maker<'_> {
    pub(super) fn pods(&mut self) -> Result<Vec<Value>, LabError> {
        let mut pods = Vec::new();
        for node in &self.layout.nodes {
            for pod in &node.pods {
                pods.push(self.pod(node, pod)?);
            }
            for pod in host_pods(node)? {
                pods.push(self.host_pod(node, pod)?);
            }
        }
        pods.sort_by_key(|it| (it["metadata"]["namespace"].to_string(), it["metadata"]["name"].to_string()));
        Ok(pods)
    }

    fn pod(&mut self, node: &NodeLayout, pod: &PodLayout) -> Result<Value, LabError> {
        let app = pod.app;
        let (owner_kind, owner, hash) = match app {
            App::Client => ("DaemonSet", app.name().to_owned(), "controller-revision-hash"),
            _ => ("ReplicaSet", replica_set(app), "pod-template-hash"),
        };
        let mut labels = selector(app);
        labels[hash] = template_hash(app).into();
        let mut metadata = self.metadata(&pod.name.namespace, &pod.name.name, &pod.uid, labels);
        metadata["generateName"] = format!("{owner}-").into();
        let uid = self.uid(app.namespace(), owner_kind, &owner)?;
        metadata["ownerReferences"] = owner_reference("apps/v1", owner_kind, &owner, &uid);
        let spec = pod_spec(app, Some(&node.name));
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": spec,
            "status": self.running(node, app.name(), &image(app), &pod.addresses)?,
        }))
    }

    fn host_pod(&mut self, node: &NodeLayout, pod: HostPod) -> Result<Value, LabError> {
        let mut metadata = self.metadata(pod.namespace, &pod.name, &random::uid()?, pod.labels);
        let (kind, owner) = &pod.owner;
        let (version, uid) = match *kind {
            "Node" => ("v1", node.uid.clone()),
            _ => ("apps/v1", self.uid(pod.namespace, kind, owner)?),
        };
        metadata["ownerReferences"] = owner_reference(version, kind, owner, &uid);
        let mut container = json!({
            "command": pod.command,
            "image": pod.image,
            "imagePullPolicy": "IfNotPresent",
            "name": pod.container,
            "resources": {},
        });
        if let Some(port) = pod.port {
            container["ports"] =
                json!([{"containerPort": port, "hostPort": port, "name": "probe-port", "protocol": "TCP"}]);
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": metadata,
            "spec": {
                "containers": [container],
                "dnsPolicy": "ClusterFirst",
                "enableServiceLinks": true,
                "hostNetwork": true,
                "nodeName": node.name,
                "priorityClassName": "system-node-critical",
                "restartPolicy": "Always",
                "schedulerName": "default-scheduler",
                "tolerations": [{"operator": "Exists"}],
            },
            "status": self.running(node, pod.container, &pod.image, &node.addresses)?,
        }))
    }

    /// The status of a pod that runs and is ready.
    fn running(
        &self,
        node: &NodeLayout,
        container: &str,
        image: &str,
        addresses: &[IpAddr],
    ) -> Result<Value, LabError> {
        let condition = |kind: &str| {
            json!({
                "lastProbeTime": null,
                "lastTransitionTime": self.now,
                "observedGeneration": 1,
                "status": "True",
                "type": kind,
            })
        };
        let kinds = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];
        let ips = |addresses: &[IpAddr]| -> Vec<Value> {
            addresses.iter().map(|it| json!({"ip": it.to_string()})).collect()
        };
        let id = random::uid()?.replace('-', "");
        Ok(json!({
            "conditions": kinds.map(condition),
            "containerStatuses": [{
                "containerID": format!("containerd://{id}{id}"),
                "image": image,
                "lastState": {},
                "name": container,
                "ready": true,
                "restartCount": 0,
                "started": true,
                "state": {"running": {"startedAt": self.now}},
            }],
            "hostIP": node.addresses[0].to_string(),
            "hostIPs": ips(&node.addresses),
            "observedGeneration": 1,
            "phase": "Running",
            "podIP": addresses[0].to_string(),
            "podIPs": ips(addresses),
            "qosClass": "BestEffort",
            "startTime": self.now,
        }))
    }
}

/// The specification of a workload's pods; on a node, or as the template that the workload holds.
pub(super) fn pod_spec(app: App, node: Option<&str>) -> Value {
    let port = |(name, port, protocol): &(&str, u16, Protocol)| json!({"containerPort": port, "name": name, "protocol": protocol.to_string().to_uppercase()});
    let ports: Vec<Value> = app.ports().iter().map(port).collect();
    let mut container = json!({
        "image": image(app),
        "imagePullPolicy": "IfNotPresent",
        "name": app.name(),
        "ports": ports,
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    });
    let mut spec = json!({
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
        "tolerations": [{"operator": "Exists"}],
    });
    if app == App::CoreDns {
        container["args"] = json!(["-conf", "/etc/coredns/Corefile"]);
        container["volumeMounts"] =
            json!([{"mountPath": "/etc/coredns", "name": "config-volume", "readOnly": true}]);
        spec["dnsPolicy"] = "Default".into();
        spec["priorityClassName"] = "system-cluster-critical".into();
        spec["serviceAccountName"] = "coredns".into();
        spec["volumes"] = json!([{
            "configMap": {"defaultMode": 420, "items": [{"key": "Corefile", "path": "Corefile"}], "name": "coredns"},
            "name": "config-volume",
        }]);
    }
    spec["containers"] = json!([container]);
    if let Some(node) = node {
        spec["nodeName"] = node.into();
        spec["enableServiceLinks"] = true.into();
    }
    spec
}

/// The labels by which a workload and its Services choose their pods.
pub(super) fn selector(app: App) -> Value {
    match app {
        App::CoreDns => json!({"k8s-app": "kube-dns"}),
        _ => json!({"app": app.name()}),
    }
}

/// The end of the name of a workload's ReplicaSet.
pub(super) fn template_hash(app: App) -> &'static str {
    match app {
        App::Client => "6f8b9d7c5d",
        App::Echo => "98f4c767",
        App::Cart => "7c6d5b9f48",
        App::CoreDns => "545dd448f6",
    }
}

/// The name of a Deployment's ReplicaSet.
pub(super) fn replica_set(app: App) -> String {
    format!("{}-{}", app.name(), template_hash(app))
}

pub(super) fn owner_reference(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{
        "apiVersion": version,
        "blockOwnerDeletion": true,
        "controller": true,
        "kind": kind,
        "name": name,
        "uid": uid,
    }])
}

fn image(app: App) -> String {
    match app {
        App::CoreDns => "registry.k8s.io/coredns/coredns:v1.12.1".to_owned(),
        _ => format!("hopwise.local/{}:1", app.name()),
    }
}

fn host_pods(node: &NodeLayout) -> Result<Vec<HostPod>, LabError> {
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect();
    let mut pods = vec![
        HostPod {
            namespace: "kube-flannel",
            name: format!("kube-flannel-ds-{}", random::suffix()?),
            container: "kube-flannel",
            image: "ghcr.io/flannel-io/flannel:v0.28.4".to_owned(),
            command: words(&["/opt/bin/flanneld", "--ip-masq", "--kube-subnet-mgr"]),
            owner: ("DaemonSet", "kube-flannel-ds".to_owned()),
            labels: json!({"app": "flannel", "tier": "node", "controller-revision-hash": "5b9c8f6d4"}),
            port: None,
        },
        HostPod {
            namespace: "kube-system",
            name: format!("kube-proxy-{}", random::suffix()?),
            container: "kube-proxy",
            image: format!("registry.k8s.io/kube-proxy:{KUBERNETES_VERSION}"),
            command: words(&[
                "/usr/local/bin/kube-proxy",
                "--config=/var/lib/kube-proxy/config.conf",
                "--hostname-override=$(NODE_NAME)",
            ]),
            owner: ("DaemonSet", "kube-proxy".to_owned()),
            labels: json!({"k8s-app": "kube-proxy", "controller-revision-hash": "6874fc55bb"}),
            port: None,
        },
    ];
    if node.is_control_plane() {
        pods.push(HostPod {
            namespace: "kube-system",
            name: format!("kube-apiserver-{}", node.name),
            container: "kube-apiserver",
            image: format!("registry.k8s.io/kube-apiserver:{KUBERNETES_VERSION}"),
            command: vec![
                "kube-apiserver".to_owned(),
                format!("--advertise-address={}", node.addresses[0]),
                "--secure-port=6443".to_owned(),
                format!("--service-cluster-ip-range={}", service_ranges(node)),
            ],
            owner: ("Node", node.name.clone()),
            labels: json!({"component": "kube-apiserver", "tier": "control-plane"}),
            port: Some(6443),
        });
    }
    Ok(pods)
}

fn service_ranges(node: &NodeLayout) -> String {
    use crate::layout::{SERVICE_RANGE_V4, SERVICE_RANGE_V6};
    if node.addresses.len() > 1 {
        format!("{SERVICE_RANGE_V4},{SERVICE_RANGE_V6}")
    } else {
        SERVICE_RANGE_V4.to_owned()
    }
}

/// What became of a pod's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ContainerState {
    /// It runs and is ready.
    Running,
    /// It ended with this code and waits for its next start.
    CrashLoopBackOff {
        /// The code it ended with.
        exit_code: i32,
        /// How long kubelet waits, in seconds.
        back_off: u64,
    },
}

/// Notes in the pods' objects what kubelet would of `pod`. True where its readiness changed. Without `n_restarts` the
/// count stays.
pub(crate) fn set_container_state(
    pods: &mut [Value],
    pod: &PodName,
    state: &ContainerState,
    n_restarts: Option<u32>,
    now: &str,
) -> bool {
    let Some(object) = pods.iter_mut().find(|it| is_called(it, pod)) else { return false };
    let is_ready = *state == ContainerState::Running;
    let status = &mut object["status"];
    let container = &mut status["containerStatuses"][0];
    let container_name = container["name"].as_str().unwrap_or_default().to_owned();
    let was_ready = container["ready"] == true;
    container["ready"] = is_ready.into();
    container["started"] = is_ready.into();
    if let Some(n_restarts) = n_restarts {
        container["restartCount"] = n_restarts.into();
    }
    container["state"] = match state {
        ContainerState::Running => json!({"running": {"startedAt": now}}),
        ContainerState::CrashLoopBackOff { exit_code, back_off } => {
            container["lastState"] =
                json!({"terminated": {"exitCode": exit_code, "finishedAt": now, "reason": "Error"}});
            let message = format!(
                "back-off {back_off}s restarting failed container={container_name} pod={}_{}",
                pod.name, pod.namespace
            );
            json!({"waiting": {"message": message, "reason": "CrashLoopBackOff"}})
        }
    };
    if was_ready != is_ready {
        let kinds = ["Ready", "ContainersReady"];
        let conditions = status["conditions"].as_array_mut().into_iter().flatten();
        for condition in conditions.filter(|it| kinds.iter().any(|kind| it["type"] == *kind)) {
            condition["status"] = if is_ready { "True" } else { "False" }.into();
            condition["lastTransitionTime"] = now.into();
            if let Some(condition) = condition.as_object_mut() {
                condition.remove("reason");
                condition.remove("message");
            }
            if !is_ready {
                condition["reason"] = "ContainersNotReady".into();
                condition["message"] = format!("containers with unready status: [{container_name}]").into();
            }
        }
    }
    was_ready != is_ready
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Layout, Shape};

    #[test]
    fn a_container_that_crashes_makes_its_pod_unready_until_it_runs_again() {
        let layout = Layout::new(Shape::default()).unwrap();
        let mut pods = Maker::new(&layout, jiff::Timestamp::UNIX_EPOCH).pods().unwrap();
        let name = PodName::new("kube-system", "coredns-b");
        let crash = ContainerState::CrashLoopBackOff { exit_code: 1, back_off: 10 };

        assert!(set_container_state(&mut pods, &name, &crash, Some(1), "2026-01-01T00:00:00Z"));
        let pod = pods.iter().find(|it| is_called(it, &name)).unwrap().clone();
        assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(pod["status"]["conditions"][2]["status"], "False");
        assert_eq!(pod["status"]["conditions"][2]["message"], "containers with unready status: [coredns]");

        assert!(!set_container_state(&mut pods, &name, &crash, Some(2), "2026-01-01T00:00:10Z"));
        assert!(set_container_state(
            &mut pods,
            &name,
            &ContainerState::Running,
            None,
            "2026-01-01T00:00:20Z"
        ));
        let pod = pods.iter().find(|it| is_called(it, &name)).unwrap();
        assert_eq!(pod["status"]["conditions"][2]["status"], "True");
        assert!(pod["status"]["conditions"][2].get("reason").is_none());
    }
}
