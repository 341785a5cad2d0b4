//! A table of nftables under construction.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::TABLE;
use crate::Family;

/// What a part of a set's keys is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    Address,
    Protocol,
    Port,
}

/// The table of kube-proxy in one family.
pub(super) struct Table {
    family: Family,
    sets: Vec<Set>,
    /// Where a set is.
    places_of_sets: HashMap<String, usize>,
    chains: Vec<Value>,
    /// The rules by their chains, in the order of the chains.
    rules: Vec<Vec<Value>>,
    /// Where a chain is.
    places_of_chains: HashMap<String, usize>,
}

struct Set {
    kind: &'static str,
    body: Value,
    /// By their keys, so that none is there twice.
    elements: BTreeMap<String, Value>,
}

impl Table {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            sets: Vec::new(),
            places_of_sets: HashMap::new(),
            chains: Vec::new(),
            rules: Vec::new(),
            places_of_chains: HashMap::new(),
        }
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    fn family_word(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    fn word(&self, part: Type) -> &'static str {
        match (part, self.family) {
            (Type::Address, Family::V4) => "ipv4_addr",
            (Type::Address, Family::V6) => "ipv6_addr",
            (Type::Protocol, _) => "inet_proto",
            (Type::Port, _) => "inet_service",
        }
    }

    /// A set of addresses.
    pub(super) fn add_set(&mut self, name: &str, comment: &str) {
        let body = json!({
            "family": self.family_word(), "name": name, "table": TABLE, "type": self.word(Type::Address),
            "comment": comment,
        });
        self.push_set(name, "set", body);
    }

    /// A set of the addresses of clients that were seen lately. The kernel's limit of elements is that of every set
    /// that rules fill.
    pub(super) fn add_affinity_set(&mut self, name: &str, seconds: u32) {
        let body = json!({
            "family": self.family_word(), "name": name, "table": TABLE, "type": self.word(Type::Address),
            "size": 65535, "flags": ["timeout"], "timeout": seconds,
        });
        self.push_set(name, "set", body);
    }

    /// A map to verdicts.
    pub(super) fn add_verdict_map(&mut self, name: &str, key: &[Type], comment: &str) {
        let key: Vec<&str> = key.iter().map(|it| self.word(*it)).collect();
        let body = json!({
            "family": self.family_word(), "name": name, "table": TABLE, "type": key, "comment": comment,
            "map": "verdict",
        });
        self.push_set(name, "map", body);
    }

    fn push_set(&mut self, name: &str, kind: &'static str, body: Value) {
        if !self.places_of_sets.contains_key(name) {
            self.places_of_sets.insert(name.to_owned(), self.sets.len());
            self.sets.push(Set { kind, body, elements: BTreeMap::new() });
        }
    }

    /// An element of a set.
    pub(super) fn add_element(&mut self, set: &str, key: Value) {
        self.push_element(set, key.to_string(), key);
    }

    /// An element of a map. Where two are of one key, the first counts.
    pub(super) fn add_verdict(&mut self, map: &str, key: &Value, verdict: &Value, comment: Option<&str>) {
        let named = match comment {
            Some(comment) => json!({"elem": {"val": key, "comment": comment}}),
            None => key.clone(),
        };
        self.push_element(map, key.to_string(), json!([named, verdict]));
    }

    fn push_element(&mut self, set: &str, key: String, element: Value) {
        if let Some(set) = self.places_of_sets.get(set).and_then(|at| self.sets.get_mut(*at)) {
            set.elements.entry(key).or_insert(element);
        }
    }

    /// A chain that the kernel calls.
    pub(super) fn add_base_chain(&mut self, name: &str, kind: &str, hook: &str, priority: i32) {
        let body = json!({
            "family": self.family_word(), "table": TABLE, "name": name, "type": kind, "hook": hook,
            "prio": priority, "policy": "accept",
        });
        self.push_chain(name, body);
    }

    /// A chain that rules lead to.
    pub(super) fn add_chain(&mut self, name: &str) {
        let body = json!({"family": self.family_word(), "table": TABLE, "name": name});
        self.push_chain(name, body);
    }

    fn push_chain(&mut self, name: &str, body: Value) {
        if !self.places_of_chains.contains_key(name) {
            self.places_of_chains.insert(name.to_owned(), self.chains.len());
            self.chains.push(body);
            self.rules.push(Vec::new());
        }
    }

    /// A rule at the end of a chain, which is made where it is not there yet.
    pub(super) fn add_rule(
        &mut self,
        chain: &str,
        statements: impl IntoIterator<Item = Value>,
        comment: Option<&str>,
    ) {
        self.add_chain(chain);
        let statements: Vec<Value> = statements.into_iter().collect();
        let mut rule = json!({
            "family": self.family_word(), "table": TABLE, "chain": chain, "expr": statements,
        });
        if let Some(comment) = comment {
            rule["comment"] = json!(comment);
        }
        if let Some(rules) = self.places_of_chains.get(chain).and_then(|at| self.rules.get_mut(*at)) {
            rules.push(rule);
        }
    }

    /// The items in the order of `nft -j list table`.
    pub(super) fn into_items(self) -> Vec<Value> {
        let mut items = vec![json!({"table": {"family": self.family_word(), "name": TABLE}})];
        for Set { kind, mut body, elements } in self.sets {
            if !elements.is_empty() {
                body["elem"] = Value::Array(elements.into_values().collect());
            }
            items.push(json!({kind: body}));
        }
        items.extend(self.chains.into_iter().map(|it| json!({"chain": it})));
        items.extend(self.rules.into_iter().flatten().map(|it| json!({"rule": it})));
        items
    }
}
