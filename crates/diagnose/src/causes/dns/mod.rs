//! HW19xx: the cluster's own name servers.

mod dns_coredns_pending;
mod dns_no_endpoints;

use std::collections::BTreeSet;

use hopwise_controllers::{Family, endpoint_slice::matches};
use hopwise_dataplane::{BlockerKind, Check, has_endpoints};
use hopwise_snapshot::{ContainerStatus, Element, NodeName, Place, PodObject, Service};

use super::service::refusing;
use crate::{
    case::Case,
    cause::{Cause, Evidence},
};

pub(super) static CAUSES: &[&Cause] = &[&dns_coredns_pending::CAUSE, &dns_no_endpoints::CAUSE];

/// Where the cluster's name servers are, in every distribution that has them.
const DNS_SERVICE: (&str, &str) = ("kube-system", "kube-dns");

/// Is it the Service of the cluster's name servers?
pub(super) fn is_cluster_dns(service: &Service) -> bool {
    (service.metadata.namespace.as_str(), service.metadata.name.as_str()) == DNS_SERVICE
}

/// The Service of the cluster's name servers, where it has no endpoint at all.
fn without_endpoints<'a>(case: &Case<'a>) -> Option<&'a Service> {
    let cluster = &case.snapshot.cluster;
    if !cluster.has_all("pods") || !cluster.has_all("endpointslices") {
        return None;
    }
    let service = cluster.service(DNS_SERVICE.0, DNS_SERVICE.1)?;
    let has_any = |it| service.spec.ports.iter().any(|port| has_endpoints(cluster, service, port, it));
    let mut families = service.cluster_ips().into_iter().map(Family::of).peekable();
    (families.peek().is_some() && !families.any(has_any)).then_some(service)
}

/// The pods that are its endpoints or will be.
fn servers<'a>(case: &Case<'a>, service: &Service) -> Vec<&'a PodObject> {
    let pods = case.snapshot.cluster.pods.known().into_iter().flatten();
    // A pod that waits has no address yet.
    let is_theirs = |it: &&PodObject| {
        it.metadata.namespace == service.metadata.namespace
            && !service.spec.selector.is_empty()
            && matches(&service.spec.selector, it)
            && !matches!(it.status.phase.as_str(), "Succeeded" | "Failed")
    };
    pods.filter(is_theirs).collect()
}

/// What stops questions to the name servers, where there are none to answer.
fn unanswered(case: &Case<'_>, service: &Service) -> BTreeSet<Element> {
    let names = case.broken.iter().filter(|(promise, _)| matches!(promise.check, Check::Name { .. }));
    let refused = names.flat_map(|(_, blockers)| blockers.iter()).filter(|it| match &it.kind {
        // The chains and maps of kube-proxy in which it refuses what goes to nobody.
        BlockerKind::Filter(drop) => drop.chain.starts_with("KUBE-") || drop.table == "kube-proxy",
        _ => false,
    });
    refused.map(|it| it.element.clone()).chain(refusing(case, service, None)).collect()
}

/// Where the servers are, or would be.
fn places(servers: &[&PodObject]) -> BTreeSet<Place> {
    let nodes = servers.iter().filter_map(|it| it.spec.node_name.as_deref());
    let nodes = nodes.map(|it| Place::Node(NodeName::from(it)));
    servers.iter().map(|it| Place::Pod(it.name())).chain(nodes).collect()
}

/// Why a pod is not ready, as the API server and the pod's own last words tell.
fn complaint(case: &Case<'_>, pod: &PodObject) -> Evidence {
    let name = pod.name();
    let mut observed = vec![pod.status.phase.clone()];
    observed.extend(pod.status.container_statuses.iter().filter(|it| !it.ready).flat_map(of_container));
    observed.extend(case.last_warning(&name));
    observed.extend(case.last_error(&name));
    observed.retain(|it| !it.is_empty());
    Evidence {
        element: Element::object("pod", &name.namespace, &name.name, Some("status")),
        observed: observed.join("; "),
        expected: "ready".to_owned(),
        source: format!("kubectl -n {} describe pod {}", name.namespace, name.name),
    }
}

fn of_container(status: &ContainerStatus) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(waiting) = &status.state.waiting {
        said.push(waiting.reason.clone());
    }
    if let Some(ended) = status.last_state.terminated.as_ref().or(status.state.terminated.as_ref()) {
        said.push(format!(
            "ended with {} ({}), {} restarts",
            ended.exit_code, ended.reason, status.restart_count
        ));
    }
    said
}
