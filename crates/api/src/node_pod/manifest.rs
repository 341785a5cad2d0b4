//! What a pod on a node is.

use hopwise_snapshot::NodeName;
use serde_json::{Value, json};

use super::NodePodOptions;

/// The label that says whose pods these are, and what it says.
pub(super) const OWNED: (&str, &str) = ("app.kubernetes.io/managed-by", "hopwise");
/// The label that tells runs apart.
pub(super) const RUN: &str = "hopwise/run";
/// The annotation that names the process whose pod it is.
pub(super) const OWNER: &str = "hopwise/owner";
/// The pod's one container.
pub(super) const CONTAINER: &str = "hopwise";

/// A pod on a node.
///
/// It is bound to the node by name, so that no scheduler is needed, and tolerates whatever keeps others away. With the
/// node's processes in sight and no restraint, everything of the node is below `/proc/1/root`: nothing is mounted, so that
/// no volume can keep it from starting. Its network is the node's, so that no network plugin is needed either.
///
/// `activeDeadlineSeconds` ends it where nobody is left to delete it: kubelet counts that, even when nobody can reach the
/// API server.
pub(super) fn pod(
    name: &str,
    node: &NodeName,
    (run, owner): (&str, &str),
    options: &NodePodOptions,
    is_critical: bool,
) -> Value {
    let life = options.life.as_secs().max(1);
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": options.namespace,
            "labels": {"app.kubernetes.io/name": "hopwise", OWNED.0: OWNED.1, RUN: run},
            "annotations": {OWNER: owner},
        },
        "spec": {
            "nodeName": node.as_str(),
            "hostNetwork": true,
            "hostPID": true,
            "dnsPolicy": "Default",
            "restartPolicy": "Never",
            "activeDeadlineSeconds": life,
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{
                "name": CONTAINER,
                "image": options.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/hopwise", "stay", life.to_string()],
                "securityContext": {"privileged": true, "runAsUser": 0, "runAsGroup": 0},
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }],
        },
    });
    if is_critical {
        // A node that is short of disk or memory refuses others.
        pod["spec"]["priorityClassName"] = "system-node-critical".into();
    }
    pod
}

/// The namespace of these pods. Pod Security would refuse them elsewhere.
pub(super) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "labels": {OWNED.0: OWNED.1, "pod-security.kubernetes.io/enforce": "privileged"},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_needs_no_scheduler_no_plugin_and_no_volume_and_ends_by_itself() {
        let options = NodePodOptions::new("hopwise.local/hopwise:1");
        let pod = pod("hopwise-1-0", &NodeName::from("w1"), ("1", "me"), &options, true);
        let spec = &pod["spec"];
        assert_eq!(spec["nodeName"], "w1");
        assert_eq!((&spec["hostNetwork"], &spec["hostPID"]), (&json!(true), &json!(true)));
        assert!(spec.get("volumes").is_none());
        assert_eq!(spec["automountServiceAccountToken"], false, "it has no say at the API server");
        assert_eq!(spec["restartPolicy"], "Never");
        assert_eq!(spec["activeDeadlineSeconds"], options.life.as_secs());
        assert_eq!(spec["tolerations"], json!([{"operator": "Exists"}]));
        assert_eq!(spec["containers"][0]["imagePullPolicy"], "IfNotPresent");
    }
}
