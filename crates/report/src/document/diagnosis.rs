//! `hopwise/diagnosis/v1`.

use hopwise_dataplane::Unknown;
use hopwise_diagnose::{Evidence, Finding, Proof, UnknownFact, Violation};
use hopwise_snapshot::{Observed, Reason, Snapshot};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, HopEntry, RepairEntry, SnapshotName};
use crate::{Ignored, Report};

/// What a diagnosis says.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/diagnosis/v1")]
pub struct DiagnosisDocument {
    /// `hopwise/diagnosis/v1`.
    pub schema: &'static str,
    /// `healthy` (also with latent findings), `broken`, or `incomplete`: nothing is broken for certain, and some answer
    /// is not known. About what is shown: ignored causes do not count.
    #[schemars(extend("enum" = ["healthy", "broken", "incomplete"]))]
    pub verdict: &'static str,
    /// What was diagnosed.
    pub snapshot: SnapshotSummary,
    /// The one flow that was asked for; null means every promise.
    pub asked: Option<AskedFlow>,
    /// How many promised flows are broken.
    pub broken: usize,
    /// What breaks them, most first; what breaks nothing now comes last.
    pub findings: Vec<FindingEntry>,
    /// The classes of broken promises.
    pub violations: Vec<ViolationEntry>,
    /// What the answer for some promise depends on and nobody knows.
    pub unknown: Vec<UnknownEntry>,
    /// What could not be read, whether or not a promise depends on it.
    pub not_seen: Vec<UnknownEntry>,
    /// The causes that were to be ignored; one that hides no finding is no longer of use.
    pub ignored: Vec<IgnoredEntry>,
}

/// What was diagnosed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSummary {
    /// Names the snapshot by its content: equal snapshots, equal names.
    pub id: String,
    /// When its collection began.
    #[schemars(extend("format" = "date-time"))]
    pub taken_at: String,
    /// Where it comes from: `lab/demo`.
    pub source: String,
    /// How many nodes it names.
    pub nodes: usize,
    /// How many pods with a network of their own were read.
    pub pods: usize,
    /// How many Services the API server has.
    pub services: usize,
    /// How many flows are promised, of those that were asked for.
    pub promised: usize,
}

/// A flow that was asked for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedFlow {
    /// Who sends.
    pub from: String,
    /// To whom.
    pub to: String,
}

/// A cause at definite elements.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FindingEntry {
    /// The cause's code, `HW1001`.
    pub code: String,
    /// The cause's name.
    pub cause: String,
    /// How sure it is: `proven` (its counterfactual holds), `located`, `suspected`, or `latent` (breaks nothing now).
    #[schemars(extend("enum" = ["proven", "located", "suspected", "latent"]))]
    pub kind: &'static str,
    /// Between 0 and 1.
    #[schemars(range(max = 1))]
    pub confidence: f64,
    /// Where; the first is what is named.
    #[schemars(length(min = 1))]
    pub elements: Vec<String>,
    /// What it does, as a sentence.
    pub summary: String,
    /// What it breaks.
    pub breaks: Breaks,
    /// What was observed.
    pub evidence: Vec<EvidenceEntry>,
    /// Since when, or why, where the facts say so.
    pub since: Option<String>,
    /// What it will break later, where it breaks nothing now.
    pub later: Option<String>,
    /// What it is not.
    pub ruled_out: Vec<RuledOutEntry>,
    /// What to do about it.
    pub repair: RepairEntry,
    /// What the model says of the repair.
    pub proof: ProofEntry,
}

/// What a finding breaks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Breaks {
    /// How many promised flows.
    pub flows: usize,
    /// The violations that it explains, by their `id`. One that nothing but ignored causes explain is not listed.
    pub violations: Vec<String>,
    /// Packets of such flows; null where none were sent.
    pub packets: Option<PacketsEntry>,
}

/// Packets that were sent, and what became of them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PacketsEntry {
    /// How many were sent.
    pub sent: u32,
    /// How many were answered.
    pub answered: u32,
    /// How many were refused.
    pub refused: u32,
}

/// A value that speaks for a cause.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceEntry {
    /// Of what.
    pub element: String,
    /// What is.
    pub observed: String,
    /// What should be.
    pub expected: String,
    /// Where that was read: a path, a command.
    pub source: String,
    /// When that was read.
    #[schemars(extend("format" = "date-time"))]
    pub at: String,
}

/// A cause that could have been meant.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuledOutEntry {
    /// Its name.
    pub cause: String,
    /// Why it is not.
    pub because: String,
}

/// What the model says of a repair.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProofEntry {
    /// Does the counterfactual hold?
    pub holds: bool,
    /// Promised flows that arrive with the repair and did not without.
    pub healed: usize,
    /// Promised flows that the repair would break.
    pub newly_broken: usize,
    /// Forbidden flows that the repair would open.
    pub opened: usize,
    /// Why the repair was not tried; null where it was.
    pub not_tried: Option<String>,
}

/// A class of promised flows that break alike.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ViolationEntry {
    /// What findings call it.
    pub id: String,
    /// What was promised: `pod-to-pod`, `node-to-pod`, `service`, `api-server`, `name`, `outside`, `path-mtu`, and `duty` for what a node
    /// owes besides: a network for new pods, its programs.
    #[schemars(extend("enum" = [
        "pod-to-pod", "node-to-pod", "service", "api-server", "name", "outside", "path-mtu",
        "duty"
    ]))]
    pub promise: &'static str,
    /// Who sends, of the flow that stands for the class.
    pub from: String,
    /// To whom, of that flow.
    pub to: String,
    /// Its protocol.
    #[schemars(extend("enum" = ["tcp", "udp", "icmp", "dns", "none"]))]
    pub proto: &'static str,
    /// Its address family.
    #[schemars(extend("enum" = [4, 6]))]
    pub family: u8,
    /// How many promised flows are in the class.
    pub flows: usize,
    /// How that flow ends.
    #[schemars(extend("enum" = super::matrix::DISPOSITIONS))]
    pub disposition: &'static str,
    /// The first element that stops flows of the class.
    pub at: Option<String>,
    /// How that stops them.
    pub because: Option<String>,
    /// What happens to that flow, in order.
    pub trace: Vec<HopEntry>,
}

/// Something that is not known.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnknownEntry {
    /// What.
    pub element: String,
    /// Why, as a word.
    #[schemars(extend("enum" = [
        "sourceLacksIt", "notAsked", "notPermitted", "timedOut", "programMissing", "unsupported", "tooLarge", "failed",
        "notModelled", "other"
    ]))]
    pub reason: &'static str,
    /// Why, for a person.
    pub detail: String,
    /// The one command or right that would settle it.
    pub settled_by: String,
    /// How many promised flows depend on it.
    pub flows: usize,
}

/// A cause that was to be ignored.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IgnoredEntry {
    /// Its code.
    pub code: String,
    /// Its name.
    pub cause: String,
    /// How many findings are hidden; 0 means that ignoring it is no longer of use.
    pub findings: usize,
    /// How many broken flows are hidden with them.
    pub flows: usize,
}

impl Document for DiagnosisDocument {
    const SCHEMA: &'static str = "hopwise/diagnosis/v1";
}

impl DiagnosisDocument {
    /// The document of a report.
    pub fn new(report: &Report<'_>) -> Self {
        let snapshot = report.snapshot;
        let shown: Vec<usize> = report.violations().map(|(at, _)| at).collect();
        let asked = report.asked.as_ref();
        Self {
            schema: Self::SCHEMA,
            verdict: report.verdict().word(),
            snapshot: SnapshotSummary::new(snapshot, report.diagnosis.n_promised),
            asked: asked.map(|it| AskedFlow { from: it.from.clone(), to: it.to.clone() }),
            broken: report.n_broken(),
            findings: report.findings().map(|it| FindingEntry::new(it, snapshot, &shown)).collect(),
            violations: report.violations().map(|(at, it)| ViolationEntry::new(at, it, snapshot)).collect(),
            unknown: sorted(&report.diagnosis.unknown),
            not_seen: sorted(&report.diagnosis.not_seen),
            ignored: report.ignored().iter().map(IgnoredEntry::new).collect(),
        }
    }
}

impl SnapshotSummary {
    fn new(snapshot: &Snapshot, promised: usize) -> Self {
        let SnapshotName { id, taken_at, source } = SnapshotName::new(snapshot);
        let is_read = |it: &&Observed<hopwise_snapshot::Pod>| matches!(it, Observed::Known(_));
        Self {
            id,
            taken_at,
            source,
            nodes: snapshot.nodes.len(),
            pods: snapshot.pods.values().filter(is_read).count(),
            services: snapshot.cluster.services.known().map_or(0, Vec::len),
            promised,
        }
    }
}

impl FindingEntry {
    fn new(finding: &Finding, snapshot: &Snapshot, shown: &[usize]) -> Self {
        let violations = finding.violations.iter().filter(|it| shown.contains(it));
        let ruled_out = finding.ruled_out.iter();
        Self {
            code: finding.cause.code.to_string(),
            cause: finding.cause.name.to_owned(),
            kind: finding.kind.word(),
            confidence: finding.confidence,
            elements: finding.elements.iter().map(ToString::to_string).collect(),
            summary: finding.summary.clone(),
            breaks: Breaks {
                flows: finding.n_flows,
                violations: violations.map(|it| id(*it)).collect(),
                packets: (finding.packets.n_sent > 0).then_some(PacketsEntry {
                    sent: finding.packets.n_sent,
                    answered: finding.packets.n_answered,
                    refused: finding.packets.n_refused,
                }),
            },
            evidence: finding.evidence.iter().map(|it| EvidenceEntry::new(it, snapshot)).collect(),
            since: finding.since.clone(),
            later: finding.later.clone(),
            ruled_out: ruled_out
                .map(|it| RuledOutEntry { cause: it.cause.name.to_owned(), because: it.because.clone() })
                .collect(),
            repair: RepairEntry::new(&finding.repair, snapshot),
            proof: ProofEntry::new(&finding.proof),
        }
    }
}

impl EvidenceEntry {
    fn new(evidence: &Evidence, snapshot: &Snapshot) -> Self {
        Self {
            element: evidence.element.to_string(),
            observed: evidence.observed.clone(),
            expected: evidence.expected.clone(),
            source: evidence.source.clone(),
            at: snapshot.taken_at.to_string(),
        }
    }
}

impl ProofEntry {
    pub(super) fn new(proof: &Proof) -> Self {
        Self {
            holds: proof.holds(),
            healed: proof.n_healed,
            newly_broken: proof.n_newly_broken,
            opened: proof.n_opened,
            not_tried: proof.not_tried.clone(),
        }
    }
}

/// What a violation is called in a document.
fn id(at: usize) -> String {
    format!("v{}", at + 1)
}

impl ViolationEntry {
    fn new(at: usize, violation: &Violation, snapshot: &Snapshot) -> Self {
        let blocker = violation.blockers.first();
        Self {
            id: id(at),
            promise: violation.promise.word(),
            from: violation.from.to_string(),
            to: violation.to.clone(),
            proto: violation.protocol,
            family: violation.family,
            flows: violation.n_flows,
            disposition: violation.disposition.word(),
            at: blocker.map(|it| it.element.to_string()),
            because: blocker.map(hopwise_dataplane::Blocker::note),
            trace: violation.trace.iter().map(|it| HopEntry::new(it, snapshot)).collect(),
        }
    }
}

impl UnknownEntry {
    pub(super) fn new(fact: &UnknownFact) -> Self {
        Self {
            element: fact.assumption.element.to_string(),
            reason: reason_word(&fact.assumption.reason),
            detail: fact.assumption.reason.to_string(),
            settled_by: fact.settled_by.clone(),
            flows: fact.n_flows,
        }
    }
}

fn sorted(facts: &[UnknownFact]) -> Vec<UnknownEntry> {
    let mut entries: Vec<UnknownEntry> = facts.iter().map(UnknownEntry::new).collect();
    entries.sort_by(|a, b| (&a.element, &a.detail).cmp(&(&b.element, &b.detail)));
    entries
}

/// Why something is unknown, as a word.
pub(super) fn reason_word(reason: &Unknown) -> &'static str {
    match reason {
        Unknown::NotModelled(_) => "notModelled",
        Unknown::NotCollected(reason) => match reason {
            Reason::SourceLacksIt => "sourceLacksIt",
            Reason::NotAsked(_) => "notAsked",
            Reason::NotPermitted(_) => "notPermitted",
            Reason::TimedOut => "timedOut",
            Reason::ProgramMissing(_) => "programMissing",
            Reason::Unsupported(_) => "unsupported",
            Reason::TooLarge { .. } => "tooLarge",
            Reason::Failed(_) => "failed",
            _ => "other",
        },
    }
}

impl IgnoredEntry {
    fn new(ignored: &Ignored) -> Self {
        Self {
            code: ignored.cause.code.to_string(),
            cause: ignored.cause.name.to_owned(),
            findings: ignored.n_findings,
            flows: ignored.n_flows,
        }
    }
}
