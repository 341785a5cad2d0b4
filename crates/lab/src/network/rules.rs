//! Giving a node its iptables rules: from nothing, and on top of what is there.

use std::collections::BTreeSet;

use hopwise_controllers::{Family, Ruleset};

use super::{Job, output_in, run_all};
use crate::LabError;

/// A text for `iptables-restore --noflush` that turns `before` into `after`, and touches nothing that is alike in
/// both: foreign chains keep their rules and counters. `None` where there is nothing to do.
///
/// Own chains are flushed and written as a whole, as the real controllers do; into built-in chains rules are
/// inserted at their places.
pub(crate) fn difference(before: &Ruleset, after: &Ruleset) -> Option<String> {
    let tables: BTreeSet<&str> = before.chains().chain(after.chains()).map(|(table, ..)| table).collect();
    let texts = tables.into_iter().filter_map(|table| {
        let lines = table_difference(before, after, table);
        (!lines.is_empty()).then(|| format!("*{table}\n{}\nCOMMIT\n", lines.join("\n")))
    });
    let text: String = texts.collect();
    (!text.is_empty()).then_some(text)
}

fn table_difference(before: &Ruleset, after: &Ruleset, table: &str) -> Vec<String> {
    let (mut declared, mut rules, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
    for (_, name, chain) in after.chains().filter(|(it, ..)| *it == table) {
        let old = before.chain(table, name);
        if old == Some(chain) {
            continue;
        }
        if chain.policy.is_none() {
            // Declaring a chain flushes it.
            declared.push(format!(":{name} - [0:0]"));
            rules.extend(chain.rules.iter().map(|it| format!("-A {name} {it}")));
            continue;
        }
        rules.extend(built_in_difference(name, old.map_or(&[], |it| &it.rules), &chain.rules));
        if old.is_some_and(|it| it.policy != chain.policy) {
            rules.push(format!("-P {name} {}", chain.policy.as_deref().unwrap_or("ACCEPT")));
        }
    }
    for (_, name, chain) in before.chains().filter(|(it, ..)| *it == table) {
        if chain.policy.is_none() && after.chain(table, name).is_none() {
            declared.push(format!(":{name} - [0:0]"));
            deleted.push(format!("-X {name}"));
        }
    }
    [declared, rules, deleted].concat()
}

/// What turns the rules of a built-in chain into others, one by one.
fn built_in_difference(name: &str, before: &[String], after: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left: Vec<&String> = before.iter().collect();
    // What is gone goes first, so that places count in what stays.
    left.retain(|rule| {
        let stays = after.contains(rule);
        if !stays {
            lines.push(format!("-D {name} {rule}"));
        }
        stays
    });
    for (place, rule) in (1..).zip(after) {
        if left.get(place - 1) == Some(&rule) {
            continue;
        }
        // Further behind: what stands before this place is in order already.
        if let Some(further) = left.iter().skip(place).position(|it| *it == rule) {
            left.remove(place + further);
            lines.push(format!("-D {name} {}", place + further + 1));
        }
        left.insert((place - 1).min(left.len()), rule);
        lines.push(format!("-I {name} {place} {rule}"));
    }
    lines.extend((after.len() + 1..=left.len()).rev().map(|place| format!("-D {name} {place}")));
    lines
}

/// Writes rules where there are none.
pub(crate) fn restore_all(member: &str, pid: u32, rules: &[(Family, Ruleset)]) -> Vec<Job> {
    let job = |(family, rules): &(Family, Ruleset)| restore(member, pid, *family, &rules.to_string());
    rules.iter().map(job).collect()
}

/// Writes what differs between two states, without looking at what is there.
pub(crate) fn change(
    member: &str,
    pid: u32,
    family: Family,
    before: &Ruleset,
    after: &Ruleset,
) -> Option<Job> {
    difference(before, after).map(|text| restore(member, pid, family, &text))
}

/// Does `sync` to the rules that a node has now, and writes what that changed.
pub(crate) fn sync(
    member: &str,
    pid: u32,
    families: &[Family],
    sync: impl Fn(Family, &mut Ruleset) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let mut jobs = Vec::new();
    for family in families {
        let job = Job {
            member: member.to_owned(),
            pid,
            program: match family {
                Family::V4 => "iptables-nft-save",
                Family::V6 => "ip6tables-nft-save",
            },
            arguments: Vec::new(),
            input: Vec::new(),
        };
        let program = job.program;
        let saved = output_in(&job)?;
        let before = Ruleset::parse(&saved).map_err(|error| LabError::Program {
            program: program.to_owned(),
            member: member.to_owned(),
            message: error.to_string(),
        })?;
        let mut after = before.clone();
        sync(*family, &mut after)?;
        if let Some(text) = difference(&before, &after) {
            jobs.push(restore(member, pid, *family, &text));
        }
    }
    run_all(&jobs)
}

fn restore(member: &str, pid: u32, family: Family, text: &str) -> Job {
    Job {
        member: member.to_owned(),
        pid,
        program: match family {
            Family::V4 => "iptables-nft-restore",
            Family::V6 => "ip6tables-nft-restore",
        },
        arguments: vec!["--noflush"],
        input: text.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Ruleset {
        Ruleset::parse(text).unwrap()
    }

    #[test]
    fn only_what_differs_is_written() {
        let before = parse(
            "*filter\n:FORWARD ACCEPT\n:A -\n:B -\n:GONE -\n-A FORWARD -j A\n-A A -j B\n-A B -j ACCEPT\nCOMMIT",
        );
        let after = parse(
            "*filter\n:FORWARD ACCEPT\n:A -\n:B -\n-A FORWARD -j B\n-A FORWARD -j A\n-A A -j B\n-A B -j DROP\nCOMMIT",
        );
        assert_eq!(
            difference(&before, &after).unwrap(),
            "*filter\n:B - [0:0]\n:GONE - [0:0]\n-A B -j DROP\n-I FORWARD 1 -j B\n-X GONE\nCOMMIT\n"
        );
        assert_eq!(difference(&before, &before), None);
    }

    /// What `iptables-restore --noflush` does with a text, as far as [`difference`] uses it.
    fn restored(before: &Ruleset, text: &str) -> Ruleset {
        let mut rules = before.clone();
        let mut table = String::new();
        for line in text.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (chain, rule) = rest.split_once(' ').unwrap_or((rest, ""));
            match word {
                _ if line.starts_with('*') => table = line[1..].to_owned(),
                _ if line.starts_with(':') => rules.chain_mut(&table, &word[1..]).rules.clear(),
                "-A" => rules.chain_mut(&table, chain).rules.push(rule.to_owned()),
                "-X" => rules.remove(&table, chain),
                "-P" => rules.chain_mut(&table, chain).policy = Some(rule.to_owned()),
                "-D" => {
                    let rules = &mut rules.chain_mut(&table, chain).rules;
                    let by_number = rule.parse::<usize>().ok().map(|it| it - 1);
                    let by_rule = || rules.iter().position(|it| it == rule).expect("a rule that is there");
                    let place = by_number.unwrap_or_else(by_rule);
                    rules.remove(place);
                }
                "-I" => {
                    let (place, rule) = rule.split_once(' ').unwrap();
                    let place: usize = place.parse().unwrap();
                    rules.chain_mut(&table, chain).rules.insert(place - 1, rule.to_owned());
                }
                "COMMIT" => {}
                _ => panic!("{line}"),
            }
        }
        rules
    }

    fn rulesets() -> impl Strategy<Value = Ruleset> {
        let rule = prop_oneof![Just("-j A"), Just("-j B"), Just("-p tcp -j DROP"), Just("-j ACCEPT")];
        let chain = prop_oneof![Just("INPUT"), Just("FORWARD"), Just("A"), Just("B")];
        let rules = proptest::collection::vec((chain, rule), 0..12);
        (rules, any::<bool>()).prop_map(|(rules, drops)| {
            let mut ruleset = Ruleset::default();
            let policy = if drops { "DROP" } else { "ACCEPT" };
            ruleset.chain_mut("filter", "FORWARD").policy = Some(policy.to_owned());
            for (chain, rule) in rules {
                ruleset.chain_mut("filter", chain).rules.push(rule.to_owned());
            }
            ruleset
        })
    }

    proptest! {
        #[test]
        fn the_difference_leads_from_one_to_the_other(before in rulesets(), after in rulesets()) {
            let text = difference(&before, &after).unwrap_or_default();
            prop_assert_eq!(restored(&before, &text), after, "{}", text);
        }
    }
}
