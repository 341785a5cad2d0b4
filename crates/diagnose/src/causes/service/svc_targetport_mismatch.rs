//! `HW1802`: a Service leads to a port on which none of its pods listens, while they all listen on another.

use std::collections::BTreeSet;

use hopwise_change::Change;
use hopwise_controllers::{Family, endpoint_slice::target_port, kube_proxy::service_endpoints};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{
    Element, NodeName, Place, PodName, PodObject, PortNumberOrName, Protocol, Service, ServicePort,
    SocketProtocol, SocketState,
};

use super::{endpoints_command, names, port_element, refusing};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1802),
    name: "svc-targetport-mismatch",
    summary: "a Service leads to a port on which its pods do not listen: its clients are refused",
    manual: include_str!("svc_targetport_mismatch.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for service in case.snapshot.cluster.services.known().into_iter().flatten() {
        for port in &service.spec.ports {
            report(case, suspects, service, port);
        }
    }
}

fn report(case: &Case<'_>, suspects: &mut Suspects, service: &Service, port: &ServicePort) {
    let Some(fault) = fault(case, service, port) else { return };
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let element = port_element(service, port);
    let change = Change::ServiceTargetPort {
        namespace: namespace.clone(),
        name: name.clone(),
        port: port.port,
        protocol: port.protocol,
        target: Some(PortNumberOrName::Number(fault.listening)),
    };
    let verify = endpoints_command(service);
    let pods: Vec<&PodObject> = fault.pods.iter().filter_map(|it| case.snapshot.cluster.pod(it)).collect();
    let word = if port.protocol == Protocol::Udp { "udp" } else { "tcp" };
    let sockets = fault.pods.iter().map(|it| Element::socket(&Place::Pod(it.clone()), word, fault.asked));
    suspects
        .report(&CAUSE, element.clone())
        .says(format!(
            "Service {} leads port {} to port {} of its pods, which listen on {}.",
            service.full_name(),
            port.port,
            fault.asked,
            fault.listening
        ))
        .because([Evidence {
            element,
            observed: format!("{}: nobody listens", fault.asked),
            expected: format!("{}: {} listen there", fault.listening, names(&pods)),
            source: "ss -lntu in the pods' network namespaces".to_owned(),
        }])
        .also(sockets.collect::<Vec<_>>())
        .also(refusing(case, service, Some(port)))
        .repaired_by(Repair::one(Action::change(change, case.snapshot, Risk::External, verify)));
}

struct Fault {
    /// The port that packets are sent to.
    asked: u16,
    /// The port that all of the pods listen on.
    listening: u16,
    pods: Vec<PodName>,
}

/// A port that none of the endpoints listens on and no container declares, where all of them listen on one other.
fn fault(case: &Case<'_>, service: &Service, port: &ServicePort) -> Option<Fault> {
    let cluster = &case.snapshot.cluster;
    let anywhere = NodeName::from("");
    let pods: BTreeSet<PodName> = Family::ALL
        .into_iter()
        .filter_map(|it| service_endpoints(cluster, service, port, &anywhere, it).known().cloned())
        .flat_map(|it| it.reachable)
        .filter_map(|it| it.pod)
        .collect();
    let objects: Vec<&PodObject> = pods.iter().map(|it| cluster.pod(it)).collect::<Option<_>>()?;
    let asked = target_port(port, objects.first()?)?;
    if objects.iter().any(|it| target_port(port, it) != Some(asked) || declares(it, port.protocol, asked)) {
        return None;
    }
    let mut everywhere: Option<BTreeSet<u16>> = None;
    for (name, object) in pods.iter().zip(&objects) {
        // What nobody read speaks neither for nor against it.
        let Some(listening) = listening(case, name, port.protocol) else { continue };
        if listening.contains(&asked) {
            return None;
        }
        let declared = listening.iter().copied().filter(|it| declares(object, port.protocol, *it));
        let declared: BTreeSet<u16> = declared.collect();
        let own = if declared.is_empty() { listening } else { declared };
        everywhere = Some(match everywhere {
            Some(all) => all.intersection(&own).copied().collect(),
            None => own,
        });
    }
    let everywhere = everywhere?;
    // Of several, the one that the Service offers itself is meant.
    let listening = match everywhere.len() {
        1 => *everywhere.first()?,
        _ => *everywhere.get(&port.port)?,
    };
    Some(Fault { asked, listening, pods: pods.into_iter().collect() })
}

fn declares(pod: &PodObject, protocol: Protocol, number: u16) -> bool {
    let mut ports = pod.spec.containers.iter().flat_map(|it| &it.ports);
    ports.any(|it| it.protocol == protocol && it.container_port == number)
}

/// The ports on which a pod takes packets from elsewhere; none where its sockets were not read.
fn listening(case: &Case<'_>, pod: &PodName, protocol: Protocol) -> Option<BTreeSet<u16>> {
    let wanted = match protocol {
        Protocol::Tcp => SocketProtocol::Tcp,
        Protocol::Udp => SocketProtocol::Udp,
        Protocol::Sctp => return None,
    };
    let sockets = case.snapshot.net(&Place::Pod(pod.clone()))?.sockets.known()?;
    let open = sockets.iter().filter(|it| it.protocol == wanted && it.state != SocketState::Connected);
    Some(open.filter(|it| !it.address.is_loopback()).map(|it| it.port).collect())
}
