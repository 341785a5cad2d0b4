//! The text of `arptables-legacy-save`.
//!
//! That program is a script around `arptables -L -n`: policies and rules, the target before the conditions,
//! no counters, no `COMMIT`.

use super::{
    built_in,
    words::{Words, masked, split},
};
use crate::{
    Chain, Chains, Family, Origin, Policy, Rule, Source, Step, Table, put,
    remark::{Problem, Remark, RuleName, Weight, excerpt},
    xt::{ArpMatch, InterfacePattern, MarkTarget, Masked, Match, Target, Test, Unknown},
};

/// Reads what `arptables-legacy-save` prints.
pub fn parse(text: &str) -> (Vec<Table>, Vec<Remark>) {
    let mut tables: Vec<Table> = Vec::new();
    let mut remarks = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut problems = Vec::new();
        let mut rule_name = None;
        let begin = line.trim();
        let mut weight = Weight::Lost;
        if let Some(name) = begin.strip_prefix('*') {
            tables.push(Table::new(Origin::ArptablesLegacy, Family::Arp, name));
        } else if let (Some(rest), Some(table)) = (begin.strip_prefix(':'), tables.last_mut()) {
            problems.extend(read_chain(rest, table).err());
        } else if let (true, Some(table)) = (begin.starts_with("-A "), tables.last_mut()) {
            match read_rule(begin, table, at + 1) {
                Ok((name, found)) => {
                    weight = Weight::NotUnderstood;
                    rule_name = Some(name);
                    problems = found;
                }
                Err(problem) => problems.push(problem),
            }
        } else if !begin.is_empty() && !begin.starts_with('#') {
            let expected = "`*TABLE`, `:CHAIN` or `-A CHAIN`".to_owned();
            problems.push(Problem { column: 1, expected, found: excerpt(begin) });
        }
        for Problem { column, expected, found } in problems {
            remarks.push(Remark {
                source: Source::ArptablesLegacy,
                weight,
                line: at + 1,
                column,
                path: String::new(),
                expected,
                found,
                rule: rule_name.clone(),
            });
        }
    }
    (tables, remarks)
}

/// `NAME POLICY`, where `-` is the policy of a chain that has none.
fn read_chain(text: &str, table: &mut Table) -> Result<(), Problem> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or("");
    let problem = |expected: &str| Problem { column: 1, expected: expected.to_owned(), found: excerpt(text) };
    let policy = match words.next() {
        Some("-") => None,
        Some("ACCEPT") => Some(Policy::Accept),
        Some("DROP") => Some(Policy::Drop),
        _ => return Err(problem("`:CHAIN POLICY`")),
    };
    let base = policy.and_then(|it| built_in(Family::Arp, &table.name, name, it));
    if policy.is_some() && base.is_none() {
        return Err(problem("a chain that arptables builds in, for a policy"));
    }
    if table.chains.get(name).is_some() {
        return Err(problem("a chain that was not declared or used above"));
    }
    table.chains.insert(Chain::new(name, base));
    Ok(())
}

fn read_rule(text: &str, table: &mut Table, line: usize) -> Result<(RuleName, Vec<Problem>), Problem> {
    let words = split(text, 1)?;
    let mut reader = Words::new(&words, text.len() + 1);
    reader.next();
    let name = reader.argument("a chain")?.to_owned();
    let mut conditions = Vec::new();
    let mut target = None;
    let mut problems = Vec::new();
    while reader.peek().is_some() {
        let start = reader.position();
        let not = reader.eat("!");
        match read_option(&mut reader, not, &mut target) {
            Ok(Some(condition)) => conditions.push(Step::Match(condition)),
            Ok(None) => {}
            Err(problem) => {
                problems.push(problem);
                reader.rewind(start);
                let mut unknown = Unknown { name: String::new(), words: Vec::new() };
                while let Some(word) = reader.next() {
                    unknown.words.push(word.text.clone().into_owned());
                }
                conditions.push(Step::Match(Match::Unknown(unknown)));
            }
        }
    }
    let target = target.map(|(name, words): (String, Vec<String>)| read_target(name, words, &table.chains));
    if let Some(Target::Unknown(unknown)) = &target {
        let expected = "a target that is known".to_owned();
        problems.push(Problem { column: 1, expected, found: unknown.name.clone() });
    }
    conditions.extend(target.map(Step::Target));
    let Some(chain) = table.chains.get_mut(&name) else {
        let expected = "a chain that was declared above".to_owned();
        return Err(Problem { column: 1, expected, found: excerpt(text) });
    };
    let mut rule = Rule::new(chain.rules.len() + 1, conditions);
    text.clone_into(&mut rule.text);
    rule.line = Some(line);
    let at = RuleName { table: table.name.clone(), chain: name, position: rule.position };
    chain.rules.push(rule);
    Ok((at, problems))
}

type NamedTarget = Option<(String, Vec<String>)>;

fn read_option(
    words: &mut Words<'_, '_>,
    not: bool,
    target: &mut NamedTarget,
) -> Result<Option<Match>, Problem> {
    let option = words.argument("an option")?;
    let condition = match option {
        "-j" => {
            *target = Some((words.argument("a target")?.to_owned(), Vec::new()));
            return Ok(None);
        }
        "-i" => Match::Input(Test { not, value: InterfacePattern(words.argument("a device")?.to_owned()) }),
        "-o" => Match::Output(Test { not, value: InterfacePattern(words.argument("a device")?.to_owned()) }),
        "-s" => Match::Arp(ArpMatch::SenderIp(Test { not, value: words.value("ADDRESS[/MASK]")? })),
        "-d" => Match::Arp(ArpMatch::TargetIp(Test { not, value: words.value("ADDRESS[/MASK]")? })),
        "--src-mac" => Match::Arp(ArpMatch::SenderMac(Test { not, value: words.value("MAC[/MASK]")? })),
        "--dst-mac" => Match::Arp(ArpMatch::TargetMac(Test { not, value: words.value("MAC[/MASK]")? })),
        "--opcode" => Match::Arp(ArpMatch::Operation(Test { not, value: words.parse("OPCODE", masked16)? })),
        "--h-length" => Match::Arp(ArpMatch::HardwareLength(Test { not, value: words.number("a length")? })),
        "--h-type" => {
            Match::Arp(ArpMatch::HardwareType(Test { not, value: words.parse("a type", masked16)? }))
        }
        "--proto-type" => {
            Match::Arp(ArpMatch::ProtocolType(Test { not, value: words.parse("a type", masked16)? }))
        }
        // What comes behind the conditions belongs to the target, whose name came first.
        _ => match target {
            Some((_, options)) if option.starts_with("--") && !not => {
                options.push(option.to_owned());
                while let Some(word) = words.next() {
                    options.push(word.text.clone().into_owned());
                }
                return Ok(None);
            }
            _ => return Err(words.unexpected("an option of arptables")),
        },
    };
    Ok(Some(condition))
}

fn masked16(text: &str) -> Option<(u16, u16)> {
    let (value, mask) = masked(text)?;
    Some((u16::try_from(value).ok()?, u16::try_from(mask.unwrap_or(0xffff)).ok()?))
}

fn read_target(name: String, words: Vec<String>, chains: &Chains) -> Target {
    let option = |option: &str| {
        let at = words.iter().position(|it| it == option)?;
        words.get(at + 1).map(String::as_str)
    };
    let hexadecimal = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    match name.as_str() {
        "ACCEPT" if words.is_empty() => Target::Accept,
        "DROP" if words.is_empty() => Target::Drop,
        "RETURN" if words.is_empty() => Target::Return,
        "mangle" => Target::ArpMangle(words),
        chain if chains.get(chain).is_some() && words.is_empty() => Target::Jump(name),
        "CLASSIFY" => {
            let class = option("--set-class").and_then(|it| it.split_once(':')).and_then(|(major, minor)| {
                let half = |text| u16::try_from(hexadecimal(text)?).ok();
                Some((half(major)?, half(minor)?))
            });
            match class {
                Some((major, minor)) => Target::Classify(major, minor),
                None => Target::Unknown(Unknown { name, words }),
            }
        }
        // The tool prints marks in hexadecimal without saying so.
        "MARK" => match option("--set-mark").and_then(hexadecimal) {
            Some(value) => Target::Mark(MarkTarget(Masked { value, mask: u32::MAX })),
            None => Target::Unknown(Unknown { name, words }),
        },
        _ => Target::Unknown(Unknown { name, words }),
    }
}

/// Writes tables of arptables as `arptables-legacy-save` does.
pub fn emit(tables: &[Table]) -> String {
    let mut out = String::new();
    for table in tables.iter().filter(|it| it.origin == Origin::ArptablesLegacy) {
        put!(out, "*{}\n", table.name);
        for chain in &table.chains {
            let policy = match chain.base.as_ref().map(|it| it.policy) {
                None => "-",
                Some(Policy::Accept) => "ACCEPT",
                Some(Policy::Drop) => "DROP",
            };
            put!(out, ":{} {policy}\n", chain.name);
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                emit_rule(&chain.name, rule, &mut out);
            }
        }
        out.push('\n');
    }
    out
}

fn emit_rule(chain: &str, rule: &Rule, out: &mut String) {
    put!(out, "-A {chain}");
    let mut options = String::new();
    for step in &rule.steps {
        let Step::Target(target) = step else { continue };
        match target {
            Target::Mark(MarkTarget(Masked { value, .. })) => {
                put!(out, " -j MARK");
                put!(options, " --set-mark {value:x}");
            }
            Target::Classify(major, minor) => {
                put!(out, " -j CLASSIFY");
                put!(options, " --set-class {major:x}:{minor:x}");
            }
            Target::ArpMangle(words) => {
                put!(out, " -j mangle");
                put!(options, " {}", words.join(" "));
            }
            Target::Unknown(it) => {
                put!(out, " -j {}", it.name);
                put!(options, " {}", it.words.join(" "));
            }
            other => other.write(out),
        }
    }
    for step in &rule.steps {
        if let Step::Match(condition) = step {
            condition.write(out);
        }
    }
    out.push_str(options.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use hopwise_snapshot::Mac;

    use super::*;
    use crate::{ArpHeader, Device, Effect, Hook, Layer, Ruleset, Verdict, View, testing::World};

    const SAVED: &str = "\
*filter
:INPUT ACCEPT
:OUTPUT DROP
:foo -
-A INPUT -j DROP -s 10.0.0.1 --opcode 1
-A INPUT -j foo
-A OUTPUT -j mangle -o eth0 ! --src-mac 02:00:00:00:00:01 -d 10.0.0.0/8 --mangle-ip-s 1.2.3.4
-A OUTPUT -j CLASSIFY --set-class 1:2
-A OUTPUT -j MARK --set-mark 12
-A OUTPUT -j ACCEPT --opcode 2
-A foo -j RETURN -i eth+ --h-length 6 --h-type 1 --proto-type 0x800
-A foo -j DROP -d 10.0.0.0/255.0.0.255

";

    fn asks(from: &str, to: &str) -> View<'static> {
        let mut view = View::arp(ArpHeader {
            operation: 1,
            sender_ip: from.parse().unwrap(),
            sender_mac: Mac([2, 0, 0, 0, 0, 9]),
            target_ip: to.parse().unwrap(),
            target_mac: Mac([0; 6]),
        });
        view.input = Some(Device::named("br0"));
        view
    }

    #[test]
    fn tables_are_read_and_written_as_they_were() {
        let (tables, remarks) = parse(SAVED);
        assert_eq!(remarks, []);
        assert_eq!(emit(&tables), SAVED);
        assert_eq!(tables[0].tool(), "arptables-legacy");
        assert_eq!(tables[0].chains.get("foo").unwrap().rules[0].line, Some(11));
    }

    #[test]
    fn questions_and_answers_meet_their_rules() {
        let ruleset = Ruleset { tables: parse(SAVED).0, ..Ruleset::default() };
        let run = |hook, mut view: View<'static>| {
            let entries = ruleset.hooks(Layer::Arp, hook, None);
            let outcome = ruleset.run(&entries[0], &mut view, &mut World::default());
            (outcome.verdict, outcome.effects.into_iter().map(|(_, it)| it).collect::<Vec<_>>(), view)
        };
        assert_eq!(run(Hook::Input, asks("10.0.0.1", "10.0.0.2")).0, Verdict::Drop);
        assert_eq!(run(Hook::Input, asks("10.0.0.2", "10.7.7.0")).0, Verdict::Drop);
        assert_eq!(run(Hook::Input, asks("10.0.0.2", "10.7.7.1")).0, Verdict::Accept);
        let mut at_eth = asks("10.0.0.2", "10.7.7.0");
        at_eth.input = Some(Device::named("eth7"));
        assert_eq!(run(Hook::Input, at_eth).0, Verdict::Accept);
        let mut out = asks("10.0.0.2", "10.7.7.1");
        out.output = Some(Device::named("eth0"));
        // What mangles a packet also accepts it.
        let (verdict, effects, _) = run(Hook::Output, out.clone());
        assert_eq!(verdict, Verdict::Accept);
        assert_eq!(effects, [Effect::Other("mangle".to_owned())]);
        out.output = Some(Device::named("eth1"));
        let (verdict, _, view) = run(Hook::Output, out);
        assert_eq!((verdict, view.mark, view.priority), (Verdict::Drop, 0x12, 0x0001_0002));
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        let text =
            "*filter\n:INPUT ACCEPT\n-A INPUT -j DROP --colour red\n-A INPUT -j TELEPORT\n:odd\nnoise\n";
        let (tables, remarks) = parse(text);
        let places: Vec<(usize, Weight)> = remarks.iter().map(|it| (it.line, it.weight)).collect();
        assert_eq!(
            places,
            [(3, Weight::NotUnderstood), (4, Weight::NotUnderstood), (5, Weight::Lost), (6, Weight::Lost),]
        );
        let ruleset = Ruleset { tables, ..Ruleset::default() };
        let entries = ruleset.hooks(Layer::Arp, Hook::Input, None);
        let outcome = ruleset.run(&entries[0], &mut asks("10.0.0.1", "10.0.0.2"), &mut World::default());
        assert!(!outcome.is_certain());
    }
}
