//! What brings back a state that was recorded.
//!
//! [`settings`] is a snapshot as far as somebody sets it, element by element: what the kernel derives from that by
//! itself, and what changes while time passes, is left out. [`restore`] gives the commands that set elements back to
//! what they were in another snapshot.
//!
//! One round of commands need not be enough: an interface that is made anew takes its addresses and routes along, and
//! what hangs on it is only seen to be gone when the state is read again. Whoever restores reads, restores what differs,
//! and reads again, until nothing differs or nothing changes any more.
//!
//! What is deliberately absent: anything about repairs. Two snapshots and a set of elements are all that counts here.

mod chains;
mod links;
mod routes;

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{
    Element, FileContent, NetNs, Observed, Place, Scope, Snapshot,
    facts::{FactKind, chains as chains_of, facts},
};

pub use links::tunnel_words;

use crate::{Change, Command};

/// What is set, by element: each a text that is equal where the setting is.
pub type Settings = BTreeMap<Element, String>;

/// What somebody sets at the places of a snapshot.
///
/// The rules of a chain are one setting, under the chain's name: their order decides, and a rule has no name of its own
/// that lasts.
pub fn settings(snapshot: &Snapshot) -> Settings {
    let lasting = facts(snapshot).into_iter().filter(|(_, it)| it.kind == FactKind::Lasting);
    let set = lasting.filter(|(it, _)| is_set(it));
    let mut all: Settings = set.map(|(element, fact)| (element, without_passing(&fact.text))).collect();
    for (chain, rules) in chains_of(snapshot) {
        let mut text = all.remove(&chain).unwrap_or_default();
        for (element, rule) in rules {
            all.remove(&element);
            text.push('\n');
            text.push_str(&rule);
        }
        all.insert(chain, text);
    }
    all
}

/// A setting without what the kernel says of it for a while: that nobody knows yet whether another has an address, that
/// a route's interface has no carrier.
fn without_passing(text: &str) -> String {
    let passing = ["tentative", "linkdown", "dead"];
    if !passing.iter().any(|it| text.contains(it)) {
        return text.to_owned();
    }
    text.split(' ').filter(|it| !passing.contains(it)).collect::<Vec<_>>().join(" ")
}

/// What is set of an interface.
const LINK_ASPECTS: [&str; 6] = ["up", "mtu", "arp", "mac", "master", "kind"];

/// Is this something that somebody sets, and no consequence of it?
fn is_set(element: &Element) -> bool {
    if !matches!(element.scope(), Scope::Place(_)) {
        return false;
    }
    let parts = element.parts();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["link", _, aspect] => LINK_ASPECTS.contains(aspect),
        [kind, ..] => !matches!(
            *kind,
            "netns" | "node" | "kernel" | "module" | "directory" | "process" | "socket" | "conntrack"
        ),
        [] => false,
    }
}

/// Does the kernel write this by itself for an address of an interface that is up, and some time later: once it knows that
/// nobody else has the address (`addrconf_dad_completed`, net/ipv6/addrconf.c)?
pub fn follows(element: &Element, text: &str) -> bool {
    let parts = element.parts();
    match parts.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["route", ..] => text.contains("proto kernel"),
        // An interface that gets its carrier late gets its own address then.
        ["link", _, "address", address] => address.starts_with("fe80:"),
        _ => false,
    }
}

/// The elements that two states have differently.
pub fn differing(one: &Settings, other: &Settings) -> BTreeSet<Element> {
    let all: BTreeSet<&Element> = one.keys().chain(other.keys()).collect();
    all.into_iter().filter(|it| one.get(*it) != other.get(*it)).cloned().collect()
}

/// What to run to have elements as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restoration {
    /// The commands, in order.
    pub commands: Vec<Command>,
    /// The elements that no command brings back.
    pub left: BTreeSet<Element>,
}

/// The commands that bring `elements`, which differ, from what they are in `now` to what they are in `wanted`.
pub fn restore(now: &Snapshot, wanted: &Snapshot, elements: &BTreeSet<Element>) -> Restoration {
    let mut by_place: BTreeMap<Place, BTreeSet<&Element>> = BTreeMap::new();
    let mut all = Restoration::default();
    for element in elements {
        match element.scope() {
            Scope::Place(place) => drop(by_place.entry(place).or_default().insert(element)),
            _ => drop(all.left.insert(element.clone())),
        }
    }
    for (place, elements) in by_place {
        let (Some(net_now), Some(net_wanted)) = (now.net(&place), wanted.net(&place)) else {
            all.left.extend(elements.into_iter().cloned());
            continue;
        };
        let mut restoring = Restoring {
            place: &place,
            now: net_now,
            wanted: net_wanted,
            open: elements,
            commands: Vec::new(),
        };
        restoring.links();
        restoring.routes();
        restoring.chains();
        restoring.sysctls();
        restoring.files(now, wanted);
        all.left.extend(restoring.open.into_iter().cloned());
        all.commands.extend(restoring.commands);
    }
    all
}

/// The restoration of one place.
struct Restoring<'a> {
    place: &'a Place,
    now: &'a NetNs,
    wanted: &'a NetNs,
    /// What nothing was found for yet.
    open: BTreeSet<&'a Element>,
    commands: Vec<Command>,
}

impl Restoring<'_> {
    /// Is this element to be restored? It counts as done from here on.
    fn takes(&mut self, element: &Element) -> bool {
        self.open.remove(element)
    }

    fn change(&mut self, change: &Change) {
        self.commands.extend(change.commands());
    }

    fn run<W: Into<String>>(&mut self, words: impl IntoIterator<Item = W>) {
        self.run_with(words, String::new());
    }

    fn run_with<W: Into<String>>(&mut self, words: impl IntoIterator<Item = W>, input: String) {
        let arguments = words.into_iter().map(Into::into).collect();
        self.commands.push(Command { place: Some(self.place.clone()), arguments, input });
    }

    fn sysctls(&mut self) {
        let (wanted, now) = (self.wanted.sysctls.known(), self.now.sysctls.known());
        let (Some(wanted), Some(now)) = (wanted, now) else { return };
        for (key, value) in &wanted.values {
            // One that is gone went with its interface, or its module: there is nothing to write to.
            let is_there = now.values.contains_key(key);
            if is_there && self.takes(&Element::sysctl(self.place, key)) {
                let (place, value) = (self.place.clone(), value.clone());
                self.change(&Change::Sysctl { place, key: key.clone(), value });
            }
        }
        for key in now.values.keys().filter(|it| !wanted.values.contains_key(*it)) {
            self.takes(&Element::sysctl(self.place, key));
        }
    }

    fn files(&mut self, now: &Snapshot, wanted: &Snapshot) {
        let (now, wanted) = (now.files(self.place), wanted.files(self.place));
        let paths: BTreeSet<&String> = [now, wanted].into_iter().flatten().flat_map(BTreeMap::keys).collect();
        for path in paths {
            let element = Element::file(self.place, path);
            if !self.open.contains(&element) {
                continue;
            }
            let is = now.and_then(|it| it.get(path)?.known());
            let content = match wanted.and_then(|it| it.get(path)) {
                // Through a link that still points where it did.
                Some(Observed::Known(file)) => match &file.content {
                    FileContent::Text(text)
                        if file.n_redacted == 0
                            && file.link_target.as_ref() == is.and_then(|it| it.link_target.as_ref()) =>
                    {
                        Some(text.clone())
                    }
                    // What was cut out, or is no text, is not there to be written.
                    _ => continue,
                },
                Some(Observed::Absent) | None => None,
                Some(Observed::NotCollected(_)) => continue,
            };
            self.takes(&element);
            let (place, path) = (self.place.clone(), path.clone());
            self.change(&match content {
                Some(content) => Change::FileWritten { place, path, content },
                None => Change::FileRemoved { place, path },
            });
        }
    }
}
