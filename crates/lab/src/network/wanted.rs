//! What the controllers of a node want there, compiled from the API's objects.

use hopwise_controllers::{
    Family, Ruleset,
    cni::{BridgeDevice, FlannelDelegate, PodNetwork},
    flannel::{FlannelConfig, NodeNetwork, Uplink, network, sync_flannel_iptables},
    kube_proxy::{KubeProxy, KubeProxyConfig},
    kubelet::KubeletConfig,
};
use hopwise_snapshot::{Cluster, NodeName, Observed};

use crate::{
    LabError,
    error::chain,
    layout::{NodeLayout, PodLayout},
};

/// The MTU of the underlay, in bytes.
pub(crate) const UNDERLAY_MTU: u32 = 1500;
/// The name of a node's interface on the underlay.
pub(crate) const UPLINK: &str = "eth0";

/// The controllers of one node with what they read.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    cluster: &'a Cluster,
    node: NodeName,
    flannel_config: FlannelConfig,
    proxy_config: KubeProxyConfig,
    delegate: FlannelDelegate,
    /// What flannel makes.
    pub(crate) flannel: NodeNetwork,
}

impl<'a> Wanted<'a> {
    /// Reads the objects as the controllers of `node` do.
    pub(crate) fn of_node(cluster: &'a Cluster, node: &NodeLayout) -> Result<Self, LabError> {
        let flannel_config = read("flannel", FlannelConfig::of_cluster(cluster))?;
        let proxy_config = read("kube-proxy", KubeProxyConfig::of_cluster(cluster))?;
        let conflist = cluster
            .config_map("kube-flannel", "kube-flannel-cfg")
            .and_then(|it| it.data.get("cni-conf.json"))
            .map_or("", String::as_str);
        let delegate = FlannelDelegate::parse(conflist).map_err(|error| failed("flannel", &error))?;
        let name = NodeName::from(node.name.as_str());
        let flannel = read("flannel", network(cluster, &name, &flannel_config, &uplink(node)))?;
        Ok(Self { cluster, node: name, flannel_config, proxy_config, delegate, flannel })
    }

    /// The bridge of the node's pods.
    pub(crate) fn bridge(&self) -> BridgeDevice {
        self.delegate.bridge_device(&self.flannel.subnet_env)
    }

    /// The network of one of its pods.
    pub(crate) fn pod(&self, pod: &PodLayout) -> PodNetwork {
        self.delegate.pod_network(&self.flannel.subnet_env, &pod.addresses)
    }

    /// Does to `rules` what kube-proxy does when it starts.
    pub(crate) fn sync_kube_proxy(&self, family: Family, rules: &mut Ruleset) -> Result<(), LabError> {
        let proxy = KubeProxy::new(self.cluster, &self.node, &self.proxy_config);
        known("kube-proxy", proxy.sync(family, rules))
    }

    /// Does to `rules` what flannel does when it starts.
    pub(crate) fn sync_flannel(&self, family: Family, rules: &mut Ruleset) -> Result<(), LabError> {
        read("flannel", sync_flannel_iptables(self.cluster, &self.node, &self.flannel_config, family, rules))
    }
}

/// kubelet's configuration as a node's file has it.
pub(crate) fn kubelet_config(text: &str) -> Result<KubeletConfig, LabError> {
    KubeletConfig::parse(text).map_err(|error| failed("kubelet", &error))
}

fn uplink(node: &NodeLayout) -> Uplink {
    let addresses = node.addresses.iter().map(|it| crate::layout::on_underlay(*it));
    Uplink { name: UPLINK.to_owned(), mtu: UNDERLAY_MTU, addresses: addresses.collect() }
}

fn read<T, E: std::error::Error>(
    controller: &'static str,
    found: Observed<Result<T, E>>,
) -> Result<T, LabError> {
    known(controller, found)?.map_err(|error| failed(controller, &error))
}

fn known<T>(controller: &'static str, found: Observed<T>) -> Result<T, LabError> {
    match found {
        Observed::Known(it) => Ok(it),
        Observed::Absent => {
            Err(LabError::Controller { controller, message: "its ConfigMap is missing".to_owned() })
        }
        Observed::NotCollected(reason) => {
            Err(LabError::Controller { controller, message: format!("objects could not be read ({reason})") })
        }
    }
}

fn failed(controller: &'static str, error: &dyn std::error::Error) -> LabError {
    LabError::Controller { controller, message: chain(error) }
}
