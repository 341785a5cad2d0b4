//! Service objects.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::{Maker, pod::selector};
use crate::{
    LabError,
    layout::{ServiceLayout, ServicePortLayout},
};

impl Maker<'_> {
    pub(super) fn services(&mut self) -> Result<Vec<Value>, LabError> {
        let services = self.layout.services();
        services.iter().map(|it| self.service(it)).collect()
    }

    fn service(&mut self, service: &ServiceLayout) -> Result<Value, LabError> {
        let ServiceLayout { namespace, name, .. } = *service;
        let labels = match name {
            "kubernetes" => json!({"component": "apiserver", "provider": "kubernetes"}),
            "kube-dns" => json!({
                "k8s-app": "kube-dns",
                "kubernetes.io/cluster-service": "true",
                "kubernetes.io/name": "CoreDNS",
            }),
            _ => json!({}),
        };
        let uid = self.uid(namespace, "Service", name)?;
        let addresses: Vec<String> = service.addresses.iter().map(ToString::to_string).collect();
        let families: Vec<&str> =
            service.addresses.iter().map(|it| if it.is_ipv6() { "IPv6" } else { "IPv4" }).collect();
        let policy = if addresses.len() > 1 { "PreferDualStack" } else { "SingleStack" };
        let is_node_port = service.ports.iter().any(|it| it.node_port.is_some());
        let mut spec = json!({
            "clusterIP": addresses[0],
            "clusterIPs": addresses,
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": families,
            "ipFamilyPolicy": policy,
            "ports": service.ports.iter().map(port).collect::<Vec<_>>(),
            "sessionAffinity": "None",
            "type": if is_node_port { "NodePort" } else { "ClusterIP" },
        });
        if let Some(app) = service.app {
            spec["selector"] = selector(app);
        }
        if is_node_port {
            spec["externalTrafficPolicy"] = "Cluster".into();
        }
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(namespace, name, &uid, labels),
            "spec": spec,
            "status": {"loadBalancer": {}},
        }))
    }
}

fn port(port: &ServicePortLayout) -> Value {
    let target =
        if port.target_name.is_empty() { Value::from(port.target_port) } else { port.target_name.into() };
    let mut object = json!({
        "name": port.name,
        "port": port.port,
        "protocol": port.protocol.to_string().to_uppercase(),
        "targetPort": target,
    });
    if let Some(node_port) = port.node_port {
        object["nodePort"] = node_port.into();
    }
    object
}

/// The API's name of an address's family.
pub(super) fn address_type(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
