//! Writes `iptables-save`.

use crate::{Counters, Origin, Policy, Rule, Step, Table, put};

/// Writes tables of iptables as `iptables-save -c` does, without its comment lines. Tables of nft are left
/// out.
pub fn emit(tables: &[Table]) -> String {
    let mut out = String::new();
    for table in tables {
        if matches!(table.origin, Origin::IptablesNft | Origin::IptablesLegacy) {
            emit_table(table, &mut out);
        }
    }
    out
}

fn emit_table(table: &Table, out: &mut String) {
    put!(out, "*{}\n", table.name);
    for chain in &table.chains {
        put!(out, ":{} ", chain.name);
        match &chain.base {
            None => out.push_str("- [0:0]\n"),
            Some(base) => {
                let policy = match base.policy {
                    Policy::Accept => "ACCEPT",
                    Policy::Drop => "DROP",
                };
                let Counters { packets, bytes } = base.counters.unwrap_or_default();
                put!(out, "{policy} [{packets}:{bytes}]\n");
            }
        }
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            if let Some(Counters { packets, bytes }) = rule.counters {
                put!(out, "[{packets}:{bytes}] ");
            }
            out.push_str(&rule_text(&chain.name, rule));
            out.push('\n');
        }
    }
    out.push_str("COMMIT\n");
}

/// A rule as `iptables-save` writes it, without counters.
pub(crate) fn rule_text(chain: &str, rule: &Rule) -> String {
    let mut out = format!("-A {chain}");
    for step in &rule.steps {
        match step {
            Step::Match(condition) => condition.write(&mut out),
            Step::Target(target) => target.write(&mut out),
            // Not in a table of iptables.
            Step::Relation(_) | Step::Statement(_) => {}
        }
    }
    out
}
