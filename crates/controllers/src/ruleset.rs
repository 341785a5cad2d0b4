//! The tables of one family's iptables as text, and the changes that controllers make to them.

use std::{collections::BTreeMap, fmt};

/// The tables, chains and rules of one family's iptables, without counters.
///
/// A rule is the text behind `-A CHAIN` in the spelling of `iptables-save`. Displayed, it is what
/// `iptables-restore` reads: tables by name, in each the built-in chains in hook order, then the others by name,
/// as `iptables-nft-save` 1.8 prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    tables: BTreeMap<String, BTreeMap<String, Chain>>,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The verdict at its end: `ACCEPT` or `DROP` for a built-in chain, none for others.
    pub policy: Option<String>,
    /// Its rules.
    pub rules: Vec<String>,
}

/// Where and why a text is not the output of `iptables-save`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found `{found}`")]
pub struct RulesetError {
    /// The line, from 1.
    pub line: usize,
    /// What would have been understood.
    pub expected: &'static str,
    /// What stands there.
    pub found: String,
}

impl Ruleset {
    /// Reads the output of `iptables-save`, with or without counters.
    ///
    /// # Errors
    /// The first line that is not of that language. A rule's own words are not looked at.
    pub fn parse(text: &str) -> Result<Self, RulesetError> {
        let mut ruleset = Self::default();
        let mut table = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            let error =
                |expected| RulesetError { line: index + 1, expected, found: line.chars().take(80).collect() };
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.chars().any(|it| it.is_control() && it != '\t') {
                return Err(error("no control characters"));
            }
            if let Some(name) = line.strip_prefix('*') {
                if table.is_some() {
                    return Err(error("`COMMIT` before the next table"));
                }
                table = Some(ruleset.tables.entry(name.trim().to_owned()).or_default());
                continue;
            }
            if line == "COMMIT" {
                table = None;
                continue;
            }
            let table = table.as_deref_mut().ok_or_else(|| error("a table as `*filter`"))?;
            if let Some(declaration) = line.strip_prefix(':') {
                let mut words = declaration.split_whitespace();
                let name = words.next().ok_or_else(|| error("a chain as `:INPUT ACCEPT [0:0]`"))?;
                let policy = words.next().ok_or_else(|| error("a policy or `-` behind the chain's name"))?;
                let policy = (policy != "-").then(|| policy.to_owned());
                table.entry(name.to_owned()).or_default().policy = policy;
                continue;
            }
            let rule = squeeze(without_counters(line))
                .strip_prefix("-A ")
                .map(str::to_owned)
                .ok_or_else(|| error("a rule as `-A CHAIN …`"))?;
            let (chain, rule) = rule.split_once(char::is_whitespace).unwrap_or((&rule, ""));
            table.entry(chain.to_owned()).or_default().rules.push(rule.trim_start().to_owned());
        }
        // A text that was cut must not pass for one that lacks rules.
        if table.is_some() {
            let (line, found) = (text.lines().count(), "the end of the text".to_owned());
            return Err(RulesetError { line, expected: "`COMMIT`", found });
        }
        Ok(ruleset)
    }

    /// All chains as table name, chain name and chain.
    pub fn chains(&self) -> impl Iterator<Item = (&str, &str, &Chain)> {
        self.tables.iter().flat_map(|(table, chains)| {
            chains.iter().map(move |(name, chain)| (table.as_str(), name.as_str(), chain))
        })
    }

    /// The chain called `chain` of `table`.
    pub fn chain(&self, table: &str, chain: &str) -> Option<&Chain> {
        self.tables.get(table)?.get(chain)
    }

    /// The chain called `chain` of `table` for changing it; made empty where it is not there yet, with the
    /// table's built-in chains.
    pub fn chain_mut(&mut self, table: &str, chain: &str) -> &mut Chain {
        let chains = self.tables.entry(table.to_owned()).or_insert_with(|| {
            let policy = || Some("ACCEPT".to_owned());
            let chain = || Chain { policy: policy(), rules: Vec::new() };
            built_in_chains(table).iter().map(|it| ((*it).to_owned(), chain())).collect()
        });
        chains.entry(chain.to_owned()).or_default()
    }

    /// Removes a chain with its rules.
    pub fn remove(&mut self, table: &str, chain: &str) {
        if let Some(chains) = self.tables.get_mut(table) {
            chains.remove(chain);
        }
    }

    /// Puts `rule` before all others of the chain, unless the chain has it anywhere
    /// (`EnsureRule` with `Prepend`, Kubernetes 1.34 `pkg/util/iptables`).
    pub fn ensure_first(&mut self, table: &str, chain: &str, rule: String) {
        let rules = &mut self.chain_mut(table, chain).rules;
        if !rules.contains(&rule) {
            rules.insert(0, rule);
        }
    }

    /// Puts `rule` behind all others of the chain, unless the chain has it anywhere.
    pub fn ensure_last(&mut self, table: &str, chain: &str, rule: String) {
        let rules = &mut self.chain_mut(table, chain).rules;
        if !rules.contains(&rule) {
            rules.push(rule);
        }
    }
}

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (table, chains) in &self.tables {
            writeln!(f, "*{table}")?;
            let built_in = built_in_chains(table).iter().filter_map(|it| chains.get_key_value(*it));
            let others = chains.iter().filter(|(name, _)| !built_in_chains(table).contains(&name.as_str()));
            let sorted: Vec<_> = built_in.chain(others).collect();
            for (name, chain) in &sorted {
                writeln!(f, ":{name} {} [0:0]", chain.policy.as_deref().unwrap_or("-"))?;
            }
            for (name, chain) in &sorted {
                for rule in &chain.rules {
                    writeln!(f, "-A {name}{}{rule}", if rule.is_empty() { "" } else { " " })?;
                }
            }
            writeln!(f, "COMMIT")?;
        }
        Ok(())
    }
}

/// The chains that the kernel calls by itself, in the order of their hooks.
fn built_in_chains(table: &str) -> &'static [&'static str] {
    match table {
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "raw" => &["PREROUTING", "OUTPUT"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    }
}

fn without_counters(line: &str) -> &str {
    match line.strip_prefix('[').and_then(|it| it.split_once(']')) {
        Some((_, rule)) => rule.trim_start(),
        None => line,
    }
}

/// One blank where several stand outside of quotes: iptables 1.8 prints two before some names.
fn squeeze(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    let (mut is_quoted, mut is_escaped) = (false, false);
    for letter in text.chars() {
        if is_escaped {
            is_escaped = false;
        } else if letter == '\\' {
            is_escaped = true;
        } else if letter == '"' {
            is_quoted = !is_quoted;
        } else if letter == ' ' && !is_quoted && squeezed.ends_with(' ') {
            continue;
        }
        squeezed.push(letter);
    }
    squeezed
}

/// A rule under construction, for the spelling of `iptables-save`: addresses, interfaces, protocol, then the
/// matches in the order given, then the target.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    source: String,
    destination: String,
    input: String,
    protocol: String,
    matches: String,
}

impl Rule {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Packets from `net`.
    pub(crate) fn source(mut self, net: impl fmt::Display) -> Self {
        self.source = format!("-s {net} ");
        self
    }

    /// Packets not from `net`.
    pub(crate) fn source_not(mut self, net: impl fmt::Display) -> Self {
        self.source = format!("! -s {net} ");
        self
    }

    /// Packets to `net`.
    pub(crate) fn destination(mut self, net: impl fmt::Display) -> Self {
        self.destination = format!("-d {net} ");
        self
    }

    /// Packets not to `net`.
    pub(crate) fn destination_not(mut self, net: impl fmt::Display) -> Self {
        self.destination = format!("! -d {net} ");
        self
    }

    /// Packets that came in by an interface; a name that ends in `+` is a prefix.
    pub(crate) fn input(mut self, interface: &str) -> Self {
        self.input = format!("-i {interface} ");
        self
    }

    /// Packets that did not come in by an interface.
    pub(crate) fn input_not(mut self, interface: &str) -> Self {
        self.input = format!("! -i {interface} ");
        self
    }

    /// Packets of a protocol.
    pub(crate) fn protocol(mut self, protocol: impl fmt::Display) -> Self {
        self.protocol = format!("-p {protocol} ");
        self
    }

    /// A match in the words of `iptables-save`, without `-m`.
    pub(crate) fn and(mut self, words: impl fmt::Display) -> Self {
        self.matches = format!("{}-m {words} ", self.matches);
        self
    }

    /// A comment.
    pub(crate) fn comment(self, text: impl fmt::Display) -> Self {
        self.and(format_args!("comment --comment {}", quoted(&text.to_string())))
    }

    /// The finished rule with a target and the target's options.
    pub(crate) fn jump(self, target: impl fmt::Display) -> String {
        let Self { source, destination, input, protocol, matches } = self;
        format!("{source}{destination}{input}{protocol}{matches}-j {target}")
    }

    /// The finished rule without a target: it only counts.
    pub(crate) fn no_target(self) -> String {
        let Self { source, destination, input, protocol, matches } = self;
        format!("{source}{destination}{input}{protocol}{matches}").trim_end().to_owned()
    }
}

/// A text as `xtables_save_string` (iptables 1.8, `libxtables/xtables.c`) prints it.
fn quoted(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-');
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        if matches!(letter, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAVED: &str = r#"# Generated by iptables-save v1.8.9 (nf_tables) on Sat Nov 21 10:05:40 2026
*nat
:POSTROUTING ACCEPT [0:0]
:ZZ - [0:0]
:AA - [0:0]
[47:3636] -A POSTROUTING -m comment --comment "two  blanks" -j ZZ
-A ZZ -m nfacct --nfacct-name  ct -j AA
[0:0] -A AA
COMMIT
# Completed on Sat Nov 21 10:05:40 2026
"#;

    #[test]
    fn counters_and_extra_blanks_are_dropped_and_quoted_text_is_kept() {
        let ruleset = Ruleset::parse(SAVED).unwrap();
        let rules = |chain| ruleset.chain("nat", chain).unwrap().rules.clone();
        assert_eq!(rules("POSTROUTING"), [r#"-m comment --comment "two  blanks" -j ZZ"#]);
        assert_eq!(rules("ZZ"), ["-m nfacct --nfacct-name ct -j AA"]);
        assert_eq!(rules("AA"), [""]);
        assert_eq!(ruleset.chain("nat", "POSTROUTING").unwrap().policy.as_deref(), Some("ACCEPT"));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let ruleset = Ruleset::parse(SAVED).unwrap();
        assert_eq!(Ruleset::parse(&ruleset.to_string()).unwrap(), ruleset);
    }

    #[test]
    fn a_line_of_another_language_is_named() {
        let error = Ruleset::parse("*filter\n:INPUT ACCEPT\ntable inet x {\n").unwrap_err();
        assert_eq!(error.to_string(), "line 3: expected a rule as `-A CHAIN …`, found `table inet x {`");
        assert_eq!(Ruleset::parse("-A INPUT -j DROP").unwrap_err().expected, "a table as `*filter`");
        let error = Ruleset::parse("*filter\n-A INPUT -m comment --comment \"a\0b\"\nCOMMIT\n").unwrap_err();
        assert_eq!((error.line, error.expected), (2, "no control characters"));
        assert_eq!(Ruleset::parse("*nat\n-A A\r-j B\nCOMMIT\n").unwrap_err().line, 2);
    }

    #[test]
    fn a_chains_name_ends_at_any_blank() {
        let ruleset = Ruleset::parse("*nat\n-A A \t-j B\n-A A\t-j C\nCOMMIT\n").unwrap();
        assert_eq!(ruleset.chain("nat", "A").unwrap().rules, ["-j B", "-j C"]);
        assert_eq!(Ruleset::parse(&ruleset.to_string()).unwrap(), ruleset);
    }

    #[test]
    fn a_text_that_was_cut_is_refused() {
        let n_lines = SAVED.lines().count();
        for end in 2..n_lines - 2 {
            let cut: String = SAVED.lines().take(end).flat_map(|it| [it, "\n"]).collect();
            let error = Ruleset::parse(&cut).unwrap_err();
            assert_eq!((error.line, error.expected), (end, "`COMMIT`"), "{cut}");
        }
        let error = Ruleset::parse("*nat\n*filter\nCOMMIT\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2: expected `COMMIT` before the next table, found `*filter`");
    }

    #[test]
    fn a_rule_is_ensured_once() {
        let mut ruleset = Ruleset::default();
        for rule in ["-j A", "-j B", "-j A"] {
            ruleset.ensure_first("filter", "FORWARD", rule.to_owned());
        }
        ruleset.ensure_last("filter", "FORWARD", "-j B".to_owned());
        assert_eq!(ruleset.chain("filter", "FORWARD").unwrap().rules, ["-j B", "-j A"]);
    }

    #[test]
    fn parts_of_a_rule_come_in_the_order_of_iptables_save() {
        let rule =
            Rule::new().comment("a/b").and("tcp --dport 80").protocol("tcp").destination("10.0.0.1/32");
        assert_eq!(
            rule.jump("X"),
            r#"-d 10.0.0.1/32 -p tcp -m comment --comment "a/b" -m tcp --dport 80 -j X"#
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}") {
            let _ = Ruleset::parse(&text);
        }

        #[test]
        fn lines_in_any_order_are_read_or_refused(lines in proptest::collection::vec(
            prop_oneof![Just("*nat"), Just(":A -"), Just("-A A -j B"), Just("COMMIT"), Just("[1:2] -A B"), Just(":"), Just("[")], 0..12)) {
            let text = lines.join("\n");
            if let Ok(ruleset) = Ruleset::parse(&text) {
                prop_assert_eq!(Ruleset::parse(&ruleset.to_string()).unwrap(), ruleset);
            }
        }
    }
}
