//! HW18xx: Services and what stands behind them.

mod svc_named_port_missing;
mod svc_selector_mismatch;
mod svc_targetport_mismatch;

use std::collections::{BTreeMap, BTreeSet};

use hopwise_controllers::Family;
use hopwise_dataplane::{Check, FlowProtocol, Meant, meant};
use hopwise_snapshot::{Element, PodObject, Service, ServicePort};

use crate::{
    case::{Case, listed},
    cause::Cause,
};

pub(super) use svc_selector_mismatch::report as report_selector;

pub(super) static CAUSES: &[&Cause] =
    &[&svc_selector_mismatch::CAUSE, &svc_targetport_mismatch::CAUSE, &svc_named_port_missing::CAUSE];

/// So many pods are named; the rest is counted.
const MOST_NAMES: usize = 3;

/// A port of a Service that has no endpoint, and whom it is meant for.
pub(super) struct WithoutEndpoints<'a> {
    pub(super) service: &'a Service,
    pub(super) port: &'a ServicePort,
    pub(super) meant: Meant<'a>,
}

/// The ports of Services that have no endpoint though pods run that they are meant for.
pub(super) fn without_endpoints<'a>(case: &Case<'a>) -> Vec<WithoutEndpoints<'a>> {
    let cluster = &case.snapshot.cluster;
    let mut all = Vec::new();
    for service in cluster.services.known().into_iter().flatten() {
        for port in &service.spec.ports {
            let mut meant = Family::ALL.into_iter().filter_map(|it| meant(cluster, service, port, it));
            if let Some(meant) = meant.next() {
                all.push(WithoutEndpoints { service, port, meant });
            }
        }
    }
    all
}

/// What stops flows to a Service, or to one of its ports.
pub(super) fn refusing(case: &Case<'_>, service: &Service, port: Option<&ServicePort>) -> BTreeSet<Element> {
    let addresses = service.cluster_ips();
    let is_to = |protocol: FlowProtocol| {
        port.is_none_or(|it| FlowProtocol::of_port(it.protocol, it.port) == Some(protocol))
    };
    let own = case.broken.iter().filter(|(promise, _)| match &promise.check {
        Check::Flow { flow, .. } => addresses.contains(&flow.to) && is_to(flow.protocol),
        _ => false,
    });
    own.flat_map(|(_, blockers)| blockers.iter().map(|it| it.element.clone())).collect()
}

/// A port of a Service.
fn port_element(service: &Service, port: &ServicePort) -> Element {
    let field = format!("spec.ports.{}-{}", port.port, port.protocol.to_string().to_lowercase());
    Element::object("service", &service.metadata.namespace, &service.metadata.name, Some(&field))
}

/// The command that shows a Service's endpoints.
pub(super) fn endpoints_command(service: &Service) -> String {
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    format!("kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={name}")
}

/// Labels as a selector's text.
pub(super) fn selector_text(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Pods by name, the first few.
pub(super) fn names(pods: &[&PodObject]) -> String {
    let mut names: Vec<String> = pods.iter().take(MOST_NAMES).map(|it| it.name().to_string()).collect();
    if pods.len() > MOST_NAMES {
        names.push(format!("{} more", pods.len() - MOST_NAMES));
    }
    listed(&names)
}
