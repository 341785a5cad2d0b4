//! The API server's objects, as far as Hopwise reads them.
//!
//! Field names and meaning are those of the Kubernetes API 1.34 (`core/v1`, `discovery.k8s.io/v1`,
//! `networking.k8s.io/v1`, `apps/v1`), so an object reads here as in `kubectl get -o json` and fields that
//! nobody asks for are left out. Absent lists and maps are empty, as the API server treats them.
//!
//! Long because it is one list of types, as the API has them.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ContainerLog, ContainerState, Event, NodeName, Observed, Place, PodName, Reason};

/// The objects of a cluster, each kind as it could be listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cluster {
    /// Nodes.
    pub nodes: Observed<Vec<NodeObject>>,
    /// Pods of all namespaces.
    pub pods: Observed<Vec<PodObject>>,
    /// Services of all namespaces.
    pub services: Observed<Vec<Service>>,
    /// EndpointSlices of all namespaces.
    pub endpoint_slices: Observed<Vec<EndpointSlice>>,
    /// ConfigMaps of kube-system and of the network plugin's namespace.
    pub config_maps: Observed<Vec<ConfigMap>>,
    /// NetworkPolicies of all namespaces.
    pub network_policies: Observed<Vec<NetworkPolicy>>,
    /// Namespaces.
    pub namespaces: Observed<Vec<Namespace>>,
    /// DaemonSets, Deployments, ReplicaSets and StatefulSets of all namespaces.
    pub workloads: Observed<Vec<Workload>>,
    /// Events of all namespaces, the newest.
    pub events: Observed<Vec<Event>>,
    /// The last lines of the containers that make the network.
    pub logs: Observed<Vec<ContainerLog>>,
    /// Lists that hold less than they should, by their resource (`pods`), with the reason. What is not in such a list may
    /// be there all the same.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub partly: BTreeMap<String, Reason>,
}

impl Cluster {
    /// Is the list of a resource (`pods`) there, and whole?
    pub fn has_all(&self, resource: &str) -> bool {
        let is_known = match resource {
            "nodes" => self.nodes.known().is_some(),
            "pods" => self.pods.known().is_some(),
            "services" => self.services.known().is_some(),
            "endpointslices" => self.endpoint_slices.known().is_some(),
            "configmaps" => self.config_maps.known().is_some(),
            "networkpolicies" => self.network_policies.known().is_some(),
            "namespaces" => self.namespaces.known().is_some(),
            "daemonsets" | "deployments" => self.workloads.known().is_some(),
            "events" => self.events.known().is_some(),
            _ => false,
        };
        is_known && !self.partly.contains_key(resource)
    }

    /// The node object called `name`.
    pub fn node(&self, name: &NodeName) -> Option<&NodeObject> {
        self.nodes.known()?.iter().find(|it| it.metadata.name == name.0)
    }

    /// The pod object called `name`.
    pub fn pod(&self, name: &PodName) -> Option<&PodObject> {
        self.pods.known()?.iter().find(|it| it.is_called(name))
    }

    /// Whose address this is: a running pod's with a network of its own, or a node's.
    pub fn owner_of(&self, address: IpAddr) -> Option<Place> {
        let mut pods = self.pods.known().into_iter().flatten();
        let is_pods =
            |it: &&PodObject| !it.spec.host_network && it.is_running() && it.ips().contains(&address);
        if let Some(pod) = pods.find(is_pods) {
            return Some(Place::Pod(pod.name()));
        }
        let mut nodes = self.nodes.known().into_iter().flatten();
        let node = nodes.find(|it| it.internal_ips().any(|own| own == address))?;
        Some(Place::Node(node.name()))
    }

    /// The Service called `namespace/name`.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services
            .known()?
            .iter()
            .find(|it| it.metadata.namespace == namespace && it.metadata.name == name)
    }

    /// The ConfigMap called `namespace/name`.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<&ConfigMap> {
        self.config_maps
            .known()?
            .iter()
            .find(|it| it.metadata.namespace == namespace && it.metadata.name == name)
    }

    /// The EndpointSlices of a Service.
    pub fn slices_of<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a EndpointSlice> {
        self.endpoint_slices.known().into_iter().flatten().filter(|it| {
            it.metadata.namespace == service.metadata.namespace
                && it.metadata.labels.get("kubernetes.io/service-name") == Some(&service.metadata.name)
        })
    }
}

/// What every object has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectMeta {
    /// The name.
    pub name: String,
    /// The namespace; empty for objects of the cluster.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Identifies this object and none that had the name before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<jiff::Timestamp>,
    /// When it was asked to go, while it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<jiff::Timestamp>,
    /// What it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
}

/// What an object belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// Does it act for the owner?
    pub controller: bool,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeObject {
    /// Name, labels, annotations.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: NodeSpec,
    /// What was seen.
    pub status: NodeStatus,
}

impl NodeObject {
    /// The node's name.
    pub fn name(&self) -> NodeName {
        NodeName(self.metadata.name.clone())
    }

    /// Its addresses of type InternalIP, both families.
    pub fn internal_ips(&self) -> impl Iterator<Item = IpAddr> {
        let internal = self.status.addresses.iter().filter(|it| it.kind == "InternalIP");
        internal.filter_map(|it| it.address.parse().ok())
    }

    /// The ranges that its pods get addresses from, one a family.
    pub fn pod_cidrs(&self) -> Vec<IpNet> {
        let mut texts: Vec<&String> = self.spec.pod_cidrs.iter().collect();
        if texts.is_empty() {
            texts.extend(&self.spec.pod_cidr);
        }
        texts.into_iter().filter_map(|it| it.parse().ok()).collect()
    }

    /// Is the condition `kind` there with status `True`?
    pub fn has_condition(&self, kind: &str) -> bool {
        self.status.conditions.iter().any(|it| it.kind == kind && it.status == "True")
    }
}

/// What is wanted of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeSpec {
    /// The first of [`NodeSpec::pod_cidrs`].
    #[serde(rename = "podCIDR", skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<String>,
    /// The ranges that its pods get addresses from.
    #[serde(rename = "podCIDRs", skip_serializing_if = "Vec::is_empty")]
    pub pod_cidrs: Vec<String>,
    /// Are new pods kept away?
    pub unschedulable: bool,
    /// What keeps pods away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

/// What keeps pods away from a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// What was seen of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeStatus {
    /// Its addresses.
    pub addresses: Vec<NodeAddress>,
    /// Its conditions.
    pub conditions: Vec<ObjectCondition>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAddress {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub address: String,
}

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectCondition {
    /// Its kind: `Ready`, `NetworkUnavailable`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, as one word.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when it has this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<jiff::Timestamp>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodObject {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: PodSpec,
    /// What was seen.
    pub status: PodStatus,
}

impl PodObject {
    /// The pod's name.
    pub fn name(&self) -> PodName {
        PodName::new(&self.metadata.namespace, &self.metadata.name)
    }

    fn is_called(&self, name: &PodName) -> bool {
        self.metadata.namespace == name.namespace && self.metadata.name == name.name
    }

    /// Its addresses, one a family.
    pub fn ips(&self) -> Vec<IpAddr> {
        let all: Vec<IpAddr> = self.status.pod_ips.iter().filter_map(|it| it.ip.parse().ok()).collect();
        if all.is_empty() {
            return self.status.pod_ip.iter().filter_map(|it| it.parse().ok()).collect();
        }
        all
    }

    /// Does it run, with an address, and is it not being removed?
    pub fn is_running(&self) -> bool {
        self.status.phase == "Running" && self.metadata.deletion_timestamp.is_none()
    }

    /// Is the condition `Ready` there with status `True`?
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|it| it.kind == "Ready" && it.status == "True")
    }
}

/// What is wanted of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node that it was bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Does it use its node's network namespace?
    pub host_network: bool,
    /// `ClusterFirst`, `ClusterFirstWithHostNet`, `Default` or `None`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub dns_policy: String,
    /// Additions to its resolver configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_config: Option<PodDnsConfig>,
    /// Additions to its hosts file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// Its host name, where that is not its own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The headless Service that names it below the cluster's domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomain: Option<String>,
    /// The containers that run before the others; those with [`Container::restart_policy`] `Always` stay.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// What it mounts of its node, and of ConfigMaps; other volumes are left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
}

/// What a pod mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    /// Its name in the pod.
    pub name: String,
    /// A directory or file of the node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<HostPathVolume>,
    /// A ConfigMap of the pod's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapVolume>,
}

/// A directory or file of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostPathVolume {
    /// Where it lies on the node.
    pub path: String,
}

/// A ConfigMap as files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMapVolume {
    /// Its name.
    pub name: String,
}

/// Additions to a pod's resolver configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDnsConfig {
    /// Name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub searches: Vec<String>,
    /// Options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<PodDnsConfigOption>,
}

/// A resolver option.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodDnsConfigOption {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// An addition to a pod's hosts file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HostAlias {
    /// The address.
    pub ip: String,
    /// The names.
    pub hostnames: Vec<String>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// The ports that it declares.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// `Always` on an init container makes it a sidecar, which runs as long as the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
}

/// A port that a container declares.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The port.
    pub container_port: u16,
    /// The port of the node that leads to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
}

/// A transport protocol of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, the API's default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// What was seen of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Why it is in that phase, as one word: `Evicted`, `NodeLost`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Why, as a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The node's address, as its kubelet says.
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The first of [`PodStatus::pod_ips`].
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    /// Its addresses, one a family.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// Its conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ObjectCondition>,
    /// The states of its containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// The states of the containers that run before the others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// An address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// The state of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// Does it pass its readiness probe?
    pub ready: bool,
    /// How often it was started again.
    pub restart_count: u32,
    /// What it does now.
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub state: ContainerState,
    /// How it ended the last time.
    #[serde(skip_serializing_if = "ContainerState::is_empty")]
    pub last_state: ContainerState,
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: ServiceSpec,
    /// What was given.
    pub status: ServiceStatus,
}

impl Service {
    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    /// Its cluster addresses, one a family; none for a headless Service.
    pub fn cluster_ips(&self) -> Vec<IpAddr> {
        let all: Vec<IpAddr> = self.spec.cluster_ips.iter().filter_map(|it| it.parse().ok()).collect();
        if all.is_empty() {
            return self.spec.cluster_ip.iter().filter_map(|it| it.parse().ok()).collect();
        }
        all
    }
}

/// What is wanted of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The first of [`ServiceSpec::cluster_ips`], or `None` for a headless Service.
    #[serde(rename = "clusterIP", skip_serializing_if = "Option::is_none")]
    pub cluster_ip: Option<String>,
    /// Its cluster addresses, one a family.
    #[serde(rename = "clusterIPs", skip_serializing_if = "Vec::is_empty")]
    pub cluster_ips: Vec<String>,
    /// Addresses that an operator routes to the nodes.
    #[serde(rename = "externalIPs", skip_serializing_if = "Vec::is_empty")]
    pub external_ips: Vec<String>,
    /// `IPv4`, `IPv6`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_families: Vec<String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The labels of its pods; empty means that somebody else writes its endpoints.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
    /// `None` or `ClientIP`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session_affinity: String,
    /// How long an affinity lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// `Cluster` or `Local`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub internal_traffic_policy: String,
    /// `Cluster` or `Local`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub external_traffic_policy: String,
    /// Clients that its load balancer addresses take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load_balancer_source_ranges: Vec<String>,
    /// The port of a node that tells a load balancer whether it has an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check_node_port: Option<u16>,
    /// Do endpoints count that are not ready?
    pub publish_not_ready_addresses: bool,
}

/// How long the affinity of a client to an endpoint lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    /// For affinity `ClientIP`.
    #[serde(rename = "clientIP", skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<ClientIpConfig>,
}

/// The settings of session affinity by client address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// Seconds since the client's last connection; the API server fills in 10800.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Its name; empty where the Service has one port.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the pods, or its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_port: Option<PortNumberOrName>,
    /// The port of every node that leads to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// A port by number or by name (`IntOrString` of the API).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortNumberOrName {
    /// A number.
    Number(u16),
    /// The name of a container port.
    Name(String),
}

impl Serialize for PortNumberOrName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u16(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for PortNumberOrName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = PortNumberOrName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number or a port name")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
                u16::try_from(number)
                    .map(PortNumberOrName::Number)
                    .map_err(|_| E::custom(format_args!("{number} is not a port")))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
                u16::try_from(number)
                    .map(PortNumberOrName::Number)
                    .map_err(|_| E::custom(format_args!("{number} is not a port")))
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(PortNumberOrName::Name(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What a Service was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceStatus {
    /// Its load balancer.
    pub load_balancer: LoadBalancerStatus,
}

/// The load balancer of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    /// Its addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerIngress {
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// The name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// `VIP` (also when absent): packets keep the address as destination. `Proxy`: they arrive translated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_mode: Option<String>,
}

/// Some of the endpoints of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// Name, namespace, labels; `kubernetes.io/service-name` names the Service.
    pub metadata: ObjectMeta,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// The endpoints.
    #[serde(deserialize_with = "null_is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Their ports.
    #[serde(deserialize_with = "null_is_empty")]
    pub ports: Vec<EndpointPort>,
}

/// `null` stands for an empty list in what the API server prints.
fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default())
}

/// An endpoint of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// Its addresses; consumers take the first.
    pub addresses: Vec<String>,
    /// Its conditions.
    pub conditions: EndpointConditions,
    /// The node that it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Which clients should prefer it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<EndpointHints>,
    /// The pod that it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<ObjectReference>,
}

/// Which clients should prefer an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHints {
    /// Those in these zones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<EndpointHint>,
    /// Those on these nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<EndpointHint>,
}

/// A zone or a node of [`EndpointHints`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointHint {
    /// The name of the zone or the node.
    pub name: String,
}

/// The conditions of an endpoint. Absent ones are to be read as `ready` and `serving` true, `terminating`
/// false.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointConditions {
    /// Takes new connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// Answers, even while it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<bool>,
    /// Ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminating: Option<bool>,
}

/// A port of a slice's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// The name of the Service's port.
    pub name: Option<String>,
    /// The port; none means all ports.
    pub port: Option<u16>,
    /// The protocol.
    pub protocol: Protocol,
}

/// A reference to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectReference {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
}

/// A ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Name, namespace.
    pub metadata: ObjectMeta,
    /// Its texts.
    pub data: BTreeMap<String, String>,
}

/// A namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// Name, labels.
    pub metadata: ObjectMeta,
}

/// A DaemonSet, Deployment, ReplicaSet or StatefulSet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workload {
    /// Which of them.
    pub kind: String,
    /// Name, namespace, labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: WorkloadSpec,
    /// What was seen.
    pub status: WorkloadStatus,
}

/// What is wanted of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    /// How many pods; none for a DaemonSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What was seen of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    /// Deployment: pods that are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Deployment: pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<u32>,
    /// DaemonSet: pods that should be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_number_scheduled: Option<u32>,
    /// DaemonSet: pods that are ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_ready: Option<u32>,
}

/// A choice of objects by their labels. All parts must match; an empty selector matches every object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Labels with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions on labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// A condition on a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelectorRequirement {
    /// The label.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicy {
    /// Name, namespace.
    pub metadata: ObjectMeta,
    /// What it says.
    pub spec: NetworkPolicySpec,
}

/// What a NetworkPolicy says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicySpec {
    /// The pods that it isolates.
    pub pod_selector: LabelSelector,
    /// `Ingress`, `Egress`; absent means Ingress, and Egress too if there is an egress rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policy_types: Vec<String>,
    /// What may come in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<NetworkPolicyRule>,
    /// What may go out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<NetworkPolicyRule>,
}

/// What a NetworkPolicy lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyRule {
    /// Who may come in; empty means everyone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<NetworkPolicyPeer>,
    /// Where they may go; empty means everywhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<NetworkPolicyPeer>,
    /// By which ports; empty means all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<NetworkPolicyPort>,
}

/// One side of what a NetworkPolicy lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyPeer {
    /// Pods: of the policy's namespace, or with `namespace_selector` of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_selector: Option<LabelSelector>,
    /// All pods of these namespaces, or with `pod_selector` those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
}

/// A range of addresses with holes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IpBlock {
    /// The range.
    pub cidr: String,
    /// The holes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<String>,
}

/// A port of what a NetworkPolicy lets through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkPolicyPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port of the pod, or its name; none means all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<PortNumberOrName>,
    /// The last port of a range that `port` begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_port: Option<u16>,
}
