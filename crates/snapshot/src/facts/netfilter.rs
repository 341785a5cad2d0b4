//! Packet filters: the lines of the tools that print them.
//!
//! The texts are split, not understood: a rule is what its tool prints, without its counters.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, at, nft};
use crate::{Element, Netfilter, Observed, Place};

/// Chains with their rules, first to last.
pub(super) type Chains = BTreeMap<Element, Vec<(Element, String)>>;

pub(super) fn of_namespace(facts: &mut Facts<'_>, place: &Place, netfilter: &Netfilter) {
    for (tool, text) in save_texts(netfilter) {
        match text {
            Observed::Known(text) => of_save(facts, place, tool, text),
            Observed::Absent => {}
            Observed::NotCollected(reason) => facts.not_collected(at(place, [tool]), reason),
        }
    }
    match &netfilter.nft {
        Observed::Known(text) => nft::of_listing(facts, place, text, &tables_of_iptables(netfilter)),
        Observed::Absent => {}
        Observed::NotCollected(reason) => facts.not_collected(at(place, ["nft"]), reason),
    }
    match &netfilter.ipsets {
        Observed::Known(text) => of_ipsets(facts, place, text),
        Observed::Absent => {}
        Observed::NotCollected(reason) => facts.not_collected(at(place, ["ipset"]), reason),
    }
}

pub(super) fn chains(place: &Place, netfilter: &Netfilter) -> Chains {
    let mut chains = Chains::new();
    for (tool, text) in save_texts(netfilter) {
        let Observed::Known(text) = text else { continue };
        for line in save_lines(text) {
            if let SaveLine::Rule { table, chain, position, text, .. } = line {
                let whole = Element::iptables_chain(place, tool, table, chain);
                let rule = Element::iptables_rule(place, tool, table, chain, position);
                chains.entry(whole).or_default().push((rule, text.to_owned()));
            }
        }
    }
    if let Observed::Known(text) = &netfilter.nft {
        nft::add_chains(&mut chains, place, text, &tables_of_iptables(netfilter));
    }
    chains
}

fn save_texts(netfilter: &Netfilter) -> [(&'static str, &Observed<String>); 5] {
    [
        ("iptables-nft", &netfilter.iptables_nft.ipv4),
        ("ip6tables-nft", &netfilter.iptables_nft.ipv6),
        ("iptables-legacy", &netfilter.iptables_legacy.ipv4),
        ("ip6tables-legacy", &netfilter.iptables_legacy.ipv6),
        ("arptables-legacy", &netfilter.arptables_legacy),
    ]
}

/// A line of what `iptables-save -c` and its like print.
enum SaveLine<'a> {
    Policy { table: &'a str, chain: &'a str, policy: &'a str, counters: &'a str },
    Rule { table: &'a str, chain: &'a str, position: usize, text: &'a str, counters: &'a str },
    NotUnderstood { number: usize, text: &'a str },
}

/// The lines of a text, each with its table; comments and the frame left out.
fn save_lines(text: &str) -> Vec<SaveLine<'_>> {
    let mut lines = Vec::new();
    let mut table = "";
    let mut positions: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "COMMIT" {
            continue;
        }
        if let Some(name) = line.strip_prefix('*') {
            table = name;
            positions.clear();
            continue;
        }
        if let Some(rest) = line.strip_prefix(':') {
            let mut words = rest.splitn(3, ' ');
            let (chain, policy) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            lines.push(SaveLine::Policy { table, chain, policy, counters: words.next().unwrap_or("") });
            continue;
        }
        let (counters, rule) = match line.strip_prefix('[').and_then(|it| it.split_once("] ")) {
            Some((counters, rule)) => (counters, rule),
            None => ("", line),
        };
        let Some(chain) = rule.strip_prefix("-A ").and_then(|it| it.split(' ').next()) else {
            lines.push(SaveLine::NotUnderstood { number, text: line });
            continue;
        };
        let position = positions.entry(chain).or_default();
        *position += 1;
        lines.push(SaveLine::Rule { table, chain, position: *position, text: rule, counters });
    }
    lines
}

fn of_save(facts: &mut Facts<'_>, place: &Place, tool: &str, text: &str) {
    let mut counted = |element: &Element, counters: &str| {
        let counters = counters.trim_matches(['[', ']']);
        if !counters.is_empty() {
            let mut parts = element.parts();
            parts.push("counters".to_owned());
            facts.add_passing(at(place, parts), counters.to_owned());
        }
    };
    let lines = save_lines(text);
    for line in &lines {
        match line {
            SaveLine::Policy { policy: "-", .. } | SaveLine::NotUnderstood { .. } => {}
            SaveLine::Policy { table, chain, counters, .. } => {
                counted(&Element::iptables_policy(place, tool, table, chain), counters);
            }
            SaveLine::Rule { table, chain, position, counters, .. } => {
                counted(&Element::iptables_rule(place, tool, table, chain, *position), counters);
            }
        }
    }
    for line in lines {
        match line {
            // A chain that somebody made has no policy.
            SaveLine::Policy { table, chain, policy: "-", .. } => {
                facts.add(Element::iptables_chain(place, tool, table, chain), "a chain".to_owned());
            }
            SaveLine::Policy { table, chain, policy, .. } => {
                facts.add(Element::iptables_policy(place, tool, table, chain), policy.to_owned());
            }
            SaveLine::Rule { table, chain, position, text, .. } => {
                let element = Element::iptables_rule(place, tool, table, chain, position);
                facts.add(element, text.to_owned());
            }
            SaveLine::NotUnderstood { number, text } => {
                facts.add(at(place, [tool, "line", &number.to_string()]), text.to_owned());
            }
        }
    }
}

/// The tables that iptables-nft and ip6tables-nft show; in nft's own listing they are the same state once more, with
/// handles that are new after each time that a controller writes them.
fn tables_of_iptables(netfilter: &Netfilter) -> BTreeSet<(&str, &str)> {
    let mut tables = BTreeSet::new();
    for (family, text) in [("ip", &netfilter.iptables_nft.ipv4), ("ip6", &netfilter.iptables_nft.ipv6)] {
        if let Observed::Known(text) = text {
            tables.extend(text.lines().filter_map(|it| it.trim().strip_prefix('*')).map(|it| (family, it)));
        }
    }
    tables
}

/// `ipset save`: `create NAME TYPE …` and `add NAME ENTRY …`. Times and counters of entries pass.
fn of_ipsets(facts: &mut Facts<'_>, place: &Place, text: &str) {
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some("create"), Some(set), Some(rest)) => {
                facts.add(Element::ipset(place, set), rest.to_owned());
            }
            (Some("add"), Some(set), Some(rest)) => {
                let (entry, options) = rest.split_once(' ').unwrap_or((rest, ""));
                let element = at(place, ["ipset", set, "entry", entry]);
                facts.add(element, without_passing(options));
            }
            _ if line.is_empty() || line.starts_with('#') => {}
            _ => facts.add(at(place, ["ipset", "line", &number.to_string()]), line.to_owned()),
        }
    }
}

/// The options of an entry, its counters and its remaining time left out.
fn without_passing(options: &str) -> String {
    let mut kept = vec!["there"];
    let mut words = options.split_whitespace();
    while let Some(word) = words.next() {
        if matches!(word, "timeout" | "packets" | "bytes") {
            words.next();
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}
