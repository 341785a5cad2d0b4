//! What the EndpointSlice controller writes for a Service: the addresses of its pods, and the port that its `targetPort`
//! means on each (Kubernetes 1.34, `pkg/controller/endpointslice` and `staging/src/k8s.io/endpointslice`).

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_snapshot::{
    Cluster, Endpoint, EndpointConditions, EndpointPort, EndpointSlice, ObjectMeta, ObjectReference,
    PodObject, PortNumberOrName, Service, ServicePort,
};

use crate::Family;

/// The label that names a slice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The pods that a Service selects and that may be its endpoints: those that have an address and are not finished
/// (`ShouldPodBeInEndpoints`, `pkg/controller/util/endpoint`). None without a selector: somebody else writes then.
pub fn selected<'a>(cluster: &'a Cluster, service: &Service) -> Vec<&'a PodObject> {
    if service.spec.selector.is_empty() {
        return Vec::new();
    }
    let pods = cluster.pods.known().into_iter().flatten();
    pods.filter(|it| it.metadata.namespace == service.metadata.namespace)
        .filter(|it| matches(&service.spec.selector, it))
        .filter(|it| !matches!(it.status.phase.as_str(), "Succeeded" | "Failed") && !it.ips().is_empty())
        .collect()
}

/// Has a pod all labels of a selector?
pub fn matches(selector: &BTreeMap<String, String>, pod: &PodObject) -> bool {
    selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// The port of a pod that a Service's port leads to; none where the pod has no port of the name that is asked for
/// (`FindPort`, `staging/src/k8s.io/endpointslice/util`).
pub fn target_port(port: &ServicePort, pod: &PodObject) -> Option<u16> {
    match &port.target_port {
        None => Some(port.port),
        Some(PortNumberOrName::Number(0)) => Some(port.port),
        Some(PortNumberOrName::Number(number)) => Some(*number),
        Some(PortNumberOrName::Name(name)) => {
            let sidecars =
                pod.spec.init_containers.iter().filter(|it| it.restart_policy.as_deref() == Some("Always"));
            let mut ports = pod.spec.containers.iter().chain(sidecars).flat_map(|it| &it.ports);
            ports
                .find(|it| it.name.as_deref() == Some(name) && it.protocol == port.protocol)
                .map(|it| it.container_port)
        }
    }
}

/// The families that a Service has addresses of.
fn families(service: &Service) -> Vec<Family> {
    let of_addresses = || service.cluster_ips().into_iter().map(Family::of).collect::<Vec<_>>();
    let named: Vec<Family> = Family::ALL
        .into_iter()
        .filter(|family| service.spec.ip_families.iter().any(|it| it == family.api_name()))
        .collect();
    if named.is_empty() { of_addresses() } else { named }
}

/// The slices of a Service: one for each family and each set of ports that its pods have, with all of their pods. Names
/// are made of the Service's, the family and a number; nobody reads them.
pub fn endpoint_slices(cluster: &Cluster, service: &Service) -> Vec<EndpointSlice> {
    let pods = selected(cluster, service);
    let mut slices = Vec::new();
    for family in families(service) {
        let mut by_ports: BTreeMap<Vec<u16>, (Vec<EndpointPort>, Vec<Endpoint>)> = BTreeMap::new();
        for pod in &pods {
            let Some(address) = pod.ips().into_iter().find(|it| Family::of(*it) == family) else { continue };
            let ports: Vec<EndpointPort> = service
                .spec
                .ports
                .iter()
                .filter_map(|it| {
                    let number = target_port(it, pod)?;
                    let name = Some(it.name.clone());
                    Some(EndpointPort { name, port: Some(number), protocol: it.protocol })
                })
                .collect();
            let key = ports.iter().filter_map(|it| it.port).collect();
            by_ports
                .entry(key)
                .or_insert_with(|| (ports, Vec::new()))
                .1
                .push(endpoint(service, pod, address));
        }
        if by_ports.is_empty() {
            by_ports.insert(Vec::new(), (Vec::new(), Vec::new()));
        }
        for (number, (ports, endpoints)) in by_ports.into_values().enumerate() {
            let name = format!("{}-{}-{number}", service.metadata.name, family.api_name().to_lowercase());
            slices.push(EndpointSlice {
                metadata: ObjectMeta {
                    name,
                    namespace: service.metadata.namespace.clone(),
                    labels: labels(service),
                    ..ObjectMeta::default()
                },
                address_type: family.api_name().to_owned(),
                endpoints,
                ports,
            });
        }
    }
    slices
}

/// A Service's own labels, and those of the controller.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone();
    labels.insert(SERVICE_NAME.to_owned(), service.metadata.name.clone());
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".to_owned(),
        "endpointslice-controller.k8s.io".to_owned(),
    );
    if service.spec.cluster_ip.as_deref() == Some("None") {
        labels.insert("service.kubernetes.io/headless".to_owned(), String::new());
    }
    labels
}

/// A pod as an endpoint (`podToEndpoint`, `staging/src/k8s.io/endpointslice/utils.go`).
fn endpoint(service: &Service, pod: &PodObject, address: IpAddr) -> Endpoint {
    let is_serving = pod.is_ready();
    let is_terminating = pod.metadata.deletion_timestamp.is_some();
    let is_ready = service.spec.publish_not_ready_addresses || (is_serving && !is_terminating);
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: EndpointConditions {
            ready: Some(is_ready),
            serving: Some(is_serving),
            terminating: Some(is_terminating),
        },
        node_name: pod.spec.node_name.clone(),
        hints: None,
        target_ref: Some(ObjectReference {
            kind: "Pod".to_owned(),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
        }),
    }
}

/// Replaces the slices of a Service by what the controller would write. False where they were not read.
pub fn write_endpoint_slices(cluster: &mut Cluster, service: &Service) -> bool {
    let wanted = endpoint_slices(cluster, service);
    let Some(slices) = cluster.endpoint_slices.known_mut() else { return false };
    slices.retain(|it| {
        it.metadata.namespace != service.metadata.namespace
            || it.metadata.labels.get(SERVICE_NAME) != Some(&service.metadata.name)
    });
    slices.extend(wanted);
    true
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::{
        Container, ContainerPort, ObjectCondition, Observed, PodSpec, PodStatus, Protocol,
    };

    use super::*;

    fn pod(name: &str, address: &str, port: (&str, u16), is_ready: bool) -> PodObject {
        let port = ContainerPort {
            name: Some(port.0.to_owned()),
            container_port: port.1,
            ..ContainerPort::default()
        };
        PodObject {
            metadata: ObjectMeta {
                name: name.to_owned(),
                namespace: "shop".to_owned(),
                labels: [("app".to_owned(), "cart".to_owned())].into(),
                ..ObjectMeta::default()
            },
            spec: PodSpec {
                node_name: Some("w1".to_owned()),
                containers: vec![Container { ports: vec![port], ..Container::default() }],
                ..PodSpec::default()
            },
            status: PodStatus {
                phase: "Running".to_owned(),
                pod_ip: Some(address.to_owned()),
                conditions: vec![ObjectCondition {
                    kind: "Ready".to_owned(),
                    status: if is_ready { "True" } else { "False" }.to_owned(),
                    ..ObjectCondition::default()
                }],
                ..PodStatus::default()
            },
        }
    }

    fn service(target: PortNumberOrName) -> Service {
        let mut service = Service::default();
        service.metadata.name = "cart".to_owned();
        service.metadata.namespace = "shop".to_owned();
        service.spec.cluster_ip = Some("10.96.0.9".to_owned());
        service.spec.selector = [("app".to_owned(), "cart".to_owned())].into();
        service.spec.ports = vec![ServicePort {
            name: "http".to_owned(),
            port: 80,
            protocol: Protocol::Tcp,
            target_port: Some(target),
            ..ServicePort::default()
        }];
        service
    }

    #[test]
    fn a_named_port_means_each_pods_own() {
        let cluster = Cluster {
            pods: Observed::Known(vec![
                pod("a", "10.244.1.2", ("web", 8080), true),
                pod("b", "10.244.1.3", ("web", 9090), false),
                pod("c", "10.244.1.4", ("other", 1), true),
            ]),
            ..Cluster::default()
        };
        let slices = endpoint_slices(&cluster, &service(PortNumberOrName::Name("web".to_owned())));
        let told = |it: &EndpointSlice| {
            let ports: Vec<u16> = it.ports.iter().filter_map(|it| it.port).collect();
            let endpoint = &it.endpoints[0];
            format!("{ports:?} {} {:?}", endpoint.addresses[0], endpoint.conditions.ready)
        };
        let seen: Vec<String> = slices.iter().map(told).collect();
        assert_eq!(
            seen,
            ["[] 10.244.1.4 Some(true)", "[8080] 10.244.1.2 Some(true)", "[9090] 10.244.1.3 Some(false)"]
        );
    }

    #[test]
    fn what_is_written_replaces_the_services_own_slices_alone() {
        let other = EndpointSlice {
            metadata: ObjectMeta {
                namespace: "shop".to_owned(),
                labels: [(SERVICE_NAME.to_owned(), "other".to_owned())].into(),
                ..ObjectMeta::default()
            },
            ..EndpointSlice::default()
        };
        let mut old = other.clone();
        old.metadata.labels.insert(SERVICE_NAME.to_owned(), "cart".to_owned());
        let mut cluster = Cluster {
            pods: Observed::Known(Vec::new()),
            endpoint_slices: Observed::Known(vec![old, other.clone()]),
            ..Cluster::default()
        };
        assert!(write_endpoint_slices(&mut cluster, &service(PortNumberOrName::Number(8080))));
        let slices = cluster.endpoint_slices.known().unwrap();
        assert_eq!(slices[0], other);
        assert_eq!((slices.len(), slices[1].endpoints.len(), slices[1].ports.len()), (2, 0, 0));
    }
}
