//! ConfigMaps, with the configuration of the cluster's components as kubeadm 1.34 and flannel 0.28 write it.

use serde_json::{Value, json};

use super::Maker;
use crate::{LabError, layout::Layout, random};

/// The configuration of CoreDNS.
pub(crate) const COREFILE: &str = include_str!("../../files/Corefile");

impl Maker<'_> {
    pub(super) fn config_maps(&mut self) -> Result<Vec<Value>, LabError> {
        let (network, proxy) = (network_configuration(self.layout), proxy_configuration(self.layout));
        let kubeconfig = kubeconfig(self.layout);
        Ok(vec![
            self.config_map(
                "kube-flannel",
                "kube-flannel-cfg",
                json!({"app": "flannel", "k8s-app": "flannel", "tier": "node"}),
                &json!({"cni-conf.json": cni_configuration(), "net-conf.json": network}),
            )?,
            self.config_map("kube-system", "coredns", json!({}), &json!({"Corefile": COREFILE}))?,
            self.config_map(
                "kube-system",
                "kube-proxy",
                json!({"app": "kube-proxy"}),
                &json!({"config.conf": proxy, "kubeconfig.conf": kubeconfig}),
            )?,
            self.config_map(
                "kube-system",
                "kubelet-config",
                json!({}),
                &json!({"kubelet": kubelet_configuration("\"\"")}),
            )?,
        ])
    }

    fn config_map(
        &mut self,
        namespace: &str,
        name: &str,
        labels: Value,
        data: &Value,
    ) -> Result<Value, LabError> {
        Ok(json!({
            "apiVersion": "v1",
            "data": data,
            "kind": "ConfigMap",
            "metadata": self.metadata(namespace, name, &random::uid()?, labels),
        }))
    }
}

/// `/etc/cni/net.d/10-flannel.conflist`.
pub(crate) fn cni_configuration() -> &'static str {
    include_str!("../../files/10-flannel.conflist")
}

/// kubelet's configuration; the runtime's socket stands in the file on a node, not in the ConfigMap.
pub(crate) fn kubelet_configuration(runtime: &str) -> String {
    include_str!("../../files/kubelet-config.yaml").replace("@RUNTIME@", runtime)
}

/// flannel reckons with 50 bytes of VXLAN for both families, but over IPv6 it costs 70 (flannel 0.28,
/// `pkg/backend/vxlan/vxlan_network.go`): without an MTU of 20 less, pods' IPv6 packets would not fit.
fn network_configuration(layout: &Layout) -> String {
    let ranges = layout.pod_ranges();
    let (ipv6, mtu) = match ranges.get(1) {
        Some(range) => {
            let ipv6 = format!("  \"EnableIPv6\": true,\n  \"IPv6Network\": \"{range}\",\n");
            (ipv6, format!(",\n    \"MTU\": {}", crate::network::UNDERLAY_MTU - 20))
        }
        None => (String::new(), String::new()),
    };
    let backend = format!("  \"Backend\": {{\n    \"Type\": \"vxlan\"{mtu}\n  }}\n");
    format!("{{\n  \"Network\": \"{}\",\n{ipv6}  \"EnableNFTables\": false,\n{backend}}}\n", ranges[0])
}

fn proxy_configuration(layout: &Layout) -> String {
    include_str!("../../files/kube-proxy-config.yaml")
        .replace("@CLUSTER_CIDR@", &layout.pod_ranges().join(","))
}

fn kubeconfig(layout: &Layout) -> String {
    include_str!("../../files/kube-proxy-kubeconfig.yaml")
        .replace("@SERVER@", &layout.nodes[0].addresses[0].to_string())
}
