//! Resolver configurations: of nodes by their twins, of pods by what kubelet would write.

use hopwise_change::Change;
use hopwise_dns::ResolvConf;
use hopwise_repair::{Action, Persist, Repair, Risk};
use hopwise_snapshot::{Element, File, FileContent, Node, NodeName, Observed, Place};

use super::{Aspect, Basis, Deviation, Intent, nodes, pods, twins};

const RESOLV_CONF: &str = "/etc/resolv.conf";

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    // A file that was emptied is nobody's model, on however many nodes it is.
    let servers = nodes(intent.snapshot).filter_map(|(_, it)| servers_of(it)).filter(|it| !it.is_empty());
    let usual = twins::majority(servers);
    for (name, node) in nodes(intent.snapshot) {
        of_node(intent, name, node, usual.as_ref(), found);
    }
    of_pods(intent, found);
}

/// The name servers that a node's file names.
fn servers_of(node: &Node) -> Option<Vec<std::net::IpAddr>> {
    match node.files.get(RESOLV_CONF)? {
        Observed::Known(file) => Some(servers(file)),
        Observed::Absent => Some(Vec::new()),
        Observed::NotCollected(_) => None,
    }
}

fn servers(file: &File) -> Vec<std::net::IpAddr> {
    ResolvConf::parse(bytes(&file.content)).nameservers.iter().map(|it| it.address).collect()
}

fn bytes(content: &FileContent) -> &[u8] {
    content.bytes()
}

fn of_node(
    intent: &Intent<'_>,
    name: &NodeName,
    node: &Node,
    usual: Option<&Vec<std::net::IpAddr>>,
    found: &mut Vec<Deviation>,
) {
    let (Some(own), Some(usual)) = (servers_of(node), usual) else { return };
    if own == *usual {
        return;
    }
    let place = Place::Node(name.clone());
    let model = nodes(intent.snapshot).find(|(_, it)| servers_of(it).as_ref() == Some(usual));
    let Some(Observed::Known(file)) = model.and_then(|(_, it)| it.files.get(RESOLV_CONF)) else { return };
    let text = String::from_utf8_lossy(bytes(&file.content)).into_owned();
    let change =
        Change::FileWritten { place: place.clone(), path: RESOLV_CONF.to_owned(), content: text.clone() };
    let action = Action::change(change, intent.snapshot, Risk::Persistent, format!("cat {RESOLV_CONF}"));
    found.push(Deviation {
        element: Element::file(&place, RESOLV_CONF),
        place: place.clone(),
        aspect: Aspect::Resolver,
        observed: listed(&own),
        expected: listed(usual),
        basis: Basis::Twins,
        source: RESOLV_CONF.to_owned(),
        repair: Repair::one(Action {
            changes: Vec::new(),
            run: Vec::new(),
            ..action.persisted(Persist::file(&place, node, RESOLV_CONF, text))
        }),
    });
}

fn listed(servers: &[std::net::IpAddr]) -> String {
    if servers.is_empty() {
        return "no name server".to_owned();
    }
    let texts: Vec<String> = servers.iter().map(ToString::to_string).collect();
    format!("nameserver {}", texts.join(", "))
}

/// A pod's file, by that of most pods of the same DNS policy.
fn of_pods(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    let policy = |name: &hopwise_snapshot::PodName| {
        let object = intent.snapshot.cluster.pod(name)?;
        Some((object.spec.dns_policy.clone(), object.spec.dns_config.is_some()))
    };
    let file = |pod: &hopwise_snapshot::Pod| match pod.files.get(RESOLV_CONF) {
        Some(Observed::Known(file)) => Some(String::from_utf8_lossy(bytes(&file.content)).into_owned()),
        Some(Observed::Absent) => Some(String::new()),
        _ => None,
    };
    let of_namespace = |name: &hopwise_snapshot::PodName| name.namespace.clone();
    for (name, pod) in pods(intent.snapshot) {
        let (Some(own_policy), Some(own)) = (policy(name), file(pod)) else { continue };
        if own_policy.1 {
            continue;
        }
        let is_default = own_policy.0 == "Default";
        let alike = pods(intent.snapshot).filter(|(other, it)| {
            policy(other).as_ref() == Some(&own_policy)
                && (is_default || of_namespace(other) == of_namespace(name))
                && it.files.contains_key(RESOLV_CONF)
        });
        let usual = twins::majority(alike.filter_map(|(_, it)| file(it)));
        let usual = if is_default { node_file(intent, &pod.node, &own).or(usual) } else { usual };
        let Some(usual) = usual.filter(|it| *it != own && !it.trim().is_empty()) else { continue };
        let place = Place::Pod(name.clone());
        let change =
            Change::FileWritten { place: place.clone(), path: RESOLV_CONF.to_owned(), content: usual };
        let told = format!("kubectl -n {} delete pod {}", name.namespace, name.name);
        let by = Change::PodRecreated { pod: name.clone() };
        let action = Action::change(change, intent.snapshot, Risk::Restart, format!("cat {RESOLV_CONF}"));
        found.push(Deviation {
            element: Element::file(&place, RESOLV_CONF),
            place: place.clone(),
            aspect: Aspect::Resolver,
            observed: listed(
                &ResolvConf::parse(own.as_bytes())
                    .nameservers
                    .iter()
                    .map(|it| it.address)
                    .collect::<Vec<_>>(),
            ),
            expected: "what kubelet writes".to_owned(),
            basis: Basis::Twins,
            source: RESOLV_CONF.to_owned(),
            repair: Repair::one(Action { by: Some(by), run: vec![told], inverse: Vec::new(), ..action }),
        });
    }
}

/// What a pod of policy Default would get from its node now, or from the node's twins while the node's own file
/// names no server.
fn node_file(intent: &Intent<'_>, node: &NodeName, own: &str) -> Option<String> {
    let text = |node: &Node| match node.files.get(RESOLV_CONF) {
        Some(Observed::Known(file)) => Some(String::from_utf8_lossy(bytes(&file.content)).into_owned()),
        _ => None,
    };
    let has_server = |text: &String| !ResolvConf::parse(text.as_bytes()).nameservers.is_empty();
    if has_server(&own.to_owned()) {
        return None;
    }
    let of_node = intent.snapshot.nodes.get(node).and_then(Observed::known).and_then(text).filter(has_server);
    of_node
        .or_else(|| twins::majority(nodes(intent.snapshot).filter_map(|(_, it)| text(it)).filter(has_server)))
}
