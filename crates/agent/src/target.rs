//! Which nodes there are, and which pods run on each, from the API objects.

use hopwise_snapshot::{Cluster, NodeName, NodeObject, PodName, PodObject};
use hopwise_wire::PodIdentity;

/// A node to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name, as the API server spells it.
    pub name: NodeName,
    /// By what it may be reached from outside: its name, then its addresses.
    pub hosts: Vec<String>,
    /// Its pods that have a network namespace of their own, and have not ended.
    pub pods: Vec<PodIdentity>,
    /// Those of them that have not started, so that nothing of them need be there.
    pub starting: Vec<PodName>,
}

/// The nodes of a cluster.
pub fn targets(cluster: &Cluster) -> Vec<Target> {
    cluster.nodes.known().into_iter().flatten().map(|it| target(it, cluster)).collect()
}

fn target(node: &NodeObject, cluster: &Cluster) -> Target {
    let name = NodeName(node.metadata.name.clone());
    let mut hosts = vec![name.0.clone()];
    for kind in ["Hostname", "InternalIP", "ExternalIP"] {
        let addresses = node.status.addresses.iter().filter(|it| it.kind == kind);
        hosts.extend(addresses.map(|it| it.address.clone()));
    }
    let mut seen = std::collections::BTreeSet::new();
    hosts.retain(|it| !it.is_empty() && seen.insert(it.clone()));
    let is_here = |it: &&PodObject| {
        it.spec.node_name.as_deref() == Some(name.as_str())
            && !it.spec.host_network
            && !matches!(it.status.phase.as_str(), "Succeeded" | "Failed")
    };
    let pods: Vec<&PodObject> = cluster.pods.known().into_iter().flatten().filter(is_here).collect();
    let starting = pods.iter().filter(|it| it.status.phase != "Running").map(|it| it.name()).collect();
    let pods = pods.into_iter().map(|it| PodIdentity { name: it.name(), uid: uid(it).to_owned() }).collect();
    Target { name, hosts, pods, starting }
}

/// What a pod's cgroups are called by. kubelet makes a static pod's of the hash of its manifest, and shows the pod in the
/// API under a uid that the API server gave its mirror (1.34, `pkg/kubelet/types/pod_update.go`).
fn uid(pod: &PodObject) -> &str {
    let noted = ["kubernetes.io/config.hash", "kubernetes.io/config.mirror"];
    let mut noted = noted.into_iter().filter_map(|it| pod.metadata.annotations.get(it));
    noted.find(|it| !it.is_empty()).unwrap_or(&pod.metadata.uid)
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::{NodeAddress, Observed};

    use super::*;

    fn pod(name: &str, node: &str, phase: &str) -> PodObject {
        let mut pod = PodObject::default();
        pod.metadata.name = name.to_owned();
        pod.metadata.namespace = "default".to_owned();
        pod.metadata.uid = format!("uid-of-{name}");
        pod.spec.node_name = Some(node.to_owned());
        pod.status.phase = phase.to_owned();
        pod
    }

    #[test]
    fn a_nodes_pods_are_those_with_a_network_of_their_own_that_have_not_ended() {
        let mut node = NodeObject::default();
        node.metadata.name = "w1".to_owned();
        let address =
            |kind: &str, address: &str| NodeAddress { kind: kind.to_owned(), address: address.to_owned() };
        node.status.addresses = vec![address("InternalIP", "192.0.2.11"), address("Hostname", "w1")];
        let mut proxy = pod("kube-proxy", "w1", "Running");
        proxy.spec.host_network = true;
        let mut mirror = pod("static", "w1", "Running");
        mirror.metadata.annotations.insert("kubernetes.io/config.hash".to_owned(), "8f1e".to_owned());
        let others = [pod("done", "w1", "Succeeded"), pod("elsewhere", "w2", "Running")];
        let mut pods = vec![pod("a", "w1", "Running"), pod("new", "w1", "Pending"), proxy, mirror];
        pods.extend(others);
        let cluster =
            Cluster { nodes: Observed::Known(vec![node]), pods: Observed::Known(pods), ..Cluster::default() };
        let target = &targets(&cluster)[0];
        assert_eq!(target.hosts, ["w1", "192.0.2.11"]);
        let uids: Vec<&str> = target.pods.iter().map(|it| it.uid.as_str()).collect();
        assert_eq!(uids, ["uid-of-a", "uid-of-new", "8f1e"]);
        assert_eq!(target.starting, [PodName::new("default", "new")]);
    }

    #[test]
    fn without_objects_there_are_no_targets() {
        assert!(targets(&Cluster::default()).is_empty());
    }
}
