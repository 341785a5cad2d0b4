//! EndpointSlice objects, and the controller that keeps them.

use hopwise_snapshot::PodName;
use serde_json::{Value, json};

use super::{Maker, pod::owner_reference, service::address_type};
use crate::{
    LabError,
    layout::{ServiceLayout, ServicePortLayout},
    random,
};

impl Maker<'_> {
    pub(super) fn endpoint_slices(&mut self) -> Result<Vec<Value>, LabError> {
        let mut slices = Vec::new();
        for service in &self.layout.services() {
            for family in 0..service.addresses.len() {
                slices.push(match service.app {
                    Some(_) => self.slice(service, family)?,
                    None => self.slice_of_api_server(service)?,
                });
            }
        }
        Ok(slices)
    }

    fn slice(&mut self, service: &ServiceLayout, family: usize) -> Result<Value, LabError> {
        let ServiceLayout { namespace, name, .. } = *service;
        let mut labels = json!({
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": name,
        });
        if name == "kube-dns" {
            labels["k8s-app"] = "kube-dns".into();
            labels["kubernetes.io/cluster-service"] = "true".into();
            labels["kubernetes.io/name"] = "CoreDNS".into();
        }
        let slice_name = format!("{name}-{}", random::suffix()?);
        let mut metadata = self.metadata(namespace, &slice_name, &random::uid()?, labels);
        metadata["generateName"] = format!("{name}-").into();
        metadata["annotations"] = json!({"endpoints.kubernetes.io/last-change-trigger-time": self.now});
        let uid = self.uid(namespace, "Service", name)?;
        metadata["ownerReferences"] = owner_reference("v1", "Service", name, &uid);
        let pods = self.layout.pods().filter(|(_, pod)| Some(pod.app) == service.app);
        let endpoints: Vec<Value> = pods
            .map(|(node, pod)| {
                json!({
                    "addresses": [pod.addresses[family].to_string()],
                    "conditions": {"ready": true, "serving": true, "terminating": false},
                    "nodeName": node.name,
                    "targetRef": {
                        "kind": "Pod",
                        "name": pod.name.name,
                        "namespace": pod.name.namespace,
                        "uid": pod.uid,
                    },
                })
            })
            .collect();
        Ok(json!({
            "addressType": address_type(service.addresses[family]),
            "apiVersion": "discovery.k8s.io/v1",
            "endpoints": endpoints,
            "kind": "EndpointSlice",
            "metadata": metadata,
            "ports": service.ports.iter().map(port).collect::<Vec<_>>(),
        }))
    }

    /// The slice that the API server keeps of itself. No controller manages it and it names no pod.
    fn slice_of_api_server(&mut self, service: &ServiceLayout) -> Result<Value, LabError> {
        let labels = json!({"kubernetes.io/service-name": service.name});
        let metadata = self.metadata(service.namespace, service.name, &random::uid()?, labels);
        Ok(json!({
            "addressType": "IPv4",
            "apiVersion": "discovery.k8s.io/v1",
            "endpoints": [{
                "addresses": [self.layout.nodes[0].addresses[0].to_string()],
                "conditions": {"ready": true},
            }],
            "kind": "EndpointSlice",
            "metadata": metadata,
            "ports": service.ports.iter().map(port).collect::<Vec<_>>(),
        }))
    }
}

fn port(port: &ServicePortLayout) -> Value {
    json!({
        "name": port.name,
        "port": port.target_port,
        "protocol": port.protocol.to_string().to_uppercase(),
    })
}

/// Notes in the slices whether `pod` is ready. True where a slice has changed.
pub(crate) fn set_ready(slices: &mut [Value], pod: &PodName, is_ready: bool) -> bool {
    let endpoints = slices.iter_mut().filter_map(|it| it["endpoints"].as_array_mut()).flatten();
    let mut has_changed = false;
    for endpoint in endpoints {
        let target = &endpoint["targetRef"];
        if target["namespace"] != pod.namespace.as_str() || target["name"] != pod.name.as_str() {
            continue;
        }
        for condition in ["ready", "serving"] {
            has_changed |= endpoint["conditions"][condition] != is_ready;
            endpoint["conditions"][condition] = is_ready.into();
        }
    }
    has_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Layout, Shape};

    #[test]
    fn an_unready_pod_is_unready_in_all_its_slices() {
        let layout = Layout::new(Shape::default()).unwrap();
        let mut slices = Maker::new(&layout, jiff::Timestamp::UNIX_EPOCH).endpoint_slices().unwrap();
        let pod = PodName::new("default", "echo-w1");
        assert!(set_ready(&mut slices, &pod, false));
        assert!(!set_ready(&mut slices, &pod, false));
        let endpoints = slices.iter().flat_map(|it| it["endpoints"].as_array().unwrap());
        let n_unready = endpoints.filter(|it| it["conditions"]["ready"] == false).count();
        // In the slices of `echo` and of `echo-np`.
        assert_eq!(n_unready, 2);
    }
}
