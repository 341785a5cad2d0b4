//! `HW1801`: a Service's selector matches no pod, and pods run that it is meant for.

use std::collections::BTreeSet;

use hopwise_change::Change;
use hopwise_dataplane::{Amiss, SelectorBasis};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::Element;

use super::{WithoutEndpoints, endpoints_command, names, refusing, selector_text, without_endpoints};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspect, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1801),
    name: "svc-selector-mismatch",
    summary: "a Service selects no pod, and its clients are refused, while the pods that it is meant for run",
    manual: include_str!("svc_selector_mismatch.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let mut told = BTreeSet::new();
    for fault in without_endpoints(case) {
        let is_dns = crate::causes::dns::is_cluster_dns(fault.service);
        if !is_dns && told.insert(fault.service.full_name()) {
            report(case, suspects, &CAUSE, &fault);
        }
    }
}

/// Reports a Service whose selector matches no pod, if that is what is amiss.
pub(in crate::causes) fn report<'s>(
    case: &Case<'_>,
    suspects: &'s mut Suspects,
    cause: &'static Cause,
    fault: &WithoutEndpoints<'_>,
) -> Option<&'s mut Suspect> {
    let Amiss::Selector { wanted, basis } = &fault.meant.amiss else { return None };
    let service = fault.service;
    let (namespace, name) = (&service.metadata.namespace, &service.metadata.name);
    let (is, should) = (selector_text(&service.spec.selector), selector_text(wanted));
    let element = Element::object("service", namespace, name, Some("spec.selector"));
    let how = match basis {
        SelectorBasis::Applied => "it was applied with",
        SelectorBasis::Labels => "pods that it fits have",
    };
    let change = Change::ServiceSelector {
        namespace: namespace.clone(),
        name: name.clone(),
        selector: wanted.clone(),
    };
    let verify = endpoints_command(service);
    let suspect = suspects.report(cause, element.clone());
    suspect
        .says(format!("Service {} selects {is}, which no pod has; {how} {should}.", service.full_name()))
        .because([
            Evidence {
                element: element.clone(),
                observed: format!("{is}: no pod"),
                expected: format!("{should}: {}", names(&fault.meant.pods)),
                source: format!("kubectl -n {namespace} get service {name} -o yaml"),
            },
            Evidence {
                element: Element::object("service", namespace, name, Some("endpoints")),
                observed: "none".to_owned(),
                expected: format!("{} ready", fault.meant.pods.len()),
                source: verify.clone(),
            },
        ])
        .also(refusing(case, service, None))
        .repaired_by(Repair::one(Action::change(change, case.snapshot, Risk::External, verify)));
    Some(suspect)
}
