//! The words of a case for objects of the API server.

use std::collections::BTreeMap;

use hopwise_change::Change;
use hopwise_snapshot::{
    Cluster, ContainerLog, LogLine, NetworkPolicy, NodeAddress, Observed, PodName, PortNumberOrName,
    Protocol, Snapshot,
};

use crate::words::{OBJECT_WORDS, parsed};

/// Makes what words behind `api: ` mean where no change stands for it: what nobody does to repair anything. None if they
/// are others.
pub(crate) fn edit(snapshot: &mut Snapshot, words: &str) -> Option<Result<(), String>> {
    let all = shlex::split(words)?;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let cluster = &mut snapshot.cluster;
    Some(match all.as_slice() {
        ["configmap", object, key, "replace", old, new] => {
            let mut all = cluster.config_maps.known_mut().into_iter().flatten();
            let named = all.find(|it| format!("{}/{}", it.metadata.namespace, it.metadata.name) == **object);
            match named.and_then(|it| it.data.get_mut(*key)) {
                Some(text) if text.contains(old) => {
                    *text = text.replace(old, &new.replace("\\n", "\n"));
                    Ok(())
                }
                Some(_) => Err(format!("{key} of ConfigMap {object} does not hold `{old}`")),
                None => Err(format!("there is no ConfigMap {object} with a key {key}")),
            }
        }
        ["node", name, what, rest @ ..] => {
            let mut all = cluster.nodes.known_mut().into_iter().flatten();
            match (all.find(|it| it.metadata.name == **name), *what, rest) {
                (Some(node), "no-pod-cidr", []) => {
                    node.spec.pod_cidr = None;
                    node.spec.pod_cidrs.clear();
                    Ok(())
                }
                (Some(node), "internal-ip", [address]) => {
                    node.status.addresses.retain(|it| it.kind != "InternalIP");
                    let address = (*address).to_owned();
                    node.status.addresses.push(NodeAddress { kind: "InternalIP".to_owned(), address });
                    Ok(())
                }
                (Some(_), _, _) => Err(unfit()),
                (None, _, _) => Err(format!("there is no node {name}")),
            }
        }
        ["log", app, node, line] => match pod_of(cluster, app, node) {
            Ok((pod, container)) => {
                let lines = vec![LogLine { at: None, text: (*line).to_owned() }];
                let log = ContainerLog { pod, container, is_previous: false, lines: Observed::Known(lines) };
                match &mut cluster.logs {
                    Observed::Known(logs) => logs.push(log),
                    logs => *logs = Observed::Known(vec![log]),
                }
                Ok(())
            }
            Err(error) => Err(error),
        },
        ["networkpolicy", namespace, "deny-ingress"] => {
            let mut policy = NetworkPolicy::default();
            "deny-ingress".clone_into(&mut policy.metadata.name);
            (*namespace).clone_into(&mut policy.metadata.namespace);
            policy.spec.policy_types = vec!["Ingress".to_owned()];
            match &mut cluster.network_policies {
                Observed::Known(all) => all.push(policy),
                all => *all = Observed::Known(vec![policy]),
            }
            Ok(())
        }
        _ => return None,
    })
}

/// The pod of an application on a node, and its first container.
fn pod_of(cluster: &Cluster, app: &str, node: &str) -> Result<(PodName, String), String> {
    let pods = cluster.pods.known().into_iter().flatten();
    let mut own = pods.filter(|it| it.spec.node_name.as_deref() == Some(node));
    let pod = own.find(|it| {
        ["app", "k8s-app"].iter().any(|key| it.metadata.labels.get(*key).is_some_and(|it| it == app))
    });
    let pod = pod.ok_or_else(|| format!("{node} has no pod of {app}"))?;
    let container = pod.spec.containers.first().map(|it| it.name.clone()).unwrap_or_default();
    Ok((pod.name(), container))
}

/// The changes that words behind `api: ` mean.
pub(crate) fn changes(snapshot: &Snapshot, words: &str) -> Result<Vec<Change>, String> {
    let all: Vec<&str> = words.split_whitespace().collect();
    let change = match all.as_slice() {
        ["service", service, "selector", labels] => {
            let (namespace, name) = named(snapshot, service)?;
            Change::ServiceSelector { namespace, name, selector: selector(labels)? }
        }
        ["service", service, "target-port", port, target] => {
            let (namespace, name) = named(snapshot, service)?;
            let (number, protocol) = port.split_once('/').ok_or_else(unfit)?;
            let protocol = match protocol {
                "tcp" => Protocol::Tcp,
                "udp" => Protocol::Udp,
                other => return Err(format!("expected tcp or udp, found `{other}`")),
            };
            let by_number = target.parse().map(PortNumberOrName::Number);
            Change::ServiceTargetPort {
                namespace,
                name,
                port: parsed(number, "a port")?,
                protocol,
                target: Some(by_number.unwrap_or_else(|_| PortNumberOrName::Name((*target).to_owned()))),
            }
        }
        ["pod", pod, state @ ("unready" | "pending")] => {
            Change::PodUnready { pod: pod.parse::<PodName>()?, is_pending: *state == "pending" }
        }
        _ => return Err(format!("{}, found `{words}`", unfit())),
    };
    Ok(vec![change])
}

fn unfit() -> String {
    format!("expected one of {}", OBJECT_WORDS.join(", "))
}

fn named(snapshot: &Snapshot, text: &str) -> Result<(String, String), String> {
    let (namespace, name) =
        text.split_once('/').ok_or_else(|| format!("expected NAMESPACE/NAME, found `{text}`"))?;
    match snapshot.cluster.service(namespace, name) {
        Some(_) => Ok((namespace.to_owned(), name.to_owned())),
        None => Err(format!("there is no Service {text}")),
    }
}

fn selector(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |it: &str| {
        let (key, value) = it.split_once('=').ok_or_else(|| format!("expected KEY=VALUE, found `{it}`"))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    text.split(',').map(pair).collect()
}
