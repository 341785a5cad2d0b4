//! Table `kube-proxy` of nftables, which kube-proxy writes in mode nftables.
//!
//! Rules are compared by their words in the language of nft, elements by their keys and verdicts. Comments decide
//! nothing, and neither does what endpoints remember of their clients.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::{Change, Controller, proxy_host, service_ranges};
use hopwise_controllers::{
    Family,
    kube_proxy::{KubeProxy, KubeProxyConfig, ProxyMode, TABLE},
};
use hopwise_netfilter::{Weight, nft};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, Snapshot};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Aspect, Basis, Deviation, Intent, nodes, rules::MANY};

/// The table of a family, as somebody lists it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listed {
    chains: BTreeMap<String, Chain>,
    /// Sets and maps by name, their elements by key.
    sets: BTreeMap<String, BTreeMap<String, Entry>>,
}

#[derive(Clone, Debug, Default)]
struct Chain {
    /// Where packets enter it, in words; empty for one that rules lead to.
    hook: String,
    /// Handle and words.
    rules: Vec<(Option<u64>, String)>,
    /// Is there a rule that is not understood?
    is_unsure: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    /// As nft prints it in JSON.
    json: Value,
    /// Key and verdict, as nft prints them for people.
    text: String,
}

impl Listed {
    /// The words of the rule with a handle, without its comment; none where something in its chain is not understood.
    pub(crate) fn rule(&self, chain: &str, handle: u64) -> Option<&str> {
        let chain = self.chains.get(chain).filter(|it| !it.is_unsure)?;
        chain.rules.iter().find(|it| it.0 == Some(handle)).map(|it| it.1.as_str())
    }

    /// Does the chain have a rule of these words?
    pub(crate) fn has(&self, chain: &str, words: &str) -> bool {
        self.chains.get(chain).is_some_and(|it| it.rules.iter().any(|own| own.1 == words))
    }

    fn n_rules(&self) -> usize {
        self.chains.values().map(|it| it.rules.len()).sum()
    }
}

/// What kube-proxy would have written on the nodes of a cluster; none where it writes no such tables, or where nobody
/// knows.
pub(crate) struct Wanted<'a> {
    snapshot: &'a Snapshot,
    config: KubeProxyConfig,
    ranges: Vec<IpNet>,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Option<Self> {
        match KubeProxyConfig::of_cluster(&snapshot.cluster) {
            Observed::Known(Ok(config)) if config.mode == ProxyMode::Nftables => {
                Some(Self { snapshot, config, ranges: service_ranges(snapshot) })
            }
            _ => None,
        }
    }

    /// The table of a family on a node.
    pub(crate) fn table(&self, node: &NodeName, family: Family) -> Option<Listed> {
        let host = proxy_host(self.snapshot, node, &self.ranges);
        let proxy = KubeProxy { host, ..KubeProxy::new(&self.snapshot.cluster, node, &self.config) };
        let Observed::Known(items) = proxy.nftables(family) else { return None };
        read(&items)
    }
}

/// The word of a family.
pub(crate) fn word(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// The tables of both families on a node, an empty one where there is none; nothing where they were not read, or not
/// wholly understood.
pub(crate) fn listed(node: &Node) -> BTreeMap<&'static str, Listed> {
    let items = match &node.net.netfilter.nft {
        Observed::NotCollected(_) => return BTreeMap::new(),
        Observed::Absent => Vec::new(),
        Observed::Known(text) => match items(text) {
            Some(items) => items,
            None => return BTreeMap::new(),
        },
    };
    let mut all = BTreeMap::new();
    for family in Family::ALL.map(word) {
        let own: Vec<Value> = items.iter().filter(|it| is_of_table(it, family)).cloned().collect();
        if let Some(table) = read(&own) {
            all.insert(family, table);
        }
    }
    all
}

/// The items of a listing; none where it is none.
fn items(text: &str) -> Option<Vec<Value>> {
    let mut document: Value = serde_json::from_str(text).ok()?;
    match document.get_mut("nftables")?.take() {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

fn is_of_table(item: &Value, family: &str) -> bool {
    let Some((kind, body)) = item.as_object().and_then(|it| it.iter().next()) else { return false };
    let table = if kind == "table" { &body["name"] } else { &body["table"] };
    body["family"] == family && table == TABLE
}

/// Reads the items of one table; none where some may have been lost.
fn read(items: &[Value]) -> Option<Listed> {
    let mut listed = Listed::default();
    for item in items {
        let (kind, body) = item.as_object()?.iter().next()?;
        match kind.as_str() {
            // A rule of which nobody knows what it does.
            "rule" if !body["expr"].is_array() => return None,
            "set" | "map" => {
                let name = body["name"].as_str()?.to_owned();
                let elements = body["elem"].as_array().into_iter().flatten();
                let entries = elements.map(|it| (text(key_of(it)), entry(it))).collect();
                listed.sets.insert(name, entries);
            }
            _ => {}
        }
    }
    let (tables, remarks) = nft::parse(&json!({"nftables": items}).to_string());
    if remarks.iter().any(|it| it.weight == Weight::Lost) {
        return None;
    }
    for chain in tables.iter().flat_map(|it| &it.chains) {
        let hook = chain.base.as_ref().map_or_else(String::new, |it| {
            format!("type {} hook {} priority {}", it.kind.word(), it.hook.word(), it.priority)
        });
        let words = |rule: &hopwise_netfilter::Rule| {
            let comment = rule.comment.as_ref().map(|it| format!(" comment \"{it}\""));
            let own = comment.and_then(|it| rule.text.strip_suffix(&it));
            (rule.handle, own.unwrap_or(&rule.text).to_owned())
        };
        let is_unsure =
            remarks.iter().any(|it| it.rule.as_ref().is_some_and(|rule| rule.chain == chain.name));
        let rules = chain.rules.iter().map(words).collect();
        listed.chains.insert(chain.name.clone(), Chain { hook, rules, is_unsure });
    }
    Some(listed)
}

/// The key of an element, without its comment and what passes.
fn key_of(element: &Value) -> &Value {
    let key = match element.as_array() {
        Some(pair) => pair.first().unwrap_or(element),
        None => element,
    };
    key.get("elem").map_or(key, |it| &it["val"])
}

fn entry(element: &Value) -> Entry {
    let key = text(key_of(element));
    let words = match element.get(1) {
        Some(verdict) => format!("{key} : {}", verdict_text(verdict)),
        None => key,
    };
    Entry { json: element.clone(), text: words }
}

/// A key as nft prints it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => match fields.get("concat").and_then(Value::as_array) {
            Some(parts) => parts.iter().map(text).collect::<Vec<_>>().join(" . "),
            None => value.to_string(),
        },
        other => other.to_string(),
    }
}

/// A verdict as nft prints it.
fn verdict_text(verdict: &Value) -> String {
    match verdict.as_object().and_then(|it| it.iter().next()) {
        Some((word, body)) => match body["target"].as_str() {
            Some(chain) => format!("{word} {chain}"),
            None => word.clone(),
        },
        None => verdict.to_string(),
    }
}

/// Does a chain or set of the table decide what passes, or what is translated? In the words of iptables' tables.
pub(crate) fn kind_of(name: &str) -> &'static str {
    // Names with a slash are those of Services, which may end in anything.
    let is_fixed_filter = name.starts_with("filter-")
        || name.starts_with("no-endpoint-")
        || name.ends_with("-check")
        || matches!(name, "reject-chain" | "cluster-ips");
    let is_filter = name.starts_with("firewall-") || (is_fixed_filter && !name.contains('/'));
    if is_filter { "filter" } else { "nat" }
}

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    let Some(wanted) = Wanted::new(intent.snapshot) else { return };
    for (name, node) in nodes(intent.snapshot) {
        let actual = listed(node);
        for family in Family::ALL {
            let Some(actual) = actual.get(word(family)) else { continue };
            let Some(expected) = wanted.table(name, family) else { continue };
            // A kernel without a family gets no table of it (`platformCheckSupported`, Kubernetes 1.34
            // `cmd/kube-proxy/app/server_linux.go`).
            let has_services = expected.sets.get("cluster-ips").is_some_and(|it| !it.is_empty());
            if !has_services && actual.chains.is_empty() {
                continue;
            }
            let place = Place::Node(name.clone());
            let comparison = Comparison {
                intent,
                node: name,
                place: &place,
                family: word(family),
                expected: &expected,
                actual,
            };
            comparison.find(found);
        }
    }
}

struct Comparison<'a> {
    intent: &'a Intent<'a>,
    node: &'a NodeName,
    place: &'a Place,
    family: &'static str,
    expected: &'a Listed,
    actual: &'a Listed,
}

/// Rules that a chain lacks.
struct Lost<'a> {
    chain: &'a str,
    rules: Vec<&'a str>,
    /// Is the whole chain gone, or called elsewhere?
    is_with_chain: bool,
}

impl Comparison<'_> {
    fn find(&self, found: &mut Vec<Deviation>) {
        let lost = self.lost_rules();
        let n_lost: usize = lost.iter().map(|it| it.rules.len()).sum();
        if n_lost >= MANY || lost.iter().any(|it| it.is_with_chain) {
            let n_all = self.expected.n_rules();
            found.push(self.deviation(
                Element::nft_table(self.place, self.family, TABLE),
                Aspect::OwnedTable,
                format!("{n_lost} of {n_all} rules of kube-proxy are missing"),
                format!("{n_all} rules"),
            ));
            return;
        }
        for it in lost {
            found.push(self.deviation(
                Element::nft_chain(self.place, self.family, TABLE, it.chain),
                Aspect::OwnedRule,
                "missing".to_owned(),
                it.rules.join("; "),
            ));
        }
        for (name, expected) in &self.expected.sets {
            if !name.starts_with("affinity-") {
                self.find_elements(name, expected, found);
            }
        }
    }

    fn lost_rules(&self) -> Vec<Lost<'_>> {
        let mut all = Vec::new();
        for (name, wanted) in &self.expected.chains {
            let held = self.actual.chains.get(name);
            if held.is_some_and(|it| it.is_unsure) {
                continue;
            }
            let words: BTreeSet<&str> =
                held.into_iter().flat_map(|it| &it.rules).map(|it| it.1.as_str()).collect();
            let rules: Vec<&str> =
                wanted.rules.iter().map(|it| it.1.as_str()).filter(|it| !words.contains(it)).collect();
            let is_with_chain = held.is_none_or(|it| it.hook != wanted.hook);
            if !rules.is_empty() || is_with_chain {
                all.push(Lost { chain: name, rules, is_with_chain });
            }
        }
        all
    }

    fn find_elements(&self, set: &str, expected: &BTreeMap<String, Entry>, found: &mut Vec<Deviation>) {
        let empty = BTreeMap::new();
        let held = self.actual.sets.get(set);
        let actual = held.unwrap_or(&empty);
        let mut own = Vec::new();
        let element = |it: &Entry| Element::nft_set_element(self.place, self.family, TABLE, set, &it.json);
        let mut push = |it: &Entry, observed: &str, expected: &str| {
            own.push(self.deviation(
                element(it),
                Aspect::OwnedRule,
                observed.to_owned(),
                expected.to_owned(),
            ));
        };
        for (key, wanted) in expected {
            match actual.get(key) {
                None => push(wanted, "missing", &wanted.text),
                Some(held) if held.text != wanted.text => push(held, &held.text, &wanted.text),
                Some(_) => {}
            }
        }
        for held in actual.iter().filter(|it| !expected.contains_key(it.0)).map(|it| it.1) {
            push(held, &held.text, "no such element");
        }
        if own.len() < MANY && held.is_some() {
            return found.append(&mut own);
        }
        found.push(self.deviation(
            Element::nft_set(self.place, self.family, TABLE, set),
            Aspect::OwnedTable,
            match held {
                Some(_) => format!("{} of its elements are missing, foreign or others", own.len()),
                None => "missing".to_owned(),
            },
            format!("{} elements", expected.len()),
        ));
    }

    fn deviation(&self, element: Element, aspect: Aspect, observed: String, expected: String) -> Deviation {
        let source = format!("nft list table {} {TABLE}", self.family);
        let change = Change::Resynced { node: self.node.clone(), controller: Controller::KubeProxy };
        Deviation {
            element,
            place: self.place.clone(),
            aspect,
            observed,
            expected,
            basis: Basis::Controller(Controller::KubeProxy),
            source: source.clone(),
            repair: Repair::one(Action::change(change, self.intent.snapshot, Risk::Restart, source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The sample without its pods, which no rule depends on.
    fn healthy() -> Snapshot {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../testkit/samples/kubeadm-1.34-flannel-vxlan-nftables");
        let taken_at = "2026-11-21T11:05:00Z".parse().unwrap();
        hopwise_collect::samples::read(&directory, taken_at).unwrap().snapshot
    }

    fn edit(snapshot: &mut Snapshot, edit: impl FnOnce(&mut Vec<Value>)) {
        let netfilter = &mut snapshot.net_mut(&Place::node("n1")).unwrap().netfilter;
        let text = netfilter.nft.known_mut().unwrap();
        let mut all = items(text).unwrap();
        edit(&mut all);
        *text = json!({"nftables": all}).to_string();
    }

    /// What is found, one line each.
    fn lines(snapshot: &Snapshot) -> Vec<String> {
        let mut found = Vec::new();
        find(&Intent::new(snapshot), &mut found);
        found.iter().map(|it| format!("{}: {}, not {}", it.element, it.observed, it.expected)).collect()
    }

    #[test]
    fn a_healthy_cluster_is_as_kube_proxy_writes_it() {
        assert_eq!(lines(&healthy()), [""; 0]);
    }

    #[test]
    fn every_item_whose_absence_matters_is_missed() {
        let snapshot = healthy();
        let text = snapshot.net(&Place::node("n1")).unwrap().netfilter.nft.known().unwrap();
        let own: Vec<usize> = {
            let all = items(text).unwrap();
            let is_own = |at: &usize| is_of_table(&all[*at], "ip");
            (0..all.len()).filter(is_own).collect()
        };
        assert!(own.len() > 80, "{}", own.len());
        for at in own {
            let mut snapshot = snapshot.clone();
            let mut removed = Value::Null;
            edit(&mut snapshot, |all| removed = all.remove(at));
            // A chain takes its rules along, a table everything.
            let chain = removed["chain"]["name"].as_str().map(str::to_owned);
            edit(&mut snapshot, |all| {
                let is_in = |it: &Value| {
                    is_of_table(it, "ip")
                        && (removed.get("table").is_some()
                            || chain.as_ref().is_some_and(|own| it["rule"]["chain"] == own.as_str()))
                };
                all.retain(|it| !is_in(it));
            });
            assert_eq!(lines(&snapshot).len(), 1, "{removed}: {:?}", lines(&snapshot));
        }
    }

    #[test]
    fn the_rule_against_addresses_of_no_service_is_what_the_other_nodes_have() {
        let mut snapshot = healthy();
        edit(&mut snapshot, |all| {
            let is_it = |it: &&mut Value| it["rule"]["comment"] == "Drop traffic to unallocated ClusterIPs";
            let rule = all.iter_mut().find(is_it).unwrap();
            rule["rule"]["expr"][0]["match"]["right"] = json!("10.109.24.14");
        });
        let expected = "node/n1/nft/ip/kube-proxy/cluster-ips-check: missing, not ip daddr 10.96.0.0/12 drop";
        assert_eq!(lines(&snapshot), [expected]);
    }

    #[test]
    fn keys_and_verdicts_are_told_as_nft_prints_them() {
        let element = json!([
            {"elem": {"val": {"concat": ["10.0.0.1", "tcp", 80]}, "comment": "a/b:c"}},
            {"goto": {"target": "reject-chain"}},
        ]);
        assert_eq!(entry(&element).text, "10.0.0.1 . tcp . 80 : goto reject-chain");
        assert_eq!(entry(&json!([{"concat": ["udp", 53]}, {"drop": null}])).text, "udp . 53 : drop");
        assert_eq!(entry(&json!("10.0.0.1")).text, "10.0.0.1");
        for odd in [json!(null), json!([]), json!([{}]), json!([[], 7]), json!({"elem": 7})] {
            let _ = entry(&odd);
        }
    }
}
