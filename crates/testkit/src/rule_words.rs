//! Words about the rules of packet filters.

use hopwise_change::{Change, rule_text};
use hopwise_snapshot::Netfilter;
use serde_json::{Value, json};

use crate::words::{Scene, parsed, unfit};

const V4: &str = "iptables-nft";
const V6: &str = "ip6tables-nft";

type Read = Result<Vec<Change>, String>;

pub(crate) fn policy(scene: &Scene<'_>, words: &[&str]) -> Read {
    set_policy(scene, V4, words)
}

pub(crate) fn policy_6(scene: &Scene<'_>, words: &[&str]) -> Read {
    set_policy(scene, V6, words)
}

pub(crate) fn flush(scene: &Scene<'_>, words: &[&str]) -> Read {
    flush_table(scene, V4, words)
}

pub(crate) fn flush_6(scene: &Scene<'_>, words: &[&str]) -> Read {
    flush_table(scene, V6, words)
}

pub(crate) fn flush_chain(scene: &Scene<'_>, words: &[&str]) -> Read {
    delete_all(scene, V4, words)
}

pub(crate) fn flush_chain_6(scene: &Scene<'_>, words: &[&str]) -> Read {
    delete_all(scene, V6, words)
}

pub(crate) fn delete(scene: &Scene<'_>, words: &[&str]) -> Read {
    delete_one(scene, V4, words)
}

pub(crate) fn delete_6(scene: &Scene<'_>, words: &[&str]) -> Read {
    delete_one(scene, V6, words)
}

pub(crate) fn append(scene: &Scene<'_>, words: &[&str]) -> Read {
    append_one(scene, V4, words)
}

pub(crate) fn append_6(scene: &Scene<'_>, words: &[&str]) -> Read {
    append_one(scene, V6, words)
}

pub(crate) fn insert(scene: &Scene<'_>, words: &[&str]) -> Read {
    insert_one(scene, V4, words)
}

pub(crate) fn insert_6(scene: &Scene<'_>, words: &[&str]) -> Read {
    insert_one(scene, V6, words)
}

fn set_policy(scene: &Scene<'_>, tool: &str, words: &[&str]) -> Read {
    let [table, chain, policy @ ("ACCEPT" | "DROP")] = words else { return unfit() };
    Ok(vec![Change::IptablesPolicy {
        place: scene.place.clone(),
        tool: tool.to_owned(),
        table: (*table).to_owned(),
        chain: (*chain).to_owned(),
        policy: (*policy).to_owned(),
    }])
}

fn flush_table(scene: &Scene<'_>, tool: &str, words: &[&str]) -> Read {
    let [table] = words else { return unfit() };
    Ok(vec![Change::IptablesFlushed {
        place: scene.place.clone(),
        tool: tool.to_owned(),
        table: (*table).to_owned(),
    }])
}

/// How many rules a chain has.
fn n_rules(facts: &Netfilter, tool: &str, table: &str, chain: &str) -> usize {
    let mut n_all = 0;
    while rule_text(facts, tool, table, chain, n_all + 1).is_some() {
        n_all += 1;
    }
    n_all
}

fn delete_all(scene: &Scene<'_>, tool: &str, words: &[&str]) -> Read {
    let [table, chain] = words else { return unfit() };
    let n_all = n_rules(&scene.net.netfilter, tool, table, chain);
    if n_all == 0 {
        return Err(format!("{tool} of {} has no rules in {table} {chain}", scene.place));
    }
    Ok((1..=n_all).rev().map(|position| deletion(scene, tool, table, chain, position)).collect())
}

fn delete_one(scene: &Scene<'_>, tool: &str, words: &[&str]) -> Read {
    let [table, chain, position] = words else { return unfit() };
    let position = parsed(position, "the place of a rule, from 1")?;
    if rule_text(&scene.net.netfilter, tool, table, chain, position).is_none() {
        return Err(format!("{tool} of {} has no rule {position} in {table} {chain}", scene.place));
    }
    Ok(vec![deletion(scene, tool, table, chain, position)])
}

fn deletion(scene: &Scene<'_>, tool: &str, table: &str, chain: &str, position: usize) -> Change {
    Change::IptablesDeleted {
        place: scene.place.clone(),
        tool: tool.to_owned(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        position,
    }
}

fn append_one(scene: &Scene<'_>, tool: &str, words: &[&str]) -> Read {
    let [table, chain, rule @ ..] = words else { return unfit() };
    let position = n_rules(&scene.net.netfilter, tool, table, chain) + 1;
    insertion(scene, tool, table, chain, position, rule)
}

fn insert_one(scene: &Scene<'_>, tool: &str, words: &[&str]) -> Read {
    let [table, chain, position, rule @ ..] = words else { return unfit() };
    let position: usize = parsed(position, "a place in the chain, from 1")?;
    let n_all = n_rules(&scene.net.netfilter, tool, table, chain);
    if position == 0 || position > n_all + 1 {
        return Err(format!("expected a place from 1 to {}, found `{position}`", n_all + 1));
    }
    insertion(scene, tool, table, chain, position, rule)
}

fn insertion(
    scene: &Scene<'_>,
    tool: &str,
    table: &str,
    chain: &str,
    position: usize,
    rule: &[&str],
) -> Read {
    if rule.is_empty() {
        return unfit();
    }
    Ok(vec![Change::IptablesInserted {
        place: scene.place.clone(),
        tool: tool.to_owned(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        position,
        rule: rule.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(" "),
    }])
}

/// A word as `iptables-save` prints it.
fn quoted(word: &str) -> String {
    if word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.to_owned() }
}

/// `nft-chain FAMILY TABLE CHAIN TYPE HOOK PRIORITY [DEVICE]`.
pub(crate) fn nft_chain(scene: &Scene<'_>, words: &[&str]) -> Read {
    let (family, table, chain, kind, hook, priority, device) = match words {
        [family, table, chain, kind, hook, priority] => (family, table, chain, kind, hook, priority, None),
        [family, table, chain, kind, hook, priority, device] => {
            (family, table, chain, kind, hook, priority, Some(scene.link(device)?))
        }
        _ => return unfit(),
    };
    Ok(vec![Change::NftChainAdded {
        place: scene.place.clone(),
        family: (*family).to_owned(),
        table: (*table).to_owned(),
        chain: (*chain).to_owned(),
        kind: (*kind).to_owned(),
        hook: (*hook).to_owned(),
        priority: parsed(priority, "a priority")?,
        device,
    }])
}

/// `nft-rule FAMILY TABLE CHAIN [ip saddr|daddr NET] [tcp|udp dport PORT] drop|accept|reject`.
pub(crate) fn nft_rule(scene: &Scene<'_>, words: &[&str]) -> Read {
    let [family, table, chain, rest @ ..] = words else { return unfit() };
    let mut rest = rest;
    let mut statements: Vec<Value> = Vec::new();
    loop {
        rest = match rest {
            [protocol @ ("ip" | "ip6"), field @ ("saddr" | "daddr"), net, rest @ ..] => {
                let net: ipnet::IpNet = parsed(net, "a network")?;
                let whole = net.prefix_len() == net.max_prefix_len();
                let right = if whole {
                    json!(net.addr().to_string())
                } else {
                    json!({"prefix": {"addr": net.addr().to_string(), "len": net.prefix_len()}})
                };
                statements.push(equal(protocol, field, &right));
                rest
            }
            [protocol @ ("tcp" | "udp"), field @ ("dport" | "sport"), port, rest @ ..] => {
                let port: u16 = parsed(port, "a port")?;
                statements.push(equal(protocol, field, &json!(port)));
                rest
            }
            _ => break,
        };
    }
    statements.push(match rest {
        ["drop"] => json!({"drop": null}),
        ["accept"] => json!({"accept": null}),
        ["reject"] => json!({"reject": null}),
        _ => return unfit(),
    });
    Ok(vec![Change::NftRuleAdded {
        place: scene.place.clone(),
        family: (*family).to_owned(),
        table: (*table).to_owned(),
        chain: (*chain).to_owned(),
        statements: Value::Array(statements).to_string(),
    }])
}

fn equal(protocol: &str, field: &str, right: &Value) -> Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}})
}
