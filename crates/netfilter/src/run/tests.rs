//! How packets walk through chains.

use crate::{
    Chain, Effect, Hook, How, Layer, Policy, Rule, RuleRef, Ruleset, Source, Step, Verdict, View, iptables,
    testing::{World, ruleset, run, syn},
    xt::Target,
};

fn walk(text: &str, world: &mut World) -> (crate::Outcome, Ruleset) {
    let ruleset = ruleset(text, &syn());
    let outcome = run(&ruleset, Hook::Forward, &mut syn(), world);
    (outcome, ruleset)
}

/// The rules that a packet passed, as `CHAIN:POSITION`, and what became of it.
fn path(text: &str) -> String {
    let (outcome, ruleset) = walk(text, &mut World::default());
    let name = |at: RuleRef| {
        let chain = &ruleset.chain_of(at).unwrap().name;
        at.position().map_or_else(|| format!("{chain}:policy"), |position| format!("{chain}:{position}"))
    };
    let mut steps: Vec<String> = outcome.path.iter().map(|it| name(it.rule)).collect();
    steps.push(format!("{:?} by {}", outcome.verdict, name(outcome.by)));
    steps.join(" ")
}

#[test]
fn a_chain_that_ends_comes_back_to_its_caller() {
    let text = "*filter
:FORWARD DROP [0:0]
:A - [0:0]
:B - [0:0]
-A FORWARD -j A
-A FORWARD -p tcp -j ACCEPT
-A A -p udp -j DROP
-A A -j B
-A A -j RETURN
-A A -j DROP
-A B -m comment --comment counts
COMMIT";
    assert_eq!(path(text), "FORWARD:1 A:2 B:1 A:3 FORWARD:2 Accept by FORWARD:2");
}

#[test]
fn a_chain_that_was_gone_to_comes_back_to_the_caller_of_its_caller() {
    let text = "*filter
:FORWARD DROP [0:0]
:A - [0:0]
:B - [0:0]
-A FORWARD -j A
-A FORWARD -j ACCEPT
-A A -g B
-A A -j DROP
-A B -m comment --comment counts
COMMIT";
    assert_eq!(path(text), "FORWARD:1 A:1 B:1 FORWARD:2 Accept by FORWARD:2");
}

#[test]
fn going_or_returning_out_of_a_base_chain_leads_to_its_policy() {
    let text = "*filter
:FORWARD DROP [0:0]
:A - [0:0]
-A FORWARD -g A
-A FORWARD -j ACCEPT
-A A -p udp -j ACCEPT
COMMIT";
    assert_eq!(path(text), "FORWARD:1 Drop by FORWARD:policy");
    let text = "*filter
:FORWARD DROP [0:0]
-A FORWARD -j RETURN
-A FORWARD -j ACCEPT
COMMIT";
    assert_eq!(path(text), "FORWARD:1 Drop by FORWARD:policy");
}

#[test]
fn a_chain_may_be_run_twice_but_not_within_itself() {
    let twice = "*filter
:FORWARD ACCEPT [0:0]
:A - [0:0]
-A FORWARD -j A
-A FORWARD -j A
-A A -j RETURN
COMMIT";
    assert_eq!(path(twice), "FORWARD:1 A:1 FORWARD:2 A:1 Accept by FORWARD:policy");
    for word in ["-j", "-g"] {
        let text = format!(
            "*filter
:FORWARD ACCEPT [0:0]
:A - [0:0]
:B - [0:0]
-A FORWARD -j A
-A A {word} B
-A B {word} A
COMMIT"
        );
        let (outcome, _) = walk(&text, &mut World::default());
        assert_eq!(outcome.verdict, Verdict::Unknown("chain `A` leads to itself".to_owned()), "{word}");
    }
}

#[test]
fn chains_that_call_each_other_without_end_in_sight_are_given_up() {
    let mut text = "*filter\n:FORWARD ACCEPT [0:0]\n".to_owned();
    let put = |text: &mut String, line: String| text.push_str(&line);
    for depth in 0..40 {
        put(&mut text, format!(":C{depth} - [0:0]\n"));
    }
    text += "-A FORWARD -j C0\n";
    for depth in 0..39 {
        for _ in 0..4 {
            put(&mut text, format!("-A C{depth} -j C{}\n", depth + 1));
        }
    }
    text += "COMMIT";
    let (outcome, _) = walk(&text, &mut World { ..World::default() });
    assert!(matches!(outcome.verdict, Verdict::Unknown(why) if why.starts_with("gave up")));
}

#[test]
fn a_target_without_verdict_goes_on() {
    let text = "*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -j LOG --log-level 7
-A FORWARD -p tcp -j DROP
COMMIT";
    let (outcome, _) = walk(text, &mut World::default());
    assert_eq!(outcome.effects.len(), 1);
    assert_eq!(outcome.verdict, Verdict::Drop);
}

#[test]
fn what_nobody_knows_is_asked_once_a_rule_and_marked() {
    let text = "*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p tcp -m limit --limit 3/min -m time --timestart 01:00:00 -j DROP
COMMIT";
    let mut world = World { follow: true, ..World::default() };
    let (outcome, ruleset) = walk(text, &mut world);
    assert_eq!(world.asked.len(), 1);
    assert!(world.asked[0].contains("limit") && world.asked[0].contains("time"), "{:?}", world.asked);
    assert_eq!((outcome.verdict, outcome.path[0].how), (Verdict::Drop, How::Assumed));
    let (outcome, _) = walk(text, &mut World::default());
    assert_eq!(outcome.verdict, Verdict::Accept);
    assert_eq!((outcome.is_certain(), outcome.assumptions[0].followed), (false, false));
    let at = RuleRef::rule(0, 0, 1);
    assert!(ruleset.describe(at).starts_with("iptables-legacy filter FORWARD -A FORWARD -p tcp"));
}

#[test]
fn an_unknown_module_or_target_is_asked_and_never_taken_for_granted() {
    let text = "*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m frobnicate --very ! --much -j DROP
-A FORWARD -p tcp -j FROB --hard
-A FORWARD -j NOWHERE
COMMIT
";
    let (tables, remarks) = iptables::parse(text, Source::IptablesLegacy);
    let found: Vec<(usize, &str)> = remarks.iter().map(|it| (it.line, it.found.as_str())).collect();
    assert_eq!(found, [(3, "frobnicate"), (4, "FROB"), (5, "NOWHERE")]);
    assert!(remarks.iter().all(|it| it.weight == crate::Weight::NotUnderstood && it.rule.is_some()));
    assert_eq!(iptables::emit(&tables), text);
    let ruleset = Ruleset { tables, ..Ruleset::default() };
    let mut world = World::default();
    let outcome = run(&ruleset, Hook::Forward, &mut syn(), &mut world);
    assert_eq!(outcome.verdict, Verdict::Accept);
    assert_eq!(
        world.asked,
        [
            "match `frobnicate` is not understood",
            "target `FROB` is not understood",
            "target `NOWHERE` is not understood",
        ]
    );
    assert!(!outcome.is_certain());
}

#[test]
fn marks_are_seen_by_later_rules_and_by_later_chains() {
    let text = "*mangle
:FORWARD ACCEPT [0:0]
-A FORWARD -j MARK --set-xmark 0x1/0x1
-A FORWARD -m mark --mark 0x1/0x1 -j MARK --set-xmark 0x2/0x0
COMMIT";
    let ruleset = ruleset(text, &syn());
    let mut view = View { mark: 0x10, ..syn() };
    let outcome = run(&ruleset, Hook::Forward, &mut view, &mut World::default());
    assert_eq!(view.mark, 0x13);
    let effects: Vec<&Effect> = outcome.effects.iter().map(|(_, it)| it).collect();
    assert_eq!(effects, [&Effect::Mark { from: 0x10, to: 0x11 }, &Effect::Mark { from: 0x11, to: 0x13 }]);
}

#[test]
fn a_ruleset_may_be_changed_and_asked_again() {
    let mut ruleset = ruleset("*filter\n:FORWARD DROP [0:0]\nCOMMIT", &syn());
    let chain = ruleset.tables[0].chains.get_mut("FORWARD").unwrap();
    chain.rules.push(Rule::new(1, vec![Step::Target(Target::Jump("A".to_owned()))]));
    let mut added = Chain::new("A", None);
    added.rules.push(Rule::new(1, vec![Step::Target(Target::Accept)]));
    ruleset.tables[0].chains.insert(added);
    let outcome = run(&ruleset, Hook::Forward, &mut syn(), &mut World::default());
    assert_eq!(outcome.verdict, Verdict::Accept);
    ruleset.tables[0].chains.retain(|it| it.name != "A");
    ruleset.tables[0].chains.get_mut("FORWARD").unwrap().base.as_mut().unwrap().policy = Policy::Accept;
    let mut world = World::default();
    let outcome = run(&ruleset, Hook::Forward, &mut syn(), &mut world);
    assert_eq!((outcome.verdict, world.asked.len()), (Verdict::Accept, 1), "a chain that is gone is asked");
}

#[test]
fn without_rules_there_is_nothing_to_run() {
    assert!(Ruleset::default().hooks(Layer::Ip4, Hook::Forward, None).is_empty());
}
