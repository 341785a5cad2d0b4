//! Changes to packet filters, made to the texts that the tools print.
//!
//! A table that iptables-nft keeps stands in two texts, its own and nft's; both are changed alike, so that a
//! reader who pairs them finds them equal.

use hopwise_snapshot::{Netfilter, Observed, Reason};
use serde_json::{Value, json};

use crate::Change;

/// Applies a change of rules; `None` if there is nothing to apply it to.
pub(crate) fn apply(change: &Change, facts: &mut Netfilter) -> Option<()> {
    match change {
        Change::IptablesInserted { tool, table, chain, position, rule, .. } => {
            let line = format!("[0:0] -A {chain} {rule}");
            edit_text(facts, tool, |text| insert_rule(text, table, chain, *position, &line))?;
            edit_shadow(facts, tool, |all, family| insert_shadow(all, family, table, chain, *position));
        }
        Change::IptablesRuleDeleted { place, tool, table, chain, rule } => {
            let position = rule_position(facts, tool, table, chain, rule)?;
            let change = Change::IptablesDeleted {
                place: place.clone(),
                tool: tool.clone(),
                table: table.clone(),
                chain: chain.clone(),
                position,
            };
            return apply(&change, facts);
        }
        Change::IptablesDeleted { tool, table, chain, position, .. } => {
            edit_text(facts, tool, |text| delete_rule(text, table, chain, *position))?;
            edit_shadow(facts, tool, |all, family| {
                if let Some(at) = rule_positions(all, family, table, chain).get(position - 1) {
                    all.remove(*at);
                }
            });
        }
        Change::IptablesPolicy { tool, table, chain, policy, .. } => {
            edit_text(facts, tool, |text| set_policy(text, table, chain, policy))?;
            let policy = policy.to_lowercase();
            edit_shadow(facts, tool, |all, family| set_nft_policy(all, family, table, chain, &policy));
        }
        Change::IptablesFlushed { tool, table, .. } => {
            edit_text(facts, tool, |text| flush(text, table))?;
            edit_shadow(facts, tool, |all, family| flush_nft(all, family, table));
        }
        Change::NftRuleDeleted { family, table, chain, handle, .. } => edit_nft(facts, |all| {
            let before = all.len();
            all.retain(|it| !is_rule(it, family, table, chain) || it["rule"]["handle"] != json!(handle));
            (all.len() < before).then_some(())
        })?,
        Change::NftPolicy { family, table, chain, policy, .. } => edit_nft(facts, |all| {
            set_nft_policy(all, family, table, chain, policy);
            Some(())
        })?,
        _ => return None,
    }
    Some(())
}

/// The text of a tool.
pub(crate) fn text_of<'a>(facts: &'a mut Netfilter, tool: &str) -> Option<&'a mut Observed<String>> {
    Some(match tool {
        "iptables-nft" => &mut facts.iptables_nft.ipv4,
        "ip6tables-nft" => &mut facts.iptables_nft.ipv6,
        "iptables-legacy" => &mut facts.iptables_legacy.ipv4,
        "ip6tables-legacy" => &mut facts.iptables_legacy.ipv6,
        "arptables-legacy" => &mut facts.arptables_legacy,
        _ => return None,
    })
}

fn known_text<'a>(facts: &'a Netfilter, tool: &str) -> Option<&'a String> {
    match tool {
        "iptables-nft" => facts.iptables_nft.ipv4.known(),
        "ip6tables-nft" => facts.iptables_nft.ipv6.known(),
        "iptables-legacy" => facts.iptables_legacy.ipv4.known(),
        "ip6tables-legacy" => facts.iptables_legacy.ipv6.known(),
        "arptables-legacy" => facts.arptables_legacy.known(),
        _ => None,
    }
}

/// A rule in its tool's words, without its chain: the one at a place, counted from 1, of a chain that an iptables
/// tool shows.
pub fn rule_text(facts: &Netfilter, tool: &str, table: &str, chain: &str, position: usize) -> Option<String> {
    let lines: Vec<&str> = known_text(facts, tool)?.lines().collect();
    let span = table_lines(&lines, table)?;
    let at = *rules_of(&lines, span, chain).get(position.checked_sub(1)?)?;
    lines[at].split_once(&format!("-A {chain} ")).map(|(_, rule)| rule.to_owned())
}

/// The place, from 1, of the first rule of these words.
pub fn rule_position(facts: &Netfilter, tool: &str, table: &str, chain: &str, rule: &str) -> Option<usize> {
    let lines: Vec<&str> = known_text(facts, tool)?.lines().collect();
    let span = table_lines(&lines, table)?;
    let head = format!("-A {chain} ");
    let is_it = |at: &usize| lines[*at].split_once(&head).is_some_and(|(_, own)| own == rule);
    Some(rules_of(&lines, span, chain).iter().position(is_it)? + 1)
}

/// The rules of a chain, each as `-A CHAIN …`; none where there is no such chain.
pub(crate) fn rules(facts: &Netfilter, tool: &str, table: &str, chain: &str) -> Vec<String> {
    let lines: Vec<&str> = known_text(facts, tool).map(|it| it.lines().collect()).unwrap_or_default();
    let Some(span) = table_lines(&lines, table) else { return Vec::new() };
    rules_of(&lines, span, chain).into_iter().map(|at| without_counters(lines[at]).to_owned()).collect()
}

/// The policy of a chain; `-` for one that somebody made, none where there is no such chain.
pub(crate) fn policy(facts: &Netfilter, tool: &str, table: &str, chain: &str) -> Option<String> {
    let lines: Vec<&str> = known_text(facts, tool)?.lines().collect();
    let span = table_lines(&lines, table)?;
    let head = format!(":{chain} ");
    let line = lines[span.0..span.1].iter().find_map(|it| it.strip_prefix(&head))?;
    line.split_whitespace().next().map(str::to_owned)
}

fn edit_text(facts: &mut Netfilter, tool: &str, edit: impl FnOnce(&str) -> Option<String>) -> Option<()> {
    let text = text_of(facts, tool)?.known_mut()?;
    *text = edit(text)?;
    Some(())
}

/// Changes nft's view of a table that iptables-nft keeps.
fn edit_shadow(facts: &mut Netfilter, tool: &str, edit: impl FnOnce(&mut Vec<Value>, &str)) {
    let family = match tool {
        "iptables-nft" => "ip",
        "ip6tables-nft" => "ip6",
        _ => return,
    };
    edit_nft(facts, |all| {
        edit(all, family);
        Some(())
    });
}

pub(crate) fn edit_nft(
    facts: &mut Netfilter,
    edit: impl FnOnce(&mut Vec<Value>) -> Option<()>,
) -> Option<()> {
    let text = facts.nft.known_mut()?;
    let mut document: Value = serde_json::from_str(text).ok()?;
    edit(document.get_mut("nftables")?.as_array_mut()?)?;
    *text = document.to_string();
    Some(())
}

/// The objects of nft's listing; none at all where there is no nft. `None` where the listing is not understood.
pub(crate) fn nft_objects(facts: &Netfilter) -> Option<Vec<Value>> {
    let Some(text) = facts.nft.known() else { return Some(Vec::new()) };
    let mut document: Value = serde_json::from_str(text).ok()?;
    match document.get_mut("nftables").map(Value::take) {
        Some(Value::Array(all)) => Some(all),
        _ => None,
    }
}

pub(crate) fn is_rule(object: &Value, family: &str, table: &str, chain: &str) -> bool {
    let Some(rule) = object.get("rule") else { return false };
    rule["family"] == family && rule["table"] == table && rule["chain"] == chain
}

fn rule_positions(all: &[Value], family: &str, table: &str, chain: &str) -> Vec<usize> {
    all.iter().enumerate().filter(|(_, it)| is_rule(it, family, table, chain)).map(|(at, _)| at).collect()
}

/// A rule that iptables-nft wrote shows in nft by the names of its matches only.
fn insert_shadow(all: &mut Vec<Value>, family: &str, table: &str, chain: &str, position: usize) {
    let handles = all.iter().filter_map(|it| it["rule"]["handle"].as_u64());
    let handle = handles.max().unwrap_or(0) + 1;
    let rule = json!({"rule": {
        "family": family, "table": table, "chain": chain, "handle": handle,
        "expr": [{"xt": {"type": "match", "name": "inserted"}}],
    }});
    let positions = rule_positions(all, family, table, chain);
    let at = match positions.get(position - 1) {
        Some(at) => *at,
        None => positions.last().map_or(all.len(), |it| it + 1),
    };
    all.insert(at, rule);
}

fn set_nft_policy(all: &mut [Value], family: &str, table: &str, chain: &str, policy: &str) {
    for object in all {
        if let Some(found) = object.get_mut("chain")
            && found["family"] == family
            && found["table"] == table
            && found["name"] == chain
        {
            found["policy"] = json!(policy);
        }
    }
}

fn flush_nft(all: &mut Vec<Value>, family: &str, table: &str) {
    all.retain(|it| {
        let is_rule = it.get("rule").is_some_and(|it| it["family"] == family && it["table"] == table);
        let is_own_chain = it
            .get("chain")
            .is_some_and(|it| it["family"] == family && it["table"] == table && it.get("hook").is_none());
        !is_rule && !is_own_chain
    });
}

/// Takes nft's view of a table away, so that the table's own text alone counts.
pub(crate) fn forget_nft_table(facts: &mut Netfilter, family: &str, table: &str) {
    edit_nft(facts, |all| {
        all.retain(|it| {
            let inner = it.as_object().and_then(|it| it.values().next());
            let Some(inner) = inner else { return true };
            let is_table = it.get("table").is_some() && inner["name"] == table;
            !(inner["family"] == family && (is_table || inner["table"] == table))
        });
        Some(())
    });
}

/// Sets the text of a tool, which thereby is there.
pub(crate) fn set_text(facts: &mut Netfilter, tool: &str, text: String) -> Option<()> {
    let slot = text_of(facts, tool)?;
    if matches!(slot, Observed::NotCollected(Reason::ProgramMissing(_))) {
        return None;
    }
    *slot = Observed::Known(text);
    Some(())
}

/// The lines of a table in `iptables-save` text: from its `*table` line to its `COMMIT`.
fn table_lines(lines: &[&str], table: &str) -> Option<(usize, usize)> {
    let start = lines.iter().position(|it| it.strip_prefix('*').is_some_and(|name| name.trim() == table))?;
    let end = start + lines[start..].iter().position(|it| it.trim() == "COMMIT")?;
    Some((start, end))
}

/// A line of `iptables-save -c` as `iptables-save` prints it.
pub(crate) fn without_counters(line: &str) -> &str {
    line.strip_prefix('[').and_then(|it| it.split_once("] ")).map_or(line, |(_, rest)| rest)
}

/// Is this line a rule of the chain, with or without counters before it?
fn is_rule_line(line: &str, chain: &str) -> bool {
    let mut words = without_counters(line).split_whitespace();
    words.next() == Some("-A") && words.next() == Some(chain)
}

fn rules_of(lines: &[&str], span: (usize, usize), chain: &str) -> Vec<usize> {
    (span.0..span.1).filter(|at| is_rule_line(lines[*at], chain)).collect()
}

fn insert_rule(text: &str, table: &str, chain: &str, position: usize, line: &str) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let span = table_lines(&lines, table)?;
    let head = format!(":{chain} ");
    lines[span.0..span.1].iter().position(|it| it.starts_with(&head))?;
    let rules = rules_of(&lines, span, chain);
    let at = match rules.get(position.checked_sub(1)?) {
        Some(at) => *at,
        None => rules.last().map_or(span.1, |it| it + 1),
    };
    lines.insert(at, line);
    Some(joined(&lines))
}

fn delete_rule(text: &str, table: &str, chain: &str, position: usize) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let span = table_lines(&lines, table)?;
    let at = *rules_of(&lines, span, chain).get(position.checked_sub(1)?)?;
    lines.remove(at);
    Some(joined(&lines))
}

fn set_policy(text: &str, table: &str, chain: &str, policy: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let span = table_lines(&lines, table)?;
    let head = format!(":{chain} ");
    let at = span.0 + lines[span.0..span.1].iter().position(|it| it.starts_with(&head))?;
    let line = format!(":{chain} {policy} [0:0]");
    let mut lines = lines;
    lines[at] = &line;
    Some(joined(&lines))
}

/// What `iptables -t TABLE -F` and `-X` leave: the built-in chains with their policies.
fn flush(text: &str, table: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let (start, end) = table_lines(&lines, table)?;
    let is_built_in = |line: &str| {
        line.strip_prefix(':').and_then(|it| it.split_whitespace().nth(1)).is_some_and(|policy| policy != "-")
    };
    let kept = lines.iter().enumerate().filter(|(at, line)| {
        let is_inside = *at > start && *at < end;
        !is_inside || is_built_in(line)
    });
    Some(joined(&kept.map(|(_, line)| *line).collect::<Vec<_>>()))
}

fn joined(lines: &[&str]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Generated
*filter
:FORWARD ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
[1:2] -A FORWARD -j FLANNEL-FWD
[0:0] -A FORWARD -j ACCEPT
[0:0] -A FLANNEL-FWD -s 10.0.0.0/8 -j ACCEPT
COMMIT
";

    #[test]
    fn a_rule_is_inserted_where_it_was_asked_for() {
        let text = insert_rule(TEXT, "filter", "FORWARD", 2, "[0:0] -A FORWARD -j DROP").unwrap();
        let rules: Vec<&str> = text.lines().filter(|it| is_rule_line(it, "FORWARD")).collect();
        assert_eq!(
            rules,
            ["[1:2] -A FORWARD -j FLANNEL-FWD", "[0:0] -A FORWARD -j DROP", "[0:0] -A FORWARD -j ACCEPT"]
        );
        assert_eq!(delete_rule(&text, "filter", "FORWARD", 2).unwrap(), TEXT);
    }

    #[test]
    fn a_rule_goes_behind_the_last_one_of_its_chain() {
        let text = insert_rule(TEXT, "filter", "FLANNEL-FWD", 9, "-A FLANNEL-FWD -j RETURN").unwrap();
        assert!(text.ends_with("-A FLANNEL-FWD -s 10.0.0.0/8 -j ACCEPT\n-A FLANNEL-FWD -j RETURN\nCOMMIT\n"));
    }

    #[test]
    fn a_flushed_table_keeps_its_built_in_chains() {
        let text = flush(TEXT, "filter").unwrap();
        assert_eq!(text, "# Generated\n*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n");
    }

    #[test]
    fn what_is_not_there_is_not_changed() {
        assert_eq!(insert_rule(TEXT, "nat", "FORWARD", 1, ""), None);
        assert_eq!(insert_rule(TEXT, "filter", "OUTPUT", 1, ""), None);
        assert_eq!(delete_rule(TEXT, "filter", "FORWARD", 3), None);
        assert_eq!(delete_rule(TEXT, "filter", "FORWARD", 0), None);
        assert_eq!(set_policy(TEXT, "filter", "OUTPUT", "DROP"), None);
    }

    #[test]
    fn a_policy_is_set_in_both_views() {
        let nft = json!({"nftables": [
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "accept"}},
        ]});
        let mut facts = Netfilter { nft: Observed::Known(nft.to_string()), ..Netfilter::default() };
        facts.iptables_nft.ipv4 = Observed::Known(TEXT.to_owned());
        let change = Change::IptablesPolicy {
            place: hopwise_snapshot::Place::node("w1"),
            tool: "iptables-nft".to_owned(),
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            policy: "DROP".to_owned(),
        };
        apply(&change, &mut facts).unwrap();
        assert!(facts.iptables_nft.ipv4.known().unwrap().contains(":FORWARD DROP [0:0]"));
        assert!(facts.nft.known().unwrap().contains(r#""policy":"drop""#));
    }
}
