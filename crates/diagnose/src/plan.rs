//! Which repairs are done together, and which are not and why.

use std::{
    cell::LazyCell,
    collections::{BTreeMap, BTreeSet},
};

use hopwise_change::{Change, Settings, differing, restore, settings};
use hopwise_dataplane::{
    Check, Flow, FlowProtocol, Network, Promise, PromiseKind, Size, State, check, contract,
};
use hopwise_dns::ResolvConf;
use hopwise_repair::{Action, PlannedStep, Repair, Risk};
use hopwise_snapshot::{
    Answers, Element, FileContent, Message, NodeName, ObjectMeta, Observation, Observed, Place, Question,
    Snapshot,
};

use crate::{Cause, Diagnosis, Finding, Kind, Proof, Violation, probing::mtu, prove, question_of};

/// How many broken flows of a finding are asked for with packets after its repair.
const MOST_QUESTIONS: usize = 16;
/// How many flows of a class are looked at for one that should arrive.
const MOST_TRIED: usize = 16;

/// Which findings are meant: `CODE[@ELEMENT-PREFIX]`.
#[derive(Clone, Debug)]
pub struct Selector {
    /// The cause.
    pub cause: &'static Cause,
    /// What one of the finding's elements begins with; none for all findings of the cause.
    pub prefix: Option<String>,
}

impl Selector {
    /// Is this finding meant?
    pub fn matches(&self, finding: &Finding) -> bool {
        let begins = |prefix: &String| finding.elements.iter().any(|it| it.as_str().starts_with(prefix));
        finding.cause.code == self.cause.code && self.prefix.as_ref().is_none_or(begins)
    }
}

/// What is done about the findings of a diagnosis.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The findings that are repaired, by their place in [`Diagnosis::findings`].
    pub repaired: Vec<usize>,
    /// What is done, in order, each once.
    pub steps: Vec<Action>,
    /// The findings that are not repaired, and why not.
    pub refused: Vec<(usize, Refusal)>,
    /// What the model says of all steps together.
    pub proof: Proof,
}

/// Why a repair is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("no repair is known that the model can try")]
    None,
    /// Only a person can do it.
    #[error("only a person can do it: {0}")]
    ByHand(String),
    /// It is not the only explanation that is left.
    #[error("the cause is {}, not proven", .0.word())]
    Unproven(Kind),
    /// The model could not try it.
    #[error("the model cannot try it: {0}")]
    NotTried(String),
    /// It would break or open something.
    #[error("{}", harm(.0))]
    Harms(Proof),
    /// It is riskier than what was allowed.
    #[error("{0} is only done with --yes")]
    Risky(Risk),
    /// Something of it could not be taken back.
    #[error("nothing would take back {}: it is only done with --yes", listed(.0))]
    Final(Vec<Element>),
}

fn harm(proof: &Proof) -> String {
    let opened = (proof.n_opened > 0).then(|| format!("open {} forbidden flows", proof.n_opened));
    let broken = (proof.n_newly_broken > 0).then(|| format!("break {} promised flows", proof.n_newly_broken));
    let all: Vec<String> = opened.into_iter().chain(broken).collect();
    format!("it would {}", all.join(" and "))
}

fn listed(elements: &[Element]) -> String {
    let mut all: Vec<String> = elements.iter().take(3).map(ToString::to_string).collect();
    if elements.len() > 3 {
        all.push(format!("{} more", elements.len() - 3));
    }
    all.join(", ")
}

/// Plans the repair of the findings that are selected; of all where nothing is. `may_cut` allows what cuts something
/// for a while.
pub fn plan(snapshot: &Snapshot, diagnosis: &Diagnosis, selected: &[Selector], may_cut: bool) -> Plan {
    let mut plan =
        Plan { repaired: Vec::new(), steps: Vec::new(), refused: Vec::new(), proof: Proof::default() };
    let before = LazyCell::new(|| settings(snapshot));
    for (at, finding) in diagnosis.findings.iter().enumerate() {
        if !selected.is_empty() && !selected.iter().any(|it| it.matches(finding)) {
            continue;
        }
        if let Some(refusal) = refusal((snapshot, &before), finding, may_cut) {
            plan.refused.push((at, refusal));
            continue;
        }
        plan.repaired.push(at);
        let steps = finding.repair.actions.iter().filter(|it| may_cut || !is_optional(finding, it));
        plan.steps.extend(steps.cloned());
    }
    plan.steps = Repair::joined(std::mem::take(&mut plan.steps)).actions;
    plan.proof = prove(snapshot, &Repair { actions: plan.steps.clone() });
    if plan.proof.n_opened > 0 || plan.proof.n_newly_broken > 0 || plan.proof.not_tried.is_some() {
        // Each is harmless by itself and all together are not: nobody knows which to leave.
        let refusal = match &plan.proof.not_tried {
            Some(reason) => Refusal::NotTried(reason.clone()),
            None => Refusal::Harms(plan.proof.clone()),
        };
        plan.refused.extend(plan.repaired.drain(..).map(|it| (it, refusal.clone())));
        plan.refused.sort_by_key(|(at, _)| *at);
        plan.steps.clear();
    }
    plan
}

fn refusal(
    (snapshot, before): (&Snapshot, &LazyCell<Settings, impl FnOnce() -> Settings>),
    finding: &Finding,
    may_cut: bool,
) -> Option<Refusal> {
    let (repair, proof) = (&finding.repair, &finding.proof);
    if repair.actions.is_empty() {
        return Some(Refusal::None);
    }
    let is_by_hand =
        |it: &&Action| it.risk == Risk::External || it.changes.is_empty() && it.persist.is_none();
    if let Some(action) = repair.actions.iter().find(is_by_hand) {
        return Some(Refusal::ByHand(action.run.join("; ")));
    }
    match finding.kind {
        Kind::Located | Kind::Suspected => return Some(Refusal::Unproven(finding.kind)),
        Kind::Proven | Kind::Latent => {}
    }
    if proof.n_opened > 0 || proof.n_newly_broken > 0 {
        return Some(Refusal::Harms(proof.clone()));
    }
    let needed = repair.actions.iter().filter(|it| !is_optional(finding, it));
    let risk = needed.map(|it| it.risk).max().unwrap_or_default();
    if risk > Risk::Persistent && !may_cut {
        return Some(Refusal::Risky(risk));
    }
    let mut after = snapshot.clone();
    for change in repair.changes() {
        if let Err(error) = change.apply(&mut after) {
            return Some(Refusal::NotTried(error.to_string()));
        }
    }
    if let Some(path) = unreadable_file(snapshot, repair) {
        let why = format!("{path} was not read as it is, so that writing it anew would lose something");
        return Some(Refusal::NotTried(why));
    }
    if may_cut {
        return None;
    }
    let elements = differing(before, &settings(&after));
    let left = restore(&after, snapshot, &elements).left;
    // A pair of interfaces comes with its pod, and goes with it.
    let is_final = |it: &Element| it.parts().first().is_none_or(|it| it != "link" && it != "bridge");
    let left: Vec<Element> = left.into_iter().filter(is_final).collect();
    (!left.is_empty()).then_some(Refusal::Final(left))
}

/// A file that a repair writes anew, and of which something was cut out, or that is no text.
fn unreadable_file(snapshot: &Snapshot, repair: &Repair) -> Option<String> {
    let written = repair.actions.iter().flat_map(Action::acts);
    written.into_iter().find_map(|it| {
        let Change::FileWritten { place, path, .. } = it else { return None };
        let file = snapshot.files(&place)?.get(&path)?;
        let is_whole = match file {
            Observed::Known(file) => file.n_redacted == 0 && matches!(file.content, FileContent::Text(_)),
            Observed::Absent => true,
            Observed::NotCollected(_) => false,
        };
        (!is_whole).then_some(path)
    })
}

/// Does a step only make last what others do now? Then they are done without it, where it is too risky.
fn is_optional(finding: &Finding, action: &Action) -> bool {
    finding.kind != Kind::Latent && action.changes.is_empty() && action.risk > Risk::Persistent
}

impl Plan {
    /// The steps as a journal keeps them.
    pub fn planned(&self) -> Vec<PlannedStep> {
        let planned = |action: &Action| PlannedStep {
            place: action.place.clone(),
            changes: Repair::one(action.clone()).changes(),
            acts: action.acts(),
        };
        self.steps.iter().map(planned).collect()
    }
}

/// The questions whose answers show that what findings broke is kept in `snapshot`, which was read after their repair: one
/// for each class of flows that packets can ask for, and that should arrive by now. The diagnosis is one of every promise ([`crate::diagnose`]).
pub fn questions(snapshot: &Snapshot, diagnosis: &Diagnosis, findings: &[usize]) -> Vec<Question> {
    // What something else breaks as well is still broken when this is repaired.
    questions_of(snapshot, diagnosis, findings, (State::Kept, MOST_QUESTIONS))
}

/// The questions whose silence shows that what the findings of a diagnosis of this snapshot break is broken for packets
/// too: one for each finding.
pub fn confirmations(snapshot: &Snapshot, diagnosis: &Diagnosis) -> Vec<Question> {
    let findings: Vec<usize> = (0..diagnosis.findings.len()).take(MOST_QUESTIONS).collect();
    questions_of(snapshot, diagnosis, &findings, (State::Broken, 1))
}

/// Up to so many questions for flows of each finding that the model has in a state.
fn questions_of(
    snapshot: &Snapshot,
    diagnosis: &Diagnosis,
    findings: &[usize],
    (state, most): (State, usize),
) -> Vec<Question> {
    let contract = contract(snapshot);
    let network = Network::new(snapshot);
    let mut all = Vec::new();
    for at in findings {
        let violations = diagnosis.findings.get(*at).into_iter().flat_map(|it| &it.violations);
        let violations = violations.filter_map(|it| diagnosis.violations.get(*it));
        let is_wanted = |it: &&Promise| check(&network, snapshot, it).state == state;
        let promises = violations.filter_map(|it| {
            let mut all = it.promises.iter().take(MOST_TRIED).filter_map(|it| contract.promises.get(*it));
            all.find(is_wanted)
        });
        let asked = promises.filter_map(|it| question(snapshot, it));
        all.extend(asked.take(most));
    }
    all.sort();
    all.dedup();
    all
}

/// Questions that show of some nodes that their pods work as usual, after something was done there: to a pod of the same
/// node, of another one, to a Service, for a name. Only what should be answered by all that was read.
pub fn samples(snapshot: &Snapshot, nodes: &BTreeSet<NodeName>) -> Vec<Question> {
    let contract = contract(snapshot);
    let network = Network::new(snapshot);
    let mut wanted: BTreeSet<(NodeName, PromiseKind, bool)> = BTreeSet::new();
    let mut all = BTreeSet::new();
    for promise in contract.promises.iter().filter(|it| it.from.as_pod().is_some()) {
        let Some(node) = snapshot.node_of(&promise.from).filter(|it| nodes.contains(it)) else { continue };
        let to = match &promise.check {
            Check::Flow { flow, .. } => snapshot.cluster.owner_of(flow.to),
            Check::Name { .. } | Check::Duty(_) => None,
        };
        let is_near = to.as_ref().and_then(|it| snapshot.node_of(it)).is_some_and(|it| it == node);
        let is_asked =
            matches!(promise.kind, PromiseKind::PodToPod | PromiseKind::Service | PromiseKind::Name);
        let kind = (node, promise.kind, is_near);
        if !is_asked || to.as_ref() == Some(&promise.from) || wanted.contains(&kind) {
            continue;
        }
        let Some(question) = question(snapshot, promise) else { continue };
        if check(&network, snapshot, promise).state == State::Kept {
            wanted.insert(kind);
            all.insert(question);
        }
    }
    all.into_iter().collect()
}

/// What was seen of the flows of each finding by packets.
pub(crate) fn packets(
    snapshot: &Snapshot,
    promises: &[Promise],
    (findings, violations): (&mut [Finding], &[Violation]),
) {
    let asked = snapshot.observations.iter().filter_map(|it| match it {
        Observation::Asked { question, answers } => Some((question, *answers)),
        Observation::Crossed { .. } => None,
    });
    let asked: BTreeMap<&Question, Answers> = asked.collect();
    if asked.is_empty() {
        return;
    }
    let has_names = asked.keys().any(|it| matches!(it.message, Message::Name { .. }));
    for finding in findings {
        let own = finding.violations.iter().filter_map(|it| violations.get(*it)).flat_map(|it| &it.promises);
        let own = own.filter_map(|it| promises.get(*it));
        let own = own.filter(|it| has_names || matches!(it.check, Check::Flow { .. }));
        let questions: BTreeSet<Question> = own.filter_map(|it| question(snapshot, it)).collect();
        for answers in questions.iter().filter_map(|it| asked.get(it)) {
            finding.packets.n_sent += answers.n_sent;
            finding.packets.n_answered += answers.n_answered;
            finding.packets.n_refused += answers.n_refused;
        }
    }
}

/// The question that shows whether a promise is kept; none where silence would say nothing.
fn question(snapshot: &Snapshot, promise: &Promise) -> Option<Question> {
    match &promise.check {
        Check::Flow { flow, .. } if matches!(flow.protocol, FlowProtocol::Udp(_)) => None,
        Check::Flow { flow, .. } if flow.size == Size::Full => {
            let own = snapshot.cluster.pod(promise.from.as_pod()?)?.ips();
            let source = own.into_iter().find(|it| it.is_ipv6() == flow.is_ipv6())?;
            question_of(&Flow { size: Size::Bytes(mtu(snapshot, &promise.from, source)?), ..flow.clone() })
        }
        Check::Flow { flow, .. } => question_of(flow),
        Check::Name { name } => name_question(snapshot, &promise.from, name),
        Check::Duty(_) => None,
    }
}

/// The question that a resolver's first server is asked for a name: what it makes of it for a Service, else the name itself.
pub fn name_question(snapshot: &Snapshot, from: &Place, name: &str) -> Option<Question> {
    let file = snapshot.files(from)?.get("/etc/resolv.conf")?.known()?;
    let resolver = ResolvConf::parse(file.content.bytes());
    let services = snapshot.cluster.services.known()?;
    // `NAME.NAMESPACE.svc.ZONE`; the search list makes also `NAME.NAMESPACE.svc.OTHER.svc.ZONE` of it.
    let is_service = |it: &String| {
        let is_zone = |it: &str| !it.is_empty() && it.split('.').all(|it| it != "svc");
        let zone = |own: &ObjectMeta| it.strip_prefix(&format!("{}.{}.svc.", own.name, own.namespace));
        services.iter().any(|it| zone(&it.metadata).is_some_and(is_zone))
    };
    let of_service = resolver.candidates(name).into_iter().find(is_service);
    let name = of_service.as_deref().unwrap_or(name).trim_end_matches('.').to_owned();
    let to = *resolver.used_nameservers().first()?;
    Some(Question { from: from.clone(), to, message: Message::Name { name, port: 53 } })
}
