//! Changes of the API server's objects, and what the cluster's controllers make of them.

use std::collections::BTreeSet;

use hopwise_controllers::{
    Family, Ruleset,
    endpoint_slice::{matches, write_endpoint_slices},
    kube_proxy::{KubeProxy, KubeProxyConfig, ProxyMode},
};
use hopwise_snapshot::{Cluster, NodeName, Observed, Place, PodName, Service, Snapshot};

use crate::{Change, Controller, apply::Inapplicable, resync};

impl Change {
    /// Changes an object of the API server, and what follows from it; the places whose facts are different now.
    pub(crate) fn apply_to_objects(&self, snapshot: &mut Snapshot) -> Result<BTreeSet<Place>, Inapplicable> {
        let missing = |what: String| Inapplicable { place: self.object(), what };
        let before = snapshot.cluster.clone();
        let services = self.edit(snapshot).map_err(missing)?;
        for service in &services {
            if !write_endpoint_slices(&mut snapshot.cluster, service) {
                return Err(missing("EndpointSlices were not read".to_owned()));
            }
        }
        let read = snapshot.nodes.iter().filter(|(_, node)| node.known().is_some());
        let nodes: Vec<NodeName> = read.map(|(name, _)| name.clone()).collect();
        for node in &nodes {
            follow(snapshot, &before, node).map_err(missing)?;
        }
        Ok(nodes.into_iter().map(Place::Node).collect())
    }

    /// The object that it is about.
    fn object(&self) -> String {
        match (self, self.service()) {
            (Self::PodUnready { pod, .. }, _) => format!("pod/{pod}"),
            (_, Some((namespace, name))) => format!("service/{namespace}/{name}"),
            _ => String::new(),
        }
    }

    /// Changes the object; the Services whose endpoints are others then.
    fn edit(&self, snapshot: &mut Snapshot) -> Result<Vec<Service>, String> {
        if let Self::PodUnready { pod, is_pending } = self {
            return hold(snapshot, pod, *is_pending);
        }
        let Some((namespace, name)) = self.service() else { return Ok(Vec::new()) };
        let service =
            service_mut(&mut snapshot.cluster, namespace, name).ok_or("there is no such Service")?;
        match self {
            Self::ServiceSelector { selector, .. } => service.spec.selector.clone_from(selector),
            Self::ServiceTargetPort { port, protocol, target, .. } => {
                let mut ports = service.spec.ports.iter_mut();
                let own = ports.find(|it| it.port == *port && it.protocol == *protocol);
                own.ok_or("it has no such port")?.target_port.clone_from(target);
            }
            _ => {}
        }
        Ok(vec![service.clone()])
    }

    /// Does it change objects of the API server, too?
    pub fn changes_objects(&self) -> bool {
        self.place().is_none() || matches!(self, Self::ProcessStarted { program, .. } if program == "kubelet")
    }

    /// The Service that it is about, as namespace and name.
    pub(crate) fn service(&self) -> Option<(&str, &str)> {
        match self {
            Self::ServiceSelector { namespace, name, .. }
            | Self::ServiceTargetPort { namespace, name, .. }
            | Self::EndpointsWritten { namespace, name } => Some((namespace, name)),
            _ => None,
        }
    }

    /// What sets an object back to what it was.
    pub(crate) fn inverse_of_object(&self, before: &Cluster) -> Option<Self> {
        let (namespace, name) = self.service()?;
        let service = before.service(namespace, name)?;
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match self {
            Self::ServiceSelector { .. } => {
                Some(Self::ServiceSelector { namespace, name, selector: service.spec.selector.clone() })
            }
            Self::ServiceTargetPort { port, protocol, .. } => {
                let own =
                    service.spec.ports.iter().find(|it| it.port == *port && it.protocol == *protocol)?;
                Some(Self::ServiceTargetPort {
                    namespace,
                    name,
                    port: *port,
                    protocol: *protocol,
                    target: own.target_port.clone(),
                })
            }
            _ => None,
        }
    }
}

fn service_mut<'a>(cluster: &'a mut Cluster, namespace: &str, name: &str) -> Option<&'a mut Service> {
    let services = cluster.services.known_mut()?;
    services.iter_mut().find(|it| it.metadata.namespace == namespace && it.metadata.name == name)
}

/// Makes a pod unready, or lets it wait for a node.
fn hold(snapshot: &mut Snapshot, name: &PodName, is_pending: bool) -> Result<Vec<Service>, String> {
    let services = snapshot.cluster.services.known().into_iter().flatten();
    let pods = snapshot.cluster.pods.known().into_iter().flatten();
    let pod = pods.clone().find(|it| it.name() == *name).ok_or("there is no such pod")?;
    let is_theirs = |it: &&Service| {
        it.metadata.namespace == name.namespace
            && !it.spec.selector.is_empty()
            && matches(&it.spec.selector, pod)
    };
    let services: Vec<Service> = services.filter(is_theirs).cloned().collect();
    let pods = snapshot.cluster.pods.known_mut().into_iter().flatten();
    for pod in pods.filter(|it| it.name() == *name) {
        for condition in pod.status.conditions.iter_mut().filter(|it| it.kind == "Ready") {
            "False".clone_into(&mut condition.status);
        }
        for container in &mut pod.status.container_statuses {
            container.ready = false;
        }
        if is_pending {
            pod.spec.node_name = None;
            "Pending".clone_into(&mut pod.status.phase);
            pod.status.pod_ip = None;
            pod.status.pod_ips.clear();
        }
    }
    if is_pending {
        snapshot.pods.remove(name);
    }
    Ok(services)
}

/// Lets kube-proxy of a node follow a change of objects. In mode iptables it writes the chains that are different then,
/// and those alone: what else is wrong with its rules stays as it is, until it starts anew.
fn follow(snapshot: &mut Snapshot, before: &Cluster, node: &NodeName) -> Result<(), String> {
    let Observed::Known(Ok(config)) = KubeProxyConfig::of_cluster(&snapshot.cluster) else {
        // Who else makes Services work follows in a way that is not modelled.
        return Err("kube-proxy's configuration is not known".to_owned());
    };
    // Its tables of nftables are written as a whole.
    if config.mode == ProxyMode::Nftables {
        return resync::resync(snapshot, node, Controller::KubeProxy);
    }
    let written = |cluster: &Cluster, family: Family| {
        let mut rules = Ruleset::default();
        match KubeProxy::new(cluster, node, &config).sync(family, &mut rules) {
            Observed::Known(()) => Ok(rules),
            Observed::Absent | Observed::NotCollected(_) => Err("Services are not known".to_owned()),
        }
    };
    let cluster = snapshot.cluster.clone();
    let net = snapshot.net_mut(&Place::Node(node.clone())).ok_or("the node was not read")?;
    for family in Family::ALL {
        let (old, new) = (written(before, family)?, written(&cluster, family)?);
        resync::edit_rules(net, family, |rules| {
            for (table, name, chain) in new.chains() {
                let was = old.chain(table, name);
                let is_there = rules.chain(table, name).is_some();
                if was != Some(chain) && (is_there || was.is_none()) {
                    rules.chain_mut(table, name).rules.clone_from(&chain.rules);
                }
            }
            for (table, name, _) in old.chains().filter(|(table, name, _)| new.chain(table, name).is_none()) {
                rules.remove(table, name);
            }
            Ok(())
        })?;
    }
    Ok(())
}
