//! Whom a Service without endpoints is meant to lead to.
//!
//! A Service that nobody stands behind may be so on purpose: its workload is scaled to zero, or not there yet. It is a
//! broken promise where pods run that it is plainly meant for, and one thing keeps them from being its endpoints: its
//! selector names them wrongly, its target port names a port that they do not have, or nobody wrote them down.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_controllers::{
    Family,
    endpoint_slice::{matches, selected, target_port},
};
use hopwise_snapshot::{
    Cluster, NodeName, PodObject, PortNumberOrName, Protocol, Service, ServicePort, Workload,
};

/// Where `kubectl apply` keeps what it was given.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Labels that differ among the pods of one workload, or from one version of it to the next.
const PASSING_LABELS: [&str; 5] = [
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
];
/// So many letters may differ between a word and what was meant by it.
const MOST_LETTERS: usize = 2;

/// The pods that a port of a Service is meant to lead to, and why it does not.
#[derive(Clone, Debug)]
pub struct Meant<'a> {
    /// The pods; all of them are ready.
    pub pods: Vec<&'a PodObject>,
    /// What is wrong.
    pub amiss: Amiss,
}

/// Why a Service has no endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amiss {
    /// Its selector matches no pod.
    Selector {
        /// The selector that would.
        wanted: BTreeMap<String, String>,
        /// How that is known.
        basis: SelectorBasis,
    },
    /// Its target port is the name of a port that its pods do not have.
    PortName {
        /// The name.
        name: String,
        /// The port that they have; none where they have several that it could be.
        wanted: Option<PortNumberOrName>,
    },
    /// Its slices do not hold the pods that it selects.
    Slices,
}

/// How it is known which selector a Service should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectorBasis {
    /// It was applied with it; somebody has changed it since.
    Applied,
    /// It is close to the labels of pods that run, by its words or by the Service's name.
    Labels,
}

/// Whom a port of a Service without any endpoint is meant to lead to; none where it has endpoints, or nothing says so.
pub fn meant<'a>(
    cluster: &'a Cluster,
    service: &Service,
    port: &ServicePort,
    family: Family,
) -> Option<Meant<'a>> {
    if has_endpoints(cluster, service, port, family) {
        return None;
    }
    let is_selecting = !service.spec.selector.is_empty() && service.spec.kind != "ExternalName";
    if !is_selecting || !cluster.has_all("pods") || !cluster.has_all("endpointslices") {
        return None;
    }
    let own = selected(cluster, service);
    if own.is_empty() {
        return if is_without_pods_on_purpose(cluster, service) {
            None
        } else {
            selector(cluster, service, port)
        };
    }
    let pods: Vec<&PodObject> = own.into_iter().filter(|it| is_usable(it, family)).collect();
    if pods.is_empty() {
        return None;
    }
    if let Some(PortNumberOrName::Name(name)) = &port.target_port
        && pods.iter().all(|it| target_port(port, it).is_none())
    {
        let wanted = port_meant(&pods, port.protocol, name);
        return Some(Meant { pods, amiss: Amiss::PortName { name: name.clone(), wanted } });
    }
    let pods: Vec<&PodObject> = pods.into_iter().filter(|it| target_port(port, it).is_some()).collect();
    (!pods.is_empty()).then_some(Meant { pods, amiss: Amiss::Slices })
}

/// Could it be an endpoint of that family now?
fn is_usable(pod: &PodObject, family: Family) -> bool {
    pod.is_running() && pod.is_ready() && pod.ips().into_iter().any(|it| Family::of(it) == family)
}

/// Is there a workload whose pods it would select, and which just has none: scaled to zero, or not able to make them?
fn is_without_pods_on_purpose(cluster: &Cluster, service: &Service) -> bool {
    let fits = |it: &&Workload| {
        let labels = it.spec.selector.as_ref().map(|it| &it.match_labels);
        let values = |(key, value)| labels.and_then(|it| it.get(key)).map(|it| it == value);
        let said: Vec<bool> = service.spec.selector.iter().filter_map(values).collect();
        !said.is_empty() && said.iter().all(|it| *it)
    };
    let workloads = cluster.workloads.known().into_iter().flatten();
    let mut own = workloads.filter(|it| it.metadata.namespace == service.metadata.namespace);
    own.any(|it| fits(&it))
}

/// The pods of a namespace that have the same labels.
struct Group<'a> {
    labels: BTreeMap<&'a str, &'a str>,
    pods: Vec<&'a PodObject>,
}

fn groups<'a>(cluster: &'a Cluster, namespace: &str) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<BTreeMap<&str, &str>, Vec<&PodObject>> = BTreeMap::new();
    let pods = cluster.pods.known().into_iter().flatten();
    for pod in pods.filter(|it| it.metadata.namespace == namespace && it.is_running() && it.is_ready()) {
        let labels = pod.metadata.labels.iter().filter(|(key, _)| !PASSING_LABELS.contains(&key.as_str()));
        let labels: BTreeMap<&str, &str> =
            labels.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if !labels.is_empty() {
            groups.entry(labels).or_default().push(pod);
        }
    }
    groups.into_iter().map(|(labels, pods)| Group { labels, pods }).collect()
}

/// The pods that a selector without any is meant for.
fn selector<'a>(cluster: &'a Cluster, service: &Service, port: &ServicePort) -> Option<Meant<'a>> {
    if let Some(wanted) = applied_selector(service).filter(|it| *it != service.spec.selector) {
        let pods: Vec<&PodObject> = groups(cluster, &service.metadata.namespace)
            .into_iter()
            .flat_map(|it| it.pods)
            .filter(|it| matches(&wanted, it))
            .collect();
        if !pods.is_empty() {
            let amiss = Amiss::Selector { wanted, basis: SelectorBasis::Applied };
            return Some(Meant { pods, amiss });
        }
    }
    let all = groups(cluster, &service.metadata.namespace);
    let mut likely: Vec<(bool, Group<'a>)> = all
        .into_iter()
        .filter(|it| has_port(it, port))
        .map(|it| (is_taken(cluster, service, &it), it))
        .filter(|(is_taken, it)| is_like(service, it, *is_taken))
        .collect();
    likely.sort_by_key(|(is_taken, _)| *is_taken);
    // Of two that it could be meant for, nothing says which.
    if likely.len() > 1 && likely[0].0 == likely[1].0 {
        return None;
    }
    let (_, group) = likely.into_iter().next()?;
    let wanted = selector_of(cluster, service, &group);
    Some(Meant { pods: group.pods, amiss: Amiss::Selector { wanted, basis: SelectorBasis::Labels } })
}

/// The selector that a Service was applied with.
fn applied_selector(service: &Service) -> Option<BTreeMap<String, String>> {
    let applied: Service = serde_json::from_str(service.metadata.annotations.get(APPLIED)?).ok()?;
    Some(applied.spec.selector).filter(|it| !it.is_empty())
}

/// Do pods declare the port that is asked for, if they declare any?
fn has_port(group: &Group<'_>, port: &ServicePort) -> bool {
    let mut declared =
        group.pods.iter().flat_map(|it| &it.spec.containers).flat_map(|it| &it.ports).peekable();
    match &port.target_port {
        Some(PortNumberOrName::Name(_)) => group.pods.iter().any(|it| target_port(port, it).is_some()),
        Some(PortNumberOrName::Number(number)) => {
            declared.peek().is_none()
                || declared.any(|it| it.protocol == port.protocol && it.container_port == *number)
        }
        None => {
            declared.peek().is_none()
                || declared.any(|it| it.protocol == port.protocol && it.container_port == port.port)
        }
    }
}

/// Does a Service speak of these pods in other words: labels under another name and values misspelt, or nothing that is
/// theirs but a name?
fn is_like(service: &Service, group: &Group<'_>, is_taken: bool) -> bool {
    let is_meant = |(key, value): (&String, &String)| match group.labels.get(key.as_str()) {
        Some(own) => *own == value || is_near(own, value),
        None => group.labels.values().any(|it| it == value),
    };
    let is_named = || group.labels.values().any(|it| is_near(it, &service.metadata.name));
    service.spec.selector.iter().all(is_meant) || (!is_taken && is_named())
}

/// Could one word be meant by the other: a letter or two differ, or one begins with the other?
fn is_near(a: &str, b: &str) -> bool {
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let shorter = a.len().min(b.len());
    let is_part = shorter >= 3 && (a.starts_with(&b) || b.starts_with(&a));
    is_part || strsim::damerau_levenshtein(&a, &b) <= MOST_LETTERS.min(shorter / 2)
}

/// Do other Services lead to these pods?
fn is_taken(cluster: &Cluster, service: &Service, group: &Group<'_>) -> bool {
    let services = cluster.services.known().into_iter().flatten();
    let mut others = services
        .filter(|it| it.metadata.namespace == service.metadata.namespace)
        .filter(|it| it.metadata.name != service.metadata.name && !it.spec.selector.is_empty());
    others.any(|it| group.pods.iter().any(|pod| matches(&it.spec.selector, pod)))
}

/// The selector for some pods: the Service's own keys with their values; where they lack one of them, what selects the
/// pods of their workload.
fn selector_of(cluster: &Cluster, service: &Service, group: &Group<'_>) -> BTreeMap<String, String> {
    let keys = service.spec.selector.keys();
    let own: Option<BTreeMap<String, String>> =
        keys.map(|key| Some((key.clone(), (*group.labels.get(key.as_str())?).to_owned()))).collect();
    if let Some(own) = own {
        return own;
    }
    let workloads = cluster.workloads.known().into_iter().flatten();
    let selectors = workloads
        .filter(|it| it.kind != "ReplicaSet" && it.metadata.namespace == service.metadata.namespace)
        .filter_map(|it| it.spec.selector.as_ref())
        .filter(|it| it.match_expressions.is_empty() && !it.match_labels.is_empty());
    let is_theirs = |it: &&BTreeMap<String, String>| group.pods.iter().all(|pod| matches(it, pod));
    let theirs = selectors.map(|it| &it.match_labels).find(is_theirs).cloned();
    let all = || group.labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    theirs.unwrap_or_else(all)
}

/// The port of some pods that a name stands for which none of them knows.
fn port_meant(pods: &[&PodObject], protocol: Protocol, name: &str) -> Option<PortNumberOrName> {
    let declared = |pod: &PodObject| -> BTreeSet<(Option<String>, u16)> {
        let ports = pod.spec.containers.iter().flat_map(|it| &it.ports).filter(|it| it.protocol == protocol);
        ports.map(|it| (it.name.clone(), it.container_port)).collect()
    };
    let all: Vec<BTreeSet<(Option<String>, u16)>> = pods.iter().map(|it| declared(it)).collect();
    let everywhere: Vec<&(Option<String>, u16)> =
        all.first()?.iter().filter(|port| all.iter().all(|it| it.contains(port))).collect();
    let near = |it: &&&(Option<String>, u16)| it.0.as_deref().is_some_and(|it| is_near(it, name));
    let likely: Vec<&&(Option<String>, u16)> = everywhere.iter().filter(near).collect();
    let (named, number) = match (likely.as_slice(), everywhere.as_slice()) {
        ([one], _) => **one,
        ([], [one]) => one,
        _ => return None,
    };
    Some(named.clone().map_or(PortNumberOrName::Number(*number), PortNumberOrName::Name))
}

/// Has a port of a Service an endpoint that a client on some node may use? A port that kube-proxy does not serve needs
/// none.
pub fn has_endpoints(cluster: &Cluster, service: &Service, port: &ServicePort, family: Family) -> bool {
    let anywhere = NodeName::from("");
    hopwise_controllers::kube_proxy::service_endpoints(cluster, service, port, &anywhere, family)
        .known()
        .is_none_or(|it| it.has_any)
}
