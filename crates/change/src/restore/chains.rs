//! Packet filters, chain by chain.
//!
//! A chain is written anew as a whole, in one transaction with the others of its table: between the old one and the
//! recorded one there is no third.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{Element, Netfilter, Scope};
use serde_json::{Value, json};

use super::Restoring;
use crate::ruleset::{rules_of, table_lines, text_known};

const TOOLS: [&str; 4] = ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"];

impl Restoring<'_> {
    pub(super) fn chains(&mut self) {
        let (mut tables, mut nft) = (BTreeMap::new(), BTreeSet::new());
        for element in &self.open {
            let parts = element.parts();
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            match parts.as_slice() {
                [tool, table, chain] | [tool, table, chain, "policy"] if TOOLS.contains(tool) => {
                    let key = ((*tool).to_owned(), (*table).to_owned());
                    tables.entry(key).or_insert_with(BTreeSet::new).insert((*chain).to_owned());
                }
                ["nft", family, table, rest @ ..] => {
                    let chain = match rest {
                        [] => None,
                        [chain] | [chain, "policy"] => Some((*chain).to_owned()),
                        _ => continue,
                    };
                    nft.insert(((*family).to_owned(), (*table).to_owned(), chain));
                }
                _ => {}
            }
        }
        for ((tool, table), chains) in tables {
            self.iptables(&tool, &table, &chains);
        }
        self.nft(&nft);
    }

    fn iptables(&mut self, tool: &str, table: &str, chains: &BTreeSet<String>) {
        let now = Table::of(&self.now.netfilter, tool, table);
        let wanted = Table::of(&self.wanted.netfilter, tool, table);
        let mut script = vec![format!("*{table}")];
        let mut rules = Vec::new();
        let mut gone = Vec::new();
        for chain in chains {
            let place = self.place;
            self.open.remove(&Element::iptables_chain(place, tool, table, chain));
            self.open.remove(&Element::iptables_policy(place, tool, table, chain));
            match wanted.policy(chain) {
                Some("-") => script.push(format!(":{chain} - [0:0]")),
                Some(policy) => {
                    // A built-in chain keeps its rules when its policy is named, unlike others.
                    script.push(format!(":{chain} {policy} [0:0]"));
                    rules.push(format!("-F {chain}"));
                }
                None if now.policy(chain) == Some("-") => {
                    script.push(format!(":{chain} - [0:0]"));
                    gone.push(format!("-X {chain}"));
                }
                // The table is gone as a whole, or was not there: what is left of it has no rules.
                None if now.policy(chain).is_some() => {
                    script.push(format!(":{chain} ACCEPT [0:0]"));
                    rules.push(format!("-F {chain}"));
                }
                None => continue,
            }
            rules.extend(wanted.rules(chain));
        }
        script.extend(rules);
        script.extend(gone);
        script.push("COMMIT".to_owned());
        let (family, backend) = tool.split_once('-').unwrap_or((tool, "nft"));
        let program = format!("{family}-{backend}-restore");
        self.run_with(&[&program, "--noflush"], script.join("\n") + "\n");
    }

    fn nft(&mut self, chains: &BTreeSet<(String, String, Option<String>)>) {
        let (Some(now), Some(wanted)) = (listing(&self.now.netfilter), listing(&self.wanted.netfilter))
        else {
            return;
        };
        let is_table = |all: &[Value], family: &str, table: &str| {
            let mut tables = all.iter().filter_map(|it| it.get("table"));
            tables.any(|it| it["family"] == *family && it["name"] == *table)
        };
        let mut commands = Vec::new();
        let mut gone = Vec::new();
        for (family, table, chain) in chains {
            let Some(chain) = chain else {
                let command = json!({"table": {"family": family, "name": table}});
                if is_table(&wanted, family, table) {
                    commands.push(json!({"add": command}));
                } else if is_table(&now, family, table) {
                    gone.push(json!({"delete": command}));
                }
                let scope = Scope::Place(self.place.clone());
                self.open.remove(&Element::new(&scope, ["nft", family, table]));
                continue;
            };
            let find = |all: &[Value]| {
                let found = all.iter().filter_map(|it| it.get("chain"));
                found.into_iter().find(|it| is_chain(it, family, table, chain)).cloned()
            };
            let rules: Vec<Value> = wanted
                .iter()
                .filter_map(|it| it.get("rule"))
                .filter(|it| it["family"] == **family && it["table"] == **table && it["chain"] == **chain)
                .map(without_numbers)
                .collect();
            // nft shows some matches of iptables by name alone; sets are not written yet.
            if rules.iter().any(|it| it.to_string().contains("\"xt\":")) {
                continue;
            }
            let name = json!({"family": family, "table": table, "name": chain});
            match (find(&now), find(&wanted)) {
                (found, Some(chain)) => {
                    commands.push(json!({"add": {"chain": without_numbers(&chain)}}));
                    if found.is_some() {
                        commands.push(json!({"flush": {"chain": name}}));
                    }
                    commands.extend(rules.into_iter().map(|it| json!({"add": {"rule": it}})));
                }
                (Some(_), None) => {
                    commands.push(json!({"flush": {"chain": name.clone()}}));
                    commands.push(json!({"delete": {"chain": name}}));
                }
                (None, None) => continue,
            }
            let place = self.place;
            self.open.remove(&Element::nft_chain(place, family, table, chain));
            self.open.remove(&Element::nft_policy(place, family, table, chain));
        }
        commands.extend(gone);
        if !commands.is_empty() {
            self.run_with(&["nft", "-j", "-f", "-"], json!({"nftables": commands}).to_string());
        }
    }
}

/// One table of what a tool prints.
struct Table<'a> {
    lines: Vec<&'a str>,
    span: Option<(usize, usize)>,
}

impl<'a> Table<'a> {
    fn of(facts: &'a Netfilter, tool: &str, table: &str) -> Self {
        let lines: Vec<&str> = text_known(facts, tool).map(|it| it.lines().collect()).unwrap_or_default();
        let span = table_lines(&lines, table);
        Self { lines, span }
    }

    /// The policy of a chain; `-` for one that somebody made, none where there is no such chain.
    fn policy(&self, chain: &str) -> Option<&'a str> {
        let (start, end) = self.span?;
        let head = format!(":{chain} ");
        let line = self.lines[start..end].iter().find_map(|it| it.strip_prefix(&head))?;
        line.split_whitespace().next()
    }

    /// Its rules, each as `-A CHAIN …`.
    fn rules(&self, chain: &str) -> Vec<String> {
        let Some(span) = self.span else { return Vec::new() };
        let text = |at: usize| {
            let line = self.lines[at];
            line.strip_prefix('[')
                .and_then(|it| it.split_once("] "))
                .map_or(line, |(_, rule)| rule)
                .to_owned()
        };
        rules_of(&self.lines, span, chain).into_iter().map(text).collect()
    }
}

fn listing(facts: &Netfilter) -> Option<Vec<Value>> {
    let Some(text) = facts.nft.known() else { return Some(Vec::new()) };
    let mut document: Value = serde_json::from_str(text).ok()?;
    match document.get_mut("nftables").map(Value::take) {
        Some(Value::Array(all)) => Some(all),
        _ => None,
    }
}

fn is_chain(chain: &Value, family: &str, table: &str, name: &str) -> bool {
    chain["family"] == *family && chain["table"] == *table && chain["name"] == *name
}

/// An object as it is added: the kernel numbers it anew.
fn without_numbers(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("handle");
        fields.remove("index");
    }
    object
}
