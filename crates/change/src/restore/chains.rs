//! Packet filters, chain by chain.
//!
//! A chain is written anew as a whole, in one transaction with the others of its table: between the old one and the
//! recorded one there is no third.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{Element, Scope};
use serde_json::{Value, json};

use super::Restoring;
use crate::ruleset::{self, is_rule, nft_objects};

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
        let (now, wanted) = (&self.now.netfilter, &self.wanted.netfilter);
        let mut script = vec![format!("*{table}")];
        let mut rules = Vec::new();
        let mut gone = Vec::new();
        for chain in chains {
            let place = self.place;
            self.open.remove(&Element::iptables_chain(place, tool, table, chain));
            self.open.remove(&Element::iptables_policy(place, tool, table, chain));
            let now = ruleset::policy(now, tool, table, chain);
            match ruleset::policy(wanted, tool, table, chain).as_deref() {
                Some("-") => script.push(format!(":{chain} - [0:0]")),
                Some(policy) => {
                    // A built-in chain keeps its rules when its policy is named, unlike others.
                    script.push(format!(":{chain} {policy} [0:0]"));
                    rules.push(format!("-F {chain}"));
                }
                None if now.as_deref() == Some("-") => {
                    script.push(format!(":{chain} - [0:0]"));
                    gone.push(format!("-X {chain}"));
                }
                // The table is gone as a whole, or was not there: what is left of it has no rules.
                None if now.is_some() => {
                    script.push(format!(":{chain} ACCEPT [0:0]"));
                    rules.push(format!("-F {chain}"));
                }
                None => continue,
            }
            rules.extend(ruleset::rules(wanted, tool, table, chain));
        }
        script.extend(rules);
        script.extend(gone);
        script.push("COMMIT".to_owned());
        let (family, backend) = tool.split_once('-').unwrap_or((tool, "nft"));
        let program = format!("{family}-{backend}-restore");
        self.run_with([&program, "--noflush"], script.join("\n") + "\n");
    }

    fn nft(&mut self, chains: &BTreeSet<(String, String, Option<String>)>) {
        let (now, wanted) = (nft_objects(&self.now.netfilter), nft_objects(&self.wanted.netfilter));
        let (Some(now), Some(wanted)) = (now, wanted) else { return };
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
            let own = wanted.iter().filter(|it| is_rule(it, family, table, chain));
            let rules: Vec<Value> = own.map(|it| without_numbers(&it["rule"])).collect();
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
            self.run_with(["nft", "-j", "-f", "-"], json!({"nftables": commands}).to_string());
        }
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
