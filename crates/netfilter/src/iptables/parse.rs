//! Reads `iptables-save`.

use std::collections::HashSet;

use super::{
    built_in,
    words::{Words, number, split},
};
use crate::{
    Chain, Counters, Family, Origin, Policy, Rule, Source, Step, Table,
    remark::{Problem, Remark, RuleName, Weight, excerpt},
    xt::{InterfacePattern, Match, Target, Test, Unknown},
};

/// Reads what `iptables-save -c` or `ip6tables-save -c` of either back end prints.
///
/// `source` says which of them it is; it decides the tables' family and origin.
pub fn parse(text: &str, source: Source) -> (Vec<Table>, Vec<Remark>) {
    let (family, origin) = match source {
        Source::IptablesNft => (Family::Ip, Origin::IptablesNft),
        Source::Ip6tablesNft => (Family::Ip6, Origin::IptablesNft),
        Source::Ip6tablesLegacy => (Family::Ip6, Origin::IptablesLegacy),
        _ => (Family::Ip, Origin::IptablesLegacy),
    };
    let mut reader =
        Reader { source, family, origin, tables: Vec::new(), open: None, remarks: Vec::new(), line: 0 };
    for line in text.split('\n') {
        reader.line += 1;
        reader.read(line.strip_suffix('\r').unwrap_or(line));
    }
    reader.finish()
}

struct Reader {
    source: Source,
    family: Family,
    origin: Origin,
    tables: Vec<Table>,
    /// The table whose `COMMIT` has not come.
    open: Option<Table>,
    remarks: Vec<Remark>,
    line: usize,
}

impl Reader {
    fn read(&mut self, line: &str) {
        let begin = line.trim_start_matches([' ', '\t']);
        let column = line.len() - begin.len() + 1;
        match begin.as_bytes().first() {
            None | Some(b'#') => {}
            Some(b'*') => self.begin_table(begin, column),
            Some(b':') => self.chain(begin, column),
            Some(b'[' | b'-') => self.rule(begin, column),
            Some(_) if begin.trim_end() == "COMMIT" => match self.open.take() {
                Some(table) => self.close(table),
                None => self.lost(column, "`*TABLE` before `COMMIT`", begin),
            },
            Some(_) => self.lost(column, "`*TABLE`, `:CHAIN`, `-A CHAIN` or `COMMIT`", begin),
        }
    }

    fn begin_table(&mut self, line: &str, column: usize) {
        if let Some(table) = self.open.take() {
            self.lost(column, &format!("`COMMIT` of table `{}`", table.name), line);
            self.close(table);
        }
        let name = line[1..].trim();
        if name.is_empty() {
            self.lost(column, "a table's name", line);
        }
        self.open = Some(Table::new(self.origin, self.family, name));
    }

    /// `:NAME POLICY [PACKETS:BYTES]`.
    fn chain(&mut self, line: &str, column: usize) {
        let mut words = line[1..].split_ascii_whitespace();
        let (name, policy) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let counters = match words.next() {
            None => Some(None),
            Some(text) => counters(text).map(Some),
        };
        let policy = match policy {
            "-" => Some(None),
            "ACCEPT" => Some(Some(Policy::Accept)),
            "DROP" => Some(Some(Policy::Drop)),
            _ => None,
        };
        let Some(table) = &mut self.open else {
            return self.lost(column, "`*TABLE` before chains", line);
        };
        let (Some(policy), Some(counters), false) = (policy, counters, name.is_empty()) else {
            return self.lost(column, "`:CHAIN POLICY [PACKETS:BYTES]`", line);
        };
        let base = policy.and_then(|policy| {
            let mut base = built_in(self.family, &table.name, name, policy)?;
            base.counters = counters;
            Some(base)
        });
        let is_strange = policy.is_some() && base.is_none();
        if table.chains.get(name).is_some() {
            return self.lost(column, "a chain that was not declared or used above", line);
        }
        table.chains.insert(Chain::new(name, base));
        if is_strange {
            self.lost(column, "a chain that iptables builds in, for a policy", line);
        }
    }

    /// `[PACKETS:BYTES] -A CHAIN …`.
    fn rule(&mut self, line: &str, column: usize) {
        let (counted, text) = match line.strip_prefix('[').and_then(|it| it.split_once(']')) {
            Some((inside, text)) => match counters(&format!("[{inside}]")) {
                Some(counters) => (Some(counters), text.trim_start()),
                None => return self.lost(column, "`[PACKETS:BYTES]`", line),
            },
            None => (None, line),
        };
        let column = column + (line.len() - text.len());
        if self.open.is_none() {
            return self.lost(column, "`*TABLE` before rules", line);
        }
        let words = match split(text, column) {
            Ok(words) => words,
            Err(problem) => return self.lost_at(problem),
        };
        let mut reader = Words::new(&words, column + text.len());
        let name = match (reader.next().map(|it| &*it.text), reader.next()) {
            (Some("-A"), Some(chain)) => chain.text.clone().into_owned(),
            _ => return self.lost(column, "`-A CHAIN`", text),
        };
        let mut read = RuleReader { words: reader, steps: Vec::new(), problems: Vec::new(), counters: None };
        read.read();
        let RuleReader { steps, problems, counters, .. } = read;
        let Some(table) = &mut self.open else { return };
        let is_declared = table.chains.get(&name).is_some();
        if !is_declared {
            table.chains.insert(Chain::new(name.clone(), None));
        }
        let table_name = table.name.clone();
        let Some(chain) = table.chains.get_mut(&name) else { return };
        let mut rule = Rule::new(chain.rules.len() + 1, steps);
        text.trim_end().clone_into(&mut rule.text);
        rule.comment = rule.steps.iter().find_map(|it| match it {
            Step::Match(Match::Comment(comment)) => Some(comment.clone()),
            _ => None,
        });
        rule.counters = counted.or(counters);
        rule.line = Some(self.line);
        let at = RuleName { table: table_name, chain: name, position: rule.position };
        chain.rules.push(rule);
        for problem in problems {
            self.remark(Weight::NotUnderstood, problem, Some(at.clone()));
        }
        if !is_declared {
            self.lost(column, "a chain that was declared above", text);
        }
    }

    /// Finishes a table: what a rule jumps to and is no chain was a target that is not known.
    fn close(&mut self, mut table: Table) {
        let chains: HashSet<String> = table.chains.iter().map(|it| it.name.clone()).collect();
        let mut unknown = Vec::new();
        for chain in &mut table.chains {
            for rule in &mut chain.rules {
                for step in &mut rule.steps {
                    let Step::Target(Target::Jump(name) | Target::Goto(name)) = step else { continue };
                    if chains.contains(name.as_str()) {
                        continue;
                    }
                    let name = std::mem::take(name);
                    unknown.push((
                        rule.line.unwrap_or(0),
                        name.clone(),
                        RuleName {
                            table: table.name.clone(),
                            chain: chain.name.clone(),
                            position: rule.position,
                        },
                    ));
                    *step = Step::Target(Target::Unknown(Unknown { name, words: Vec::new() }));
                }
            }
        }
        for (line, name, at) in unknown {
            self.remarks.push(Remark {
                source: self.source,
                weight: Weight::NotUnderstood,
                line,
                column: 1,
                path: String::new(),
                expected: "a chain of the table or a target that is known".to_owned(),
                found: excerpt(&name),
                rule: Some(at),
            });
        }
        self.tables.push(table);
    }

    fn finish(mut self) -> (Vec<Table>, Vec<Remark>) {
        if let Some(table) = self.open.take() {
            self.lost(1, &format!("`COMMIT` of table `{}`", table.name), "the end of the text");
            self.close(table);
        }
        self.remarks.sort_by_key(|it| (it.line, it.column));
        (self.tables, self.remarks)
    }

    fn lost(&mut self, column: usize, expected: &str, found: &str) {
        self.lost_at(Problem { column, expected: expected.to_owned(), found: excerpt(found) });
    }

    fn lost_at(&mut self, problem: Problem) {
        self.remark(Weight::Lost, problem, None);
    }

    fn remark(&mut self, weight: Weight, problem: Problem, rule: Option<RuleName>) {
        let Problem { column, expected, found } = problem;
        let (source, line, path) = (self.source, self.line, String::new());
        self.remarks.push(Remark { source, weight, line, column, path, expected, found, rule });
    }
}

/// Reads `[PACKETS:BYTES]`.
fn counters(text: &str) -> Option<Counters> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some(Counters { packets: packets.parse().ok()?, bytes: bytes.parse().ok()? })
}

/// The words of one rule after `-A CHAIN`.
struct RuleReader<'w, 't> {
    words: Words<'w, 't>,
    steps: Vec<Step>,
    problems: Vec<Problem>,
    counters: Option<Counters>,
}

impl RuleReader<'_, '_> {
    fn read(&mut self) {
        while let Some(word) = self.words.peek() {
            let start = self.words.position();
            let is_negated = word.text == "!" && !word.is_quoted;
            if is_negated {
                self.words.next();
            }
            let Some(option) = self.words.next() else {
                self.problems.push(self.words.unexpected("an option after `!`"));
                return;
            };
            if let Err(problem) = self.option(&option.text, is_negated) {
                self.problems.push(problem);
                // Whatever it is, it is a condition that nobody knows, up to the next module.
                self.words.rewind(start);
                let first = self.words.next().map_or_else(String::new, |it| it.text.clone().into_owned());
                let mut unknown = Unknown::read("", &mut self.words);
                unknown.words.insert(0, first);
                self.steps.push(Step::Match(Match::Unknown(unknown)));
            }
        }
    }

    fn option(&mut self, option: &str, not: bool) -> Result<(), Problem> {
        let words = &mut self.words;
        let condition = match option {
            "-s" | "--source" => Match::Source(Test { not, value: words.value("ADDRESS[/MASK]")? }),
            "-d" | "--destination" => Match::Destination(Test { not, value: words.value("ADDRESS[/MASK]")? }),
            "-i" | "--in-interface" => {
                Match::Input(Test { not, value: InterfacePattern(words.argument("a device")?.to_owned()) })
            }
            "-o" | "--out-interface" => {
                Match::Output(Test { not, value: InterfacePattern(words.argument("a device")?.to_owned()) })
            }
            "-p" | "--protocol" => {
                let value = words.parse("a protocol", crate::names::protocol_number)?;
                Match::Protocol(Test { not, value })
            }
            "-f" | "--fragment" => Match::Fragment(Test { not, value: () }),
            "-m" | "--match" if !not => {
                let name = words.argument("a module")?;
                self.module(name);
                return Ok(());
            }
            "-j" | "--jump" if !not => {
                let name = words.argument("a target")?;
                self.target(name);
                return Ok(());
            }
            "-g" | "--goto" if !not => {
                let chain = words.argument("a chain")?.to_owned();
                self.steps.push(Step::Target(Target::Goto(chain)));
                return Ok(());
            }
            "-c" | "--set-counters" if !not => {
                let packets = words.parse("packets", number)?;
                let bytes = words.parse("bytes", number)?;
                self.counters = Some(Counters { packets, bytes });
                return Ok(());
            }
            _ => return Err(words.unexpected("`-m MODULE`, `-j TARGET` or an option of iptables itself")),
        };
        self.steps.push(Step::Match(condition));
        Ok(())
    }

    /// A module with its options. One that is not understood stands for itself.
    fn module(&mut self, name: &str) {
        let start = self.words.position();
        let column = self.words.unexpected("").column;
        let problem = match Match::read(name, &mut self.words) {
            Some(Ok(condition)) if self.is_at_boundary() => {
                self.steps.push(Step::Match(condition));
                return;
            }
            Some(Ok(_)) => {
                self.words.next();
                self.words.unexpected(&format!("an option of `-m {name}`, or the next module"))
            }
            Some(Err(problem)) => problem,
            None => Problem { column, expected: "a module that is known".to_owned(), found: excerpt(name) },
        };
        self.problems.push(problem);
        self.words.rewind(start);
        self.steps.push(Step::Match(Match::Unknown(Unknown::read(name, &mut self.words))));
    }

    fn target(&mut self, name: &str) {
        let start = self.words.position();
        let problem = match Target::read(name, &mut self.words) {
            Ok(target) if self.words.peek().is_none() => {
                self.steps.push(Step::Target(target));
                return;
            }
            Ok(_) => {
                self.words.next();
                self.words.unexpected("the end of the rule")
            }
            Err(problem) => problem,
        };
        self.problems.push(problem);
        self.words.rewind(start);
        let mut unknown = Unknown::read(name, &mut self.words);
        // Nothing comes behind a target.
        while let Some(word) = self.words.next() {
            unknown.words.push(word.text.clone().into_owned());
        }
        self.steps.push(Step::Target(Target::Unknown(unknown)));
    }

    /// Do the next words begin another module, an option of iptables itself, or the target?
    fn is_at_boundary(&self) -> bool {
        match self.words.peek() {
            None => true,
            Some(word) => {
                !word.is_quoted
                    && (word.text == "!" || (word.text.starts_with('-') && !word.text.starts_with("--")))
            }
        }
    }
}
