//! Node objects.

use serde_json::{Value, json};

use super::Maker;
use crate::layout::NodeLayout;

impl Maker<'_> {
    pub(super) fn nodes(&mut self) -> Vec<Value> {
        let nodes = &self.layout.nodes;
        nodes.iter().map(|it| self.node(it)).collect()
    }

    fn node(&mut self, node: &NodeLayout) -> Value {
        let mut labels = json!({
            "beta.kubernetes.io/arch": "amd64",
            "beta.kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": node.name,
            "kubernetes.io/os": "linux",
        });
        if node.is_control_plane() {
            labels["node-role.kubernetes.io/control-plane"] = "".into();
            labels["node.kubernetes.io/exclude-from-external-load-balancers"] = "".into();
        }
        let mut metadata = self.metadata("", &node.name, &node.uid, labels);
        metadata["annotations"] = annotations(node);
        let pod_ranges: Vec<String> = node.pod_ranges.iter().map(ToString::to_string).collect();
        let internal =
            node.addresses.iter().map(|it| json!({"address": it.to_string(), "type": "InternalIP"}));
        let host_name = json!({"address": node.name, "type": "Hostname"});
        let addresses: Vec<Value> = internal.chain([host_name]).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": metadata,
            "spec": {"podCIDR": pod_ranges[0], "podCIDRs": pod_ranges},
            "status": {
                "addresses": addresses,
                "allocatable": {"cpu": "2", "memory": "4028764Ki", "pods": "110"},
                "capacity": {"cpu": "2", "memory": "4131164Ki", "pods": "110"},
                "conditions": self.conditions(),
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
                "nodeInfo": {
                    "architecture": "amd64",
                    "containerRuntimeVersion": "containerd://1.6.20",
                    "kernelVersion": kernel_release(),
                    "kubeProxyVersion": "",
                    "kubeletVersion": super::pod::KUBERNETES_VERSION,
                    "operatingSystem": "linux",
                    "osImage": "Debian GNU/Linux 12 (bookworm)",
                },
            },
        })
    }

    fn conditions(&self) -> Vec<Value> {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "lastHeartbeatTime": self.now,
                "lastTransitionTime": self.now,
                "message": message,
                "reason": reason,
                "status": status,
                "type": kind,
            })
        };
        vec![
            condition("NetworkUnavailable", "False", "FlannelIsUp", "Flannel is running on this node"),
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        ]
    }
}

/// What flannel (0.28, `pkg/subnet/kube/kube.go`) and the controllers note on a node.
fn annotations(node: &NodeLayout) -> Value {
    let vtep = |index: usize| format!(r#"{{"VNI":1,"VtepMAC":"{}"}}"#, node.vtep_macs[index]);
    let mut annotations = json!({
        "flannel.alpha.coreos.com/backend-data": vtep(0),
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
        "flannel.alpha.coreos.com/public-ip": node.addresses[0].to_string(),
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
    });
    if let Some(address) = node.addresses.get(1) {
        annotations["flannel.alpha.coreos.com/backend-v6-data"] = vtep(1).into();
        annotations["flannel.alpha.coreos.com/public-ipv6"] = address.to_string().into();
    }
    annotations
}

fn kernel_release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}
