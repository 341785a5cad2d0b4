//! `HW1803`: a Service leads to a port by a name that its pods do not have.

use hopwise_change::Change;
use hopwise_dataplane::Amiss;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::PortNumberOrName;

use super::{endpoints_command, names, port_element, refusing, without_endpoints};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1803),
    name: "svc-named-port-missing",
    summary: "a Service leads to a port by a name that its pods do not have: it has no endpoint there",
    manual: include_str!("svc_named_port_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for fault in without_endpoints(case) {
        let Amiss::PortName { name: port_name, wanted } = &fault.meant.amiss else { continue };
        let (service, port) = (fault.service, fault.port);
        let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
        let element = port_element(service, port);
        let verify = endpoints_command(service);
        let has = match wanted {
            Some(PortNumberOrName::Name(it)) => format!("their port is called {it}"),
            Some(PortNumberOrName::Number(it)) => format!("their port is {it} and has no name"),
            None => "none of their ports is called so".to_owned(),
        };
        let action = if let Some(target) = wanted {
            let change = Change::ServiceTargetPort {
                namespace: namespace.clone(),
                name: name.clone(),
                port: port.port,
                protocol: port.protocol,
                target: Some(target.clone()),
            };
            Action::change(change, case.snapshot, Risk::External, verify.clone())
        } else {
            let told =
                format!("name the pods' port {port_name}, or another one in Service {namespace}/{name}");
            Action::told(None, told, verify.clone())
        };
        suspects
            .report(&CAUSE, element.clone())
            .says(format!(
                "Service {} leads port {} to a port {port_name} of its pods; {has}.",
                service.full_name(),
                port.port
            ))
            .because([Evidence {
                element,
                observed: port_name.clone(),
                expected: format!("a port of {}", names(&fault.meant.pods)),
                source: format!("kubectl -n {namespace} get service {name} -o yaml"),
            }])
            .also(refusing(case, service, Some(port)))
            .repaired_by(Repair::one(action));
    }
}
