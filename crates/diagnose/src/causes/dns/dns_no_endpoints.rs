//! `HW1906`: the Service of the cluster's name servers leads to nobody.

use hopwise_repair::{Action, Repair};
use hopwise_snapshot::{Element, Workload};

use super::{complaint, is_cluster_dns, places, servers, unanswered, without_endpoints};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
    causes::service,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1906),
    name: "dns-no-endpoints",
    summary: "the Service of the cluster's name servers has no endpoint: nobody resolves names",
    manual: include_str!("dns_no_endpoints.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let Some(dns) = without_endpoints(case) else { return };
    let meant = service::without_endpoints(case).into_iter().find(|it| is_cluster_dns(it.service));
    if let Some(fault) = meant
        && let Some(suspect) = service::report_selector(case, suspects, &CAUSE, &fault)
    {
        suspect.also(unanswered(case, dns));
        return;
    }
    let servers = servers(case, dns);
    let (namespace, name) = (&dns.metadata.namespace, &dns.metadata.name);
    let element = Element::object("service", namespace, name, Some("endpoints"));
    let why = match (servers.len(), scaled_to_zero(case, namespace)) {
        (0, Some(workload)) => {
            format!("{} {} wants 0 pods", workload.kind, workload.metadata.name)
        }
        (0, None) => "no pod is there that it selects".to_owned(),
        (1, _) => "its only server is not ready".to_owned(),
        (n, _) => format!("none of its {n} servers is ready"),
    };
    let verify = service::endpoints_command(dns);
    let told = match scaled_to_zero(case, namespace) {
        Some(workload) if servers.is_empty() => format!(
            "kubectl -n {namespace} scale {} {} --replicas=2",
            workload.kind.to_lowercase(),
            workload.metadata.name
        ),
        _ => format!("see to the name servers: kubectl -n {namespace} logs -l k8s-app=kube-dns --previous"),
    };
    let observed = Evidence {
        element: element.clone(),
        observed: "none".to_owned(),
        expected: "at least one".to_owned(),
        source: verify.clone(),
    };
    suspects
        .report(&CAUSE, element)
        .says(format!("Service {namespace}/{name} has no endpoint: {why}."))
        .because([observed])
        .because(servers.iter().map(|it| complaint(case, it)))
        .also(unanswered(case, dns))
        .waits_for(places(&servers))
        .repaired_by(Repair::one(Action::told(None, told, verify)));
}

/// The workload of name servers that wants none.
fn scaled_to_zero<'a>(case: &Case<'a>, namespace: &str) -> Option<&'a Workload> {
    let workloads = case.snapshot.cluster.workloads.known()?;
    workloads.iter().find(|it| {
        it.metadata.namespace == namespace
            && it.kind != "ReplicaSet"
            && it.spec.replicas == Some(0)
            && it.metadata.labels.get("k8s-app").is_some_and(|it| it == "kube-dns")
    })
}
