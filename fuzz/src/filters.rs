//! The languages of packet filters. What is written is a fixed point: it reads as what it was written from.

use std::collections::BTreeSet;

use hopwise_controllers::Ruleset;
use hopwise_netfilter::{Remark, Source, Table, ipset as sets, iptables as xt, nft as tables};

use crate::text;

const SOURCES: [Source; 4] =
    [Source::IptablesNft, Source::Ip6tablesNft, Source::IptablesLegacy, Source::Ip6tablesLegacy];

/// `iptables-save` and `ip6tables-save`, of either back end. Each line of a rule is a rule or has a remark.
pub fn iptables(data: &[u8]) {
    let text = text(data);
    let source = SOURCES[data.len() % SOURCES.len()];
    let (read, remarks) = xt::parse(&text, source);
    let rules = rules(&read, &remarks);
    for (at, line) in text.split('\n').enumerate() {
        let is_rule = line.trim_start_matches([' ', '\t']).starts_with(['[', '-']);
        assert!(!is_rule || rules.contains(&(at + 1)), "line {} is lost: {line:?}", at + 1);
    }
    let written = xt::emit(&read);
    let (again, further) = xt::parse(&written, source);
    if is_understood(&text, &remarks) {
        assert_eq!(further, [], "{written}");
        assert_eq!(xt::emit(&again), written);
        assert_eq!(n_rules(&again), n_rules(&read));
    }
}

/// `arptables-save`. Each line of a rule is a rule or has a remark.
pub fn arptables(data: &[u8]) {
    let text = text(data);
    let (read, remarks) = xt::parse_arp(&text);
    let rules = rules(&read, &remarks);
    for (at, line) in text.lines().enumerate() {
        assert!(
            !line.trim().starts_with("-A ") || rules.contains(&(at + 1)),
            "line {} is lost: {line:?}",
            at + 1
        );
    }
    let written = xt::emit_arp(&read);
    let (again, further) = xt::parse_arp(&written);
    // The tool quotes nothing.
    if is_understood(&text, &remarks) && !text.contains('"') {
        assert_eq!(further, [], "{written}");
        assert_eq!(xt::emit_arp(&again), written);
        assert_eq!(n_rules(&again), n_rules(&read));
    }
}

/// `nft -j list ruleset`.
pub fn nft(data: &[u8]) {
    let (read, remarks) = tables::parse(&text(data));
    let written = tables::emit(&read);
    let (again, further) = tables::parse(&written);
    if remarks.is_empty() {
        assert_eq!(further, [], "{written}");
        assert_eq!(tables::emit(&again), written);
        assert_eq!(n_rules(&again), n_rules(&read));
    }
}

/// `ipset save`. Each line is an entry or a set, or has a remark.
pub fn ipset(data: &[u8]) {
    let text = text(data);
    let (read, remarks) = sets::parse(&text);
    let written = sets::emit(&read);
    let (again, further) = sets::parse(&written);
    if is_understood(&text, &remarks) {
        assert_eq!(further, [], "{written}");
        assert_eq!(sets::emit(&again), written);
    }
}

/// The reader that controllers change rules with. What it does not read it refuses.
pub fn ruleset(data: &[u8]) {
    if let Ok(read) = Ruleset::parse(&text(data)) {
        let written = read.to_string();
        assert_eq!(Ruleset::parse(&written).as_ref(), Ok(&read), "{written}");
    }
}

/// The lines that became rules or that a remark names.
fn rules(tables: &[Table], remarks: &[Remark]) -> BTreeSet<usize> {
    let rules = tables.iter().flat_map(|it| &it.chains).flat_map(|it| &it.rules).filter_map(|it| it.line);
    rules.chain(remarks.iter().map(|it| it.line)).collect()
}

fn n_rules(tables: &[Table]) -> usize {
    tables.iter().flat_map(|it| &it.chains).map(|it| it.rules.len()).sum()
}

/// Is it a text as the tools print it, all of which was understood? Characters that no tool prints are not always
/// written as they were read.
fn is_understood(text: &str, remarks: &[Remark]) -> bool {
    remarks.is_empty() && text.bytes().all(|it| it == b'\n' || it == b' ' || it.is_ascii_graphic())
}
