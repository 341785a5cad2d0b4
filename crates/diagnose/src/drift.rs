//! Nodes against each other, files against kernels, and what the next boot makes of it.
//!
//! A node that differs from most others is odd, which is no fault by itself. What the next boot changes is predicted from
//! the node's files ([`hopwise_repair::boot`]), made in the model, and diagnosed there like any other state.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::Change;
use hopwise_dns::ResolvConf;
use hopwise_repair::boot::{self, Boot};
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, Snapshot, SysctlKey};

use crate::{Diagnosis, diagnose, intent::twins::majority};

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What the kernel begins with where no file says otherwise, for what a node with pods needs.
const KERNEL_DEFAULTS: [(&str, &str); 1] = [("net/ipv4/ip_forward", "0")];
/// Another name of `net.ipv4.ip_forward`, which says nothing new.
const OTHER_NAME: &str = "net/ipv4/conf/all/forwarding";
/// Plugins that switch forwarding on when they make a pod's interface (containernetworking/plugins v1.7, `bridge.go`,
/// `ptp.go`: `enableIPForward`); flannel's delegates to `bridge`.
const FORWARDING_PLUGINS: [&str; 3] = ["\"bridge\"", "\"ptp\"", "\"flannel\""];

/// What is odd about nodes, and what their next boot changes.
#[derive(Clone, Debug)]
pub struct Drift {
    /// How many nodes were read.
    pub n_nodes: usize,
    /// Where a node differs from most others, or where there is no majority and each is named.
    pub odd: Vec<Odd>,
    /// Kernel switches that the next boot sets otherwise than they are now.
    pub next_boot: Vec<Predicted>,
    /// Kernel switches that `sysctl --system` would set otherwise than the next boot does.
    pub reload: Vec<Predicted>,
    /// Lines of these files that nobody understands, as element and text.
    pub not_understood: Vec<(Element, String)>,
    /// Places whose files were not read, so that nothing is predicted for them.
    pub not_predicted: Vec<Element>,
    /// What the cluster is like after the next boot of every node, by the model.
    pub after: Diagnosis,
}

/// A node that differs from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Odd {
    /// The node.
    pub node: NodeName,
    /// Where: a switch, or the line of a file that decides.
    pub element: Element,
    /// What is compared, for a person.
    pub what: String,
    /// What the node has; none where it has nothing of this.
    pub found: Option<String>,
    /// The file and line that says so.
    pub line: Option<String>,
    /// What most others have, each of the others where there is no majority.
    pub others: Vec<Others>,
}

/// What other nodes have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Others {
    /// The value; none where they have nothing of this.
    pub value: Option<String>,
    /// Who they are.
    pub nodes: Vec<NodeName>,
    /// The file and line that says so on the first of them.
    pub line: Option<String>,
}

/// A kernel switch that gets another value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Predicted {
    /// The switch.
    pub element: Element,
    /// Its value now.
    pub now: String,
    /// Its value then.
    pub then: String,
    /// The file and line that sets it; none where no file does and the kernel's own default comes back.
    pub line: Option<String>,
}

/// Compares the nodes of a snapshot with each other and with their own files.
pub fn drift(snapshot: &Snapshot) -> Drift {
    let nodes: Vec<(&NodeName, &Node)> =
        snapshot.nodes.iter().filter_map(|(name, node)| Some((name, node.known()?))).collect();
    let mut next_boot = Vec::new();
    let mut reload = Vec::new();
    let mut not_understood = Vec::new();
    let mut not_predicted = Vec::new();
    let mut then = snapshot.clone();
    for (name, node) in &nodes {
        let place = Place::Node((*name).clone());
        let (Observed::Known(own), Observed::Known(by_procps)) = (boot::boot(node), boot::reload(node))
        else {
            not_predicted.push(Element::place(&place));
            continue;
        };
        let booted = predicted(&place, node, &own);
        for (key, it) in &booted {
            let change = Change::Sysctl { place: place.clone(), key: key.clone(), value: it.then.clone() };
            // The switch is one that the node has: nothing about setting it can fail.
            drop(change.apply(&mut then));
        }
        let is_new = |key: &SysctlKey, it: &Predicted| booted.get(key).is_none_or(|own| own.then != it.then);
        let reloaded = predicted(&place, node, &by_procps).into_iter();
        reload.extend(reloaded.filter(|(key, it)| is_new(key, it)).map(|(_, it)| it));
        next_boot.extend(booted.into_values());
        let lines = own.not_understood.into_iter();
        not_understood
            .extend(lines.map(|(path, line, text)| (Element::file_line(&place, &path, line), text)));
    }
    Drift {
        n_nodes: nodes.len(),
        odd: odd(&nodes),
        next_boot,
        reload,
        not_understood,
        not_predicted,
        after: diagnose(&then),
    }
}

/// The switches that a reading of the files sets otherwise than they are.
fn predicted(place: &Place, node: &Node, boot: &Boot) -> BTreeMap<SysctlKey, Predicted> {
    let mut all = BTreeMap::new();
    let Some(sysctls) = node.net.sysctls.known() else { return all };
    for (key, now) in sysctls.values.iter().filter(|(key, _)| key.path() != OTHER_NAME) {
        let element = Element::sysctl(place, key);
        let decided =
            boot.decides(key).map(|it| (it.value.clone(), Some(format!("{}:{}", it.path, it.line))));
        let Some((then, line)) = decided.or_else(|| kernel_default(node, key).map(|it| (it, None))) else {
            continue;
        };
        // The kernel prints lists with tabs.
        if now.split_whitespace().ne(then.split_whitespace()) {
            all.insert(key.clone(), Predicted { element, now: now.clone(), then, line });
        }
    }
    all
}

/// What comes back where no file sets a switch; none where something else sets it, or nobody knows.
fn kernel_default(node: &Node, key: &SysctlKey) -> Option<String> {
    let (_, default) = KERNEL_DEFAULTS.iter().find(|(path, _)| *path == key.path())?;
    let mut configs = node.files.iter().filter(|(path, _)| path.starts_with("/etc/cni/net.d/"));
    let sets = configs.any(|(_, file)| match file {
        Observed::Known(file) => {
            let text = String::from_utf8_lossy(file.content.bytes());
            FORWARDING_PLUGINS.iter().any(|it| text.contains(it))
        }
        Observed::Absent => false,
        Observed::NotCollected(_) => true,
    });
    (!sets).then(|| (*default).to_owned())
}

/// What a node has of something that is compared.
#[derive(Clone)]
struct Has {
    value: Option<String>,
    element: Element,
    line: Option<String>,
}

/// Where nodes differ from each other.
fn odd(nodes: &[(&NodeName, &Node)]) -> Vec<Odd> {
    let compared: Vec<(&NodeName, BTreeMap<String, Has>)> =
        nodes.iter().map(|(name, node)| (*name, compared(name, node))).collect();
    let names: BTreeSet<&String> = compared.iter().flat_map(|(_, it)| it.keys()).collect();
    let mut odd = Vec::new();
    for what in names {
        // Who was not read there is not compared.
        let known: Vec<(&NodeName, &Has)> =
            compared.iter().filter_map(|(name, it)| Some((*name, it.get(what)?))).collect();
        let usual = majority(known.iter().map(|(_, it)| it.value.clone()));
        for (name, own) in &known {
            let is_odd = usual.as_ref().map_or_else(
                || known.iter().any(|(_, it)| it.value != own.value),
                |usual| *usual != own.value,
            );
            if !is_odd {
                continue;
            }
            odd.push(Odd {
                node: (*name).clone(),
                element: own.element.clone(),
                what: what.clone(),
                found: own.value.clone(),
                line: own.line.clone(),
                others: others(&known, own),
            });
        }
    }
    odd.sort();
    odd
}

/// What those have that differ from one node, the most frequent first.
fn others(known: &[(&NodeName, &Has)], own: &Has) -> Vec<Others> {
    let mut all: BTreeMap<Option<String>, Others> = BTreeMap::new();
    for (name, has) in known.iter().filter(|(_, it)| it.value != own.value) {
        let entry = all.entry(has.value.clone()).or_insert_with(|| Others {
            value: has.value.clone(),
            nodes: Vec::new(),
            line: has.line.clone(),
        });
        entry.nodes.push((*name).clone());
    }
    let mut all: Vec<Others> = all.into_values().collect();
    all.sort_by_key(|it| std::cmp::Reverse(it.nodes.len()));
    all
}

/// What is compared of a node, by its name. What was not read is not there; what is known to be absent has no value.
fn compared(name: &NodeName, node: &Node) -> BTreeMap<String, Has> {
    let place = Place::Node(name.clone());
    let mut all = BTreeMap::new();
    switches(&place, node, &mut all);
    if let Observed::Known(boot) = boot::boot(node) {
        // Each of these is looked for on every node, so that one that lacks it shows.
        for key in [
            "net.ipv4.ip_forward",
            "net.bridge.bridge-nf-call-iptables",
            "net.bridge.bridge-nf-call-ip6tables",
        ] {
            absent(
                &mut all,
                format!("file setting of {key}"),
                Element::sysctl(&place, &SysctlKey::from_dotted(key)),
            );
        }
        for (key, setting) in &boot.settings {
            let has = Has {
                value: Some(setting.value.clone()),
                element: Element::file_line(&place, &setting.path, setting.line),
                line: Some(format!("{}:{}", setting.path, setting.line)),
            };
            all.insert(format!("file setting of {key}"), has);
        }
    }
    if let Observed::Known(modules) = boot::modules(node) {
        absent(&mut all, "module br_netfilter at boot".to_owned(), Element::module(name, "br_netfilter"));
        for (module, line) in modules {
            let has = Has {
                value: Some("loaded".to_owned()),
                element: Element::module(name, &module),
                line: Some(line),
            };
            all.insert(format!("module {module} at boot"), has);
        }
    }
    resolver(&place, node, &mut all);
    all
}

fn absent(all: &mut BTreeMap<String, Has>, what: String, element: Element) {
    all.insert(what, Has { value: None, element, line: None });
}

/// Switches whose meaning does not depend on what a node is called or how many pods it has.
fn switches(place: &Place, node: &Node, all: &mut BTreeMap<String, Has>) {
    let Some(sysctls) = node.net.sysctls.known() else { return };
    for (key, value) in &sysctls.values {
        let is_of_link = key.link_and_leaf().is_some_and(|(link, _)| !matches!(link, "all" | "default"));
        let is_compared = ["net/ipv4/ip_forward", "net/bridge/", "net/ipv4/conf/", "net/ipv6/conf/"]
            .iter()
            .chain(&["net/ipv4/ip_local", "net/ipv4/icmp_echo", "net/netfilter/nf_conntrack_"])
            .any(|it| key.path().starts_with(it));
        if is_compared && key.path() != OTHER_NAME && !is_of_link && !key.path().ends_with("_count") {
            let element = Element::sysctl(place, key);
            all.insert(format!("switch {key}"), Has { value: Some(value.clone()), element, line: None });
        }
    }
}

/// The name servers and search list of a node.
fn resolver(place: &Place, node: &Node, all: &mut BTreeMap<String, Has>) {
    let element = Element::file(place, RESOLV_CONF);
    let (servers, search, line) = match node.files.get(RESOLV_CONF) {
        Some(Observed::Known(file)) => {
            let read = ResolvConf::parse(file.content.bytes());
            let servers: Vec<String> = read.used_nameservers().iter().map(ToString::to_string).collect();
            let line = read.nameservers.first().map(|it| format!("{RESOLV_CONF}:{}", it.line));
            (servers.join(", "), read.search.join(" "), line)
        }
        Some(Observed::Absent) => (String::new(), String::new(), None),
        Some(Observed::NotCollected(_)) | None => return,
    };
    let value = |it: String| (!it.is_empty()).then_some(it);
    let has = |value, line| Has { value, element: element.clone(), line };
    all.insert("name servers".to_owned(), has(value(servers), line));
    all.insert("search list".to_owned(), has(value(search), None));
}
