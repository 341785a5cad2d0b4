//! Runs a packet through a base chain.

use std::{collections::HashSet, net::IpAddr};

use hopwise_snapshot::ConntrackTuple;

use crate::{
    Assumption, Chain, Effect, Family, HookEntry, How, Layer, Outcome, Policy, Rule, Ruleset, Step,
    Surroundings, Table, Verdict, View, Visited,
    model::Hook,
    packet::{Connection, ConnectionState, ConnectionStatus, Direction, Network, Transport},
    rule_ref::RuleRef,
    scene::Scene,
    ternary::Ternary,
    xt,
};

/// The most rules that one run looks at. No ruleset that a kernel takes in earnest comes near.
const MOST_RULES: usize = 1_000_000;

/// How evaluation goes on after a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Flow<'r> {
    /// With the next step, and after the last one with the next rule.
    Next,
    /// With the next rule: the rule does not match.
    Break,
    /// In another chain, and then here.
    Jump(&'r str),
    /// In another chain, and then where this one would.
    Goto(&'r str),
    /// Where this chain was entered from.
    Return,
    /// Not at all.
    End(Verdict),
}

/// Whether a group of conditions holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// As far as is known.
    Settled(Ternary),
    /// With this probability.
    Chance(f64),
}

/// A packet at a rule, with everything that a step may change.
pub(crate) struct Stage<'r, 'v, 'a> {
    pub(crate) ruleset: &'r Ruleset,
    pub(crate) table: &'r Table,
    pub(crate) layer: Layer,
    pub(crate) hook: Hook,
    pub(crate) view: &'v mut View<'a>,
    pub(crate) around: &'v mut dyn Surroundings,
    /// The rule that is running.
    pub(crate) rule: RuleRef,
    /// The listening socket that a statement gave the packet to: address and port.
    pub(crate) proxy: Option<(Option<IpAddr>, Option<u16>)>,
    /// How the rule that is running came to be followed, so far.
    how: How,
    effects: Vec<(RuleRef, Effect)>,
    assumptions: Vec<Assumption>,
}

impl Ruleset {
    /// Runs a packet through one base chain.
    ///
    /// [`Verdict::Accept`] ends this chain alone: the tracer goes on with the next entry of
    /// [`Ruleset::hooks`]. Marks and header fields of `view` are changed as statements change them;
    /// translation is not carried out, only asked for ([`Verdict::Nat`]).
    pub fn run(&self, entry: &HookEntry<'_>, view: &mut View<'_>, around: &mut dyn Surroundings) -> Outcome {
        if entry.table.family == Family::Inet && entry.layer == Layer::Netdev && view.header().is_none() {
            // The ingress hook of inet tables lets everything else pass unseen (nft_do_chain_inet_ingress).
            return Outcome {
                verdict: Verdict::Accept,
                by: RuleRef::policy(entry.table_at, entry.chain_at),
                path: Vec::new(),
                effects: Vec::new(),
                assumptions: Vec::new(),
            };
        }
        let mut stage = Stage {
            ruleset: self,
            table: &self.tables[entry.table_at],
            layer: entry.layer,
            hook: entry.hook,
            view,
            around,
            rule: RuleRef::policy(entry.table_at, entry.chain_at),
            proxy: None,
            how: How::Matched,
            effects: Vec::new(),
            assumptions: Vec::new(),
        };
        if entry.is_device_unknown && !stage.ask_unknown("the devices of a chain are not listed") {
            let Stage { rule: by, effects, assumptions, .. } = stage;
            return Outcome { verdict: Verdict::Accept, by, path: Vec::new(), effects, assumptions };
        }
        Walk {
            stage,
            table_at: entry.table_at,
            base_at: entry.chain_at,
            callers: Vec::new(),
            entered: HashSet::from([entry.chain_at]),
            lineage: vec![entry.chain_at],
            path: Vec::new(),
            n_rules: 0,
        }
        .run()
    }
}

/// Where evaluation goes on after a chain.
struct Caller {
    chain_at: usize,
    /// The next rule, from 0.
    next: usize,
    /// How many chains lead here.
    n_lineage: usize,
}

struct Walk<'r, 'v, 'a> {
    stage: Stage<'r, 'v, 'a>,
    table_at: usize,
    base_at: usize,
    callers: Vec<Caller>,
    /// The chains that lead to the one that is running; none may come twice.
    entered: HashSet<usize>,
    lineage: Vec<usize>,
    path: Vec<Visited>,
    n_rules: usize,
}

impl<'r> Walk<'r, '_, '_> {
    fn run(mut self) -> Outcome {
        let (mut chain_at, mut next) = (self.base_at, 0);
        loop {
            let Some(rule) = self.chain(chain_at).and_then(|it| it.rules.get(next)) else {
                match self.leave() {
                    Some(caller) => (chain_at, next) = (caller.chain_at, caller.next),
                    None => return self.end_by_policy(),
                }
                continue;
            };
            next += 1;
            self.n_rules += 1;
            self.stage.rule = RuleRef::rule(self.table_at, chain_at, next);
            if self.n_rules > MOST_RULES {
                return self.end(Verdict::Unknown(format!("gave up after {MOST_RULES} rules")));
            }
            self.stage.how = How::Matched;
            let flow = self.stage.rule(rule);
            if flow != Flow::Break {
                self.path.push(Visited { rule: self.stage.rule, how: self.stage.how });
            }
            match flow {
                Flow::Next | Flow::Break => {}
                Flow::End(verdict) => return self.end(verdict),
                Flow::Return => match self.leave() {
                    Some(caller) => (chain_at, next) = (caller.chain_at, caller.next),
                    None => return self.end_by_policy(),
                },
                Flow::Jump(name) | Flow::Goto(name) => {
                    let Some(target) = self.stage.table.chains.position(name) else {
                        self.stage.ask_unknown(&format!("chain `{name}` is not known"));
                        continue;
                    };
                    if !self.entered.insert(target) {
                        return self.end(Verdict::Unknown(format!("chain `{name}` leads to itself")));
                    }
                    if matches!(flow, Flow::Jump(_)) {
                        self.callers.push(Caller { chain_at, next, n_lineage: self.lineage.len() });
                    }
                    self.lineage.push(target);
                    (chain_at, next) = (target, 0);
                }
            }
        }
    }

    fn chain(&self, at: usize) -> Option<&'r Chain> {
        self.stage.table.chains.at(at)
    }

    /// Leaves the chain that is running; none where it was the base chain's turn.
    fn leave(&mut self) -> Option<Caller> {
        let caller = self.callers.pop()?;
        for left in self.lineage.drain(caller.n_lineage..) {
            self.entered.remove(&left);
        }
        Some(caller)
    }

    fn end(self, verdict: Verdict) -> Outcome {
        let Stage { rule: by, effects, assumptions, proxy, .. } = self.stage;
        let verdict = match (verdict, proxy) {
            (Verdict::Accept, Some((address, port))) => Verdict::Tproxy { address, port },
            (verdict, _) => verdict,
        };
        Outcome { verdict, by, path: self.path, effects, assumptions }
    }

    fn end_by_policy(mut self) -> Outcome {
        self.stage.rule = RuleRef::policy(self.table_at, self.base_at);
        let policy = self.chain(self.base_at).and_then(|it| it.base.as_ref()).map(|it| it.policy);
        let verdict = match policy {
            Some(Policy::Drop) => Verdict::Drop,
            Some(Policy::Accept) | None => Verdict::Accept,
        };
        self.end(verdict)
    }
}

impl<'r> Stage<'r, '_, '_> {
    /// What the packet may be asked about now.
    pub(crate) fn scene(&self) -> Scene<'_> {
        Scene {
            view: self.view,
            layer: self.layer,
            hook: self.hook,
            table: self.table,
            ruleset: self.ruleset,
            around: &*self.around,
        }
    }

    fn rule(&mut self, rule: &'r Rule) -> Flow<'r> {
        let mut at = 0;
        while let Some(step) = rule.steps.get(at) {
            let flow = match step {
                Step::Match(_) | Step::Relation(_) => {
                    let rest = &rule.steps[at..];
                    let n_conditions = rest.iter().take_while(|it| is_condition(it)).count();
                    let flow = self.conditions(&rest[..n_conditions]);
                    at += n_conditions;
                    flow
                }
                Step::Target(target) => {
                    at += 1;
                    target.apply(self)
                }
                Step::Statement(statement) => {
                    at += 1;
                    statement.apply(self)
                }
            };
            if flow != Flow::Next {
                return flow;
            }
        }
        Flow::Next
    }

    /// Whether all of these hold: first what is known, then what chance decides, then what nobody knows.
    fn conditions(&mut self, steps: &[Step]) -> Flow<'r> {
        let mut chances = Vec::new();
        let mut unknown: Option<String> = None;
        let mut drops_hot = false;
        for step in steps {
            let scene = self.scene();
            let answer = match step {
                Step::Match(condition) => {
                    if condition.drops_hot(&scene) {
                        drops_hot = true;
                        break;
                    }
                    condition.answer(&scene)
                }
                Step::Relation(relation) => relation.answer(&scene),
                // Only what changes nothing is among conditions.
                Step::Target(_) | Step::Statement(_) => continue,
            };
            match answer {
                Answer::Settled(Ternary::No) => return Flow::Break,
                Answer::Settled(Ternary::Yes) => {}
                Answer::Settled(Ternary::Unknown(why)) => match &mut unknown {
                    Some(all) if !all.contains(&*why) => {
                        all.push_str("; ");
                        all.push_str(&why);
                    }
                    Some(_) => {}
                    None => unknown = Some(why.into_owned()),
                },
                Answer::Chance(probability) => chances.push(probability),
            }
        }
        for probability in chances {
            if !self.draw(probability) {
                return Flow::Break;
            }
        }
        if let Some(why) = unknown {
            if !self.ask_unknown(&why) {
                return Flow::Break;
            }
            self.how = How::Assumed;
        }
        if drops_hot {
            return Flow::End(Verdict::Drop);
        }
        self.restore_marks(steps);
        Flow::Next
    }

    /// Lets chance decide what holds with this probability.
    pub(crate) fn draw(&mut self, probability: f64) -> bool {
        let holds = xt::chance(self.around, probability, self.rule);
        if holds && self.how == How::Matched {
            self.how = How::Chosen;
        }
        holds
    }

    /// Lets chance decide between several outcomes.
    pub(crate) fn choose(&mut self, weights: &[f64]) -> usize {
        if self.how == How::Matched {
            self.how = How::Chosen;
        }
        self.around.choose(weights, self.rule).min(weights.len().saturating_sub(1))
    }

    /// Asks whether to take for true what nobody knows.
    pub(crate) fn ask_unknown(&mut self, why: &str) -> bool {
        self.how = How::Assumed;
        let followed = self.around.unknown(self.rule, why);
        self.assumptions.push(Assumption { rule: self.rule, why: why.to_owned(), followed });
        followed
    }

    fn restore_marks(&mut self, steps: &[Step]) {
        for step in steps {
            let Step::Match(xt::Match::Socket(socket)) = step else { continue };
            if let Some(mark) = socket.restored_mark(&self.scene()) {
                self.set_mark(mark);
            }
        }
    }

    /// Notes an effect of the rule that is running.
    pub(crate) fn note(&mut self, effect: Effect) {
        self.effects.push((self.rule, effect));
    }

    pub(crate) fn set_mark(&mut self, to: u32) {
        let from = std::mem::replace(&mut self.view.mark, to);
        if from != to {
            self.note(Effect::Mark { from, to });
        }
    }

    pub(crate) fn set_connection_mark(&mut self, to: u32) {
        let Some(connection) = self.view.connection.as_mut().filter(|it| it.is_tracked()) else { return };
        let from = std::mem::replace(&mut connection.mark, to);
        if from != to {
            self.note(Effect::ConnectionMark { from, to });
        }
    }

    pub(crate) fn set_priority(&mut self, to: u32) {
        self.view.priority = to;
        self.note(Effect::Priority(to));
    }

    pub(crate) fn set_tos(&mut self, change: impl FnOnce(u8) -> u8) {
        let Network::Ip(header) = &mut self.view.network else { return };
        header.tos = change(header.tos);
        let value = header.tos.into();
        self.note(Effect::Rewritten { field: "ip tos".to_owned(), value: Some(value) });
    }

    pub(crate) fn set_ttl(&mut self, change: impl FnOnce(u8) -> u8) {
        let Network::Ip(header) = &mut self.view.network else { return };
        header.ttl = change(header.ttl);
        let value = header.ttl.into();
        self.note(Effect::Rewritten { field: "ip ttl".to_owned(), value: Some(value) });
    }

    /// Takes the packet out of tracking, unless tracking has seen it.
    pub(crate) fn stop_tracking(&mut self) {
        if self.view.connection.is_some() {
            return;
        }
        let Some(tuple) = tuple_of(self.view) else { return };
        self.view.connection = Some(Connection {
            state: ConnectionState::Untracked,
            direction: Direction::Original,
            status: ConnectionStatus::empty(),
            mark: 0,
            original: tuple.clone(),
            reply: ConntrackTuple {
                source: tuple.destination,
                destination: tuple.source,
                protocol: tuple.protocol,
                source_port: tuple.destination_port,
                destination_port: tuple.source_port,
            },
            zone: 0,
            helper: None,
        });
        self.note(Effect::NoTrack);
    }
}

/// May this step be looked at together with the conditions around it?
fn is_condition(step: &Step) -> bool {
    match step {
        Step::Match(_) | Step::Relation(_) => true,
        Step::Statement(statement) => statement.is_inert(),
        Step::Target(_) => false,
    }
}

/// The tuple that tracking would take from the packet.
fn tuple_of(view: &View<'_>) -> Option<ConntrackTuple> {
    let header = view.header()?;
    let (source_port, destination_port) = match (view.ports(), view.transport) {
        (Some(ports), _) => ports,
        (None, Transport::Icmp { kind, code, id }) => {
            (id.unwrap_or(0), u16::from(kind) << 8 | u16::from(code))
        }
        (None, _) => (0, 0),
    };
    Some(ConntrackTuple {
        source: header.source,
        destination: header.destination,
        protocol: header.protocol,
        source_port,
        destination_port,
    })
}

#[cfg(test)]
mod tests;
