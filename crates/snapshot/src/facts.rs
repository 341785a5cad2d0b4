//! Every fact of a snapshot as one line of text, under the name of its element.
//!
//! This is how two snapshots, or two nodes of one, are compared. Nothing is judged here: a fact that nobody could
//! read is a fact of its own ([`FactKind::NotCollected`]), and never a difference in what it stands for.

mod cluster;
mod host;
mod links;
mod netfilter;
mod nft;
mod routes;
mod traffic;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use sha2::{Digest, Sha256};

pub(crate) use nft::lasting;

use crate::{Element, Observed, Place, Reason, Scope, Snapshot};

/// One fact, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The fact in one line. What has several lines (files, texts of ConfigMaps) is told by its size and a hash; see
    /// [`text`].
    pub text: String,
    /// What a change of it means.
    pub kind: FactKind,
}

/// What a change of a fact means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactKind {
    /// Somebody changed it: a person, a controller, a program.
    Lasting,
    /// It changes by itself while packets flow and time passes: counters, learned addresses, tracked connections.
    Passing,
    /// Nobody could read it; the text says why.
    NotCollected,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Every fact of a snapshot, by the smallest element that it is about.
///
/// Where several facts have one name (two sockets of one port, two routes that differ in their type of service), they
/// are joined by `; ` in the order of their texts.
pub fn facts(snapshot: &Snapshot) -> BTreeMap<Element, Fact> {
    let mut facts = Facts { snapshot, all: BTreeMap::new() };
    for (name, node) in &snapshot.nodes {
        let place = Place::Node(name.clone());
        match node {
            Observed::Known(node) => {
                net_ns(&mut facts, &place, &node.net);
                host::of_node(&mut facts, &place, node);
            }
            Observed::Absent => facts.add(Element::place(&place), "absent".to_owned()),
            Observed::NotCollected(reason) => facts.not_collected(Element::place(&place), reason),
        }
    }
    for (name, pod) in &snapshot.pods {
        let place = Place::Pod(name.clone());
        match pod {
            Observed::Known(pod) => {
                net_ns(&mut facts, &place, &pod.net);
                host::of_pod(&mut facts, &place, pod);
            }
            Observed::Absent => facts.add(Element::place(&place), "absent".to_owned()),
            Observed::NotCollected(reason) => facts.not_collected(Element::place(&place), reason),
        }
    }
    cluster::of_cluster(&mut facts, &snapshot.cluster);
    facts.told()
}

/// Lists whose order decides: the rules of each chain of a packet filter, first to last, under the chain's name.
///
/// The same rules as in [`facts`], which has them by position or handle alone: one rule more moves all behind it.
pub fn chains(snapshot: &Snapshot) -> BTreeMap<Element, Vec<(Element, String)>> {
    let mut chains = BTreeMap::new();
    for place in snapshot.places() {
        if let Some(net) = snapshot.net(&place) {
            chains.extend(netfilter::chains(&place, &net.netfilter));
        }
    }
    chains
}

/// The text behind a fact that has several lines: the content of a file, a text of a ConfigMap. None where the element
/// is not one of those, or its text was not read.
pub fn text<'a>(snapshot: &'a Snapshot, element: &Element) -> Option<Cow<'a, str>> {
    let parts = element.parts();
    let (kind, rest) = parts.split_first()?;
    match (element.scope(), kind.as_str()) {
        (Scope::Place(place), "file") => {
            let file = snapshot.files(&place)?.get(&format!("/{}", rest.join("/")))?.known()?;
            Some(String::from_utf8_lossy(file.content.bytes()))
        }
        (Scope::Cluster, "configmap") => {
            let [namespace, name, key] = rest else { return None };
            snapshot.cluster.config_map(namespace, name)?.data.get(key).map(|it| Cow::Borrowed(it.as_str()))
        }
        _ => None,
    }
}

/// Is nothing known of `element` because `unread`, which was not collected, stands for it?
pub fn hides(unread: &Element, element: &Element) -> bool {
    if unread.covers(element) {
        return true;
    }
    let (unread_parts, parts) = (unread.parts(), element.parts());
    let ([unread_kind], Some(kind)) = (unread_parts.as_slice(), parts.first()) else { return false };
    if unread.scope() != element.scope() {
        return false;
    }
    let aspect = parts.get(2).map(String::as_str);
    match unread_kind.as_str() {
        // Ports, tunnels and programs are read with the links that have them.
        "link" => matches!(kind.as_str(), "bridge" | "tunnel" | "xdp"),
        "address" => kind == "link" && aspect == Some("address"),
        "rule" => kind == "rule6",
        "workload" => matches!(kind.as_str(), "daemonset" | "deployment" | "replicaset" | "statefulset"),
        _ => false,
    }
}

fn net_ns(facts: &mut Facts<'_>, place: &Place, net: &crate::NetNs) {
    links::of_namespace(facts, place, net);
    routes::of_namespace(facts, place, net);
    traffic::of_namespace(facts, place, net);
    netfilter::of_namespace(facts, place, &net.netfilter);
}

/// What was gathered so far.
struct Facts<'a> {
    snapshot: &'a Snapshot,
    all: BTreeMap<Element, (BTreeSet<String>, FactKind)>,
}

impl Facts<'_> {
    fn add(&mut self, element: Element, text: String) {
        self.put(element, text, FactKind::Lasting);
    }

    fn add_passing(&mut self, element: Element, text: String) {
        self.put(element, text, FactKind::Passing);
    }

    fn not_collected(&mut self, element: Element, reason: &Reason) {
        self.put(element, format!("not collected: {reason}"), FactKind::NotCollected);
    }

    /// The items of a list that was read; `whole` stands for a list that was not.
    fn items<'o, T>(&mut self, whole: impl FnOnce() -> Element, list: &'o Observed<Vec<T>>) -> &'o [T] {
        match list {
            Observed::Known(items) => items,
            Observed::Absent => &[],
            Observed::NotCollected(reason) => {
                self.not_collected(whole(), reason);
                &[]
            }
        }
    }

    fn put(&mut self, element: Element, text: String, kind: FactKind) {
        let (texts, old) = self.all.entry(element).or_insert_with(|| (BTreeSet::new(), kind));
        texts.insert(text);
        // What anybody may have changed counts as that.
        *old = kind.min(*old);
    }

    fn told(self) -> BTreeMap<Element, Fact> {
        let told = |(texts, kind): (BTreeSet<String>, FactKind)| Fact {
            text: texts.into_iter().collect::<Vec<_>>().join("; "),
            kind,
        };
        self.all.into_iter().map(|(element, it)| (element, told(it))).collect()
    }
}

/// A text as one line: itself where it is short, else how much of it there is and a hash of it.
fn line(text: &str) -> String {
    let trimmed = text.trim_end_matches('\n');
    if !trimmed.contains('\n') && trimmed.len() <= 200 {
        return trimmed.to_owned();
    }
    let (lines, bytes) = (counted(text.lines().count(), "line"), counted(text.len(), "byte"));
    format!("{lines}, {bytes}, sha256 {}", hash(text.as_bytes()))
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// The first 16 hexadecimal digits of the SHA-256 of some bytes.
fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(8).fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        write!(text, "{byte:02x}").expect("writing to memory does not fail");
        text
    })
}

fn yes_no(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

/// The element of a place with these parts, for kinds that no constructor of [`Element`] names.
fn at<P: AsRef<str>>(place: &Place, parts: impl IntoIterator<Item = P>) -> Element {
    Element::new(&Scope::Place(place.clone()), parts)
}

#[cfg(test)]
mod tests;
