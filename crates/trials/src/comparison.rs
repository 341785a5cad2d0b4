//! The tracer against packets: pair by pair, who answers and whom they saw.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use hopwise_dataplane::{
    Check, Contract, Disposition, Flow, FlowProtocol, Network, Recipient, Size, State, Traces, resolve, trace,
};
use hopwise_lab::truth::{Pair, Truth};
use hopwise_snapshot::{Place, Snapshot};

/// What came of holding the tracer against packets.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// How many pairs were compared, those of unknown outcome among them.
    pub n_compared: usize,
    /// Where the tracer said that it does not know.
    pub unknown: Vec<String>,
    /// Where the tracer was wrong.
    pub disagreements: Vec<Disagreement>,
}

/// The tracer says one thing, packets did another.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The pair: `pod/default/a → pod/default/b:8080/tcp (4)`.
    pub pair: String,
    /// What the tracer says that can happen.
    pub traced: String,
    /// What happened.
    pub measured: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: traced {}; measured {}", self.pair, self.traced, self.measured)
    }
}

impl Comparison {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.n_compared += other.n_compared;
        self.unknown.extend(other.unknown);
        self.disagreements.extend(other.disagreements);
    }

    /// Keeps of its disagreements those about pairs that another had too.
    pub(crate) fn keep_repeated(&mut self, other: &Self) {
        let pairs: BTreeSet<&str> = other.disagreements.iter().map(|it| it.pair.as_str()).collect();
        self.disagreements.retain(|it| pairs.contains(it.pair.as_str()));
    }

    /// The share of pairs of which the tracer does not know what becomes of them, in percent.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 pairs")]
    pub fn unknown_percent(&self) -> f64 {
        self.unknown.len() as f64 * 100.0 / self.n_compared.max(1) as f64
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} compared, {} disagreements, {} unknown ({:.2} %)",
            self.n_compared,
            self.disagreements.len(),
            self.unknown.len(),
            self.unknown_percent()
        )
    }
}

/// What can become of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Answered { by: Option<String>, source_seen: Option<IpAddr> },
    Lost,
}

impl Outcome {
    /// Is it the same, as far as both say?
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Lost, Self::Lost) => true,
            (
                Self::Answered { by, source_seen },
                Self::Answered { by: other_by, source_seen: other_source },
            ) => {
                is_same(by.as_ref(), other_by.as_ref())
                    && is_same(source_seen.as_ref(), other_source.as_ref())
            }
            _ => false,
        }
    }
}

fn is_same<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.is_none() || b.is_none() || a == b
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => f.write_str("lost"),
            Self::Answered { by, source_seen } => {
                write!(f, "answered by {}", by.as_deref().unwrap_or("somebody"))?;
                source_seen.map_or(Ok(()), |it| write!(f, " that saw {it}"))
            }
        }
    }
}

/// Holds what the tracer says of every pair against what packets did.
pub fn compare(snapshot: &Snapshot, truth: &Truth) -> Comparison {
    let network = Network::new(snapshot);
    let mut comparison = Comparison::default();
    for pair in &truth.pairs {
        comparison.n_compared += 1;
        let name = name(pair);
        let possible = match traced(&network, snapshot, pair) {
            Traced::Possible(possible) => possible,
            Traced::Unknown => {
                comparison.unknown.push(name);
                continue;
            }
            Traced::Meaningless => BTreeSet::new(),
        };
        let measured = measured(pair);
        let is_possible = |it: &Outcome| possible.iter().any(|possible| possible.agrees(it));
        if !measured.iter().all(is_possible) {
            comparison.disagreements.push(Disagreement {
                pair: name,
                traced: words(&possible),
                measured: words(&measured.into_iter().collect()),
            });
        }
    }
    comparison
}

/// The promises of a contract that no pair of the truth stands for.
pub fn not_measured(snapshot: &Snapshot, contract: &Contract, truth: &Truth) -> Vec<String> {
    let flows: BTreeSet<Flow> = truth.pairs.iter().filter_map(|it| flow_of(snapshot, it)).collect();
    let names: BTreeSet<(&str, &str)> =
        truth.pairs.iter().filter(|it| it.proto == "dns").map(|it| (&*it.from, &*it.to)).collect();
    let is_measured = |check: &Check, from: &Place| match check {
        Check::Flow { flow, .. } => flows.contains(flow),
        // It is no packet's.
        Check::Duty(_) => true,
        Check::Name { name } => {
            let from = from.to_string();
            names.iter().any(|(asker, it)| *asker == from && it.starts_with(name.as_str()))
        }
    };
    let lacking = contract.promises.iter().filter(|it| !is_measured(&it.check, &it.from));
    lacking.map(|it| format!("{} → {} {} ({})", it.from, it.to, it.protocol(), it.family())).collect()
}

fn name(pair: &Pair) -> String {
    let size = pair.size.map_or_else(String::new, |it| format!(" of {it} bytes"));
    format!("{} → {} {} ({}){size}", pair.from, pair.to, pair.proto, pair.family)
}

fn words(outcomes: &BTreeSet<Outcome>) -> String {
    outcomes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", or ")
}

/// What happened, attempt by attempt.
fn measured(pair: &Pair) -> Vec<Outcome> {
    let one = |reached: bool, by: &Option<String>, source_seen: Option<IpAddr>| {
        if reached { Outcome::Answered { by: by.clone(), source_seen } } else { Outcome::Lost }
    };
    if pair.attempts.is_empty() {
        return vec![one(pair.reached, &pair.answered_by, pair.source_seen)];
    }
    pair.attempts.iter().map(|it| one(it.reached, &it.answered_by, it.source_seen)).collect()
}

/// What the tracer says of a pair.
enum Traced {
    /// One of these happens.
    Possible(BTreeSet<Outcome>),
    /// It does not know.
    Unknown,
    /// The pair means nothing to it, so that nothing that happens agrees.
    Meaningless,
}

fn traced(network: &Network, snapshot: &Snapshot, pair: &Pair) -> Traced {
    if pair.proto == "dns" {
        return match pair.from.parse() {
            Ok(from) => traced_name(network, snapshot, &from, &pair.to),
            Err(_) => Traced::Meaningless,
        };
    }
    let Some(flow) = flow_of(snapshot, pair) else { return Traced::Meaningless };
    let traces = trace(network, &flow);
    if is_unknown(&traces) {
        return Traced::Unknown;
    }
    Traced::Possible(traces.traces.iter().map(|it| outcome(&it.disposition)).collect())
}

/// What can become of a question for a name. A Service's endpoints are chosen anew by each question: where some of
/// them answer, both can happen.
fn traced_name(network: &Network, snapshot: &Snapshot, from: &Place, name: &str) -> Traced {
    let answered = Outcome::Answered { by: None, source_seen: None };
    let resolution = resolve(network, snapshot, from, name);
    // A server that is chosen at random asks its own upstream: one gets an answer, another does not.
    let is_kept = resolution.questions.iter().any(|it| it.state() == State::Kept);
    let recipients: BTreeSet<Outcome> = resolution
        .questions
        .iter()
        .flat_map(|it| &it.traces)
        .map(|it| outcome(&it.disposition))
        .filter(|it| *it != Outcome::Lost)
        .collect();
    let is_by_dice = resolution.questions.iter().any(|it| {
        let n_arriving = it.traces.iter().filter(|it| it.disposition.is_delivered()).count();
        n_arriving > 0 && n_arriving < it.traces.len()
    }) || (is_kept && recipients.len() > 1);
    match resolution.verified.state {
        State::Unknown => Traced::Unknown,
        State::Kept => Traced::Possible(BTreeSet::from([answered])),
        State::Broken if is_by_dice => Traced::Possible(BTreeSet::from([answered, Outcome::Lost])),
        State::Broken => Traced::Possible(BTreeSet::from([Outcome::Lost])),
    }
}

fn is_unknown(traces: &Traces) -> bool {
    traces.state() == State::Unknown
        || traces.traces.iter().any(|it| it.disposition == Disposition::Unknown)
        || traces.is_guess
}

fn outcome(disposition: &Disposition) -> Outcome {
    match disposition {
        Disposition::Delivered { by, source_seen } | Disposition::Misdelivered { by, source_seen } => {
            let by = match by {
                Recipient::Place(place) => place.to_string(),
                Recipient::Outside(_) => "outside".to_owned(),
            };
            Outcome::Answered { by: Some(by), source_seen: Some(*source_seen) }
        }
        _ => Outcome::Lost,
    }
}

/// The flow that a pair stands for.
pub(crate) fn flow_of(snapshot: &Snapshot, pair: &Pair) -> Option<Flow> {
    let from: Place = pair.from.parse().ok()?;
    let (target, port) = match pair.to.rsplit_once('/') {
        Some((target, "tcp" | "udp")) => {
            let (target, port) = target.rsplit_once(':')?;
            (target, Some(port.parse().ok()?))
        }
        _ => (&*pair.to, None),
    };
    let protocol = match (&*pair.proto, port) {
        ("tcp", Some(port)) => FlowProtocol::Tcp(port),
        ("udp", Some(port)) => FlowProtocol::Udp(port),
        ("icmp", None) => FlowProtocol::Icmp,
        _ => return None,
    };
    let size = if pair.size.is_some() { Size::Full } else { Size::Small };
    Some(Flow { from, to: address(snapshot, target, pair.family)?, protocol, size })
}

/// The address that a target has in a family.
fn address(snapshot: &Snapshot, target: &str, family: u8) -> Option<IpAddr> {
    let cluster = &snapshot.cluster;
    let (kind, name) = target.split_once('/')?;
    let addresses: Vec<IpAddr> = match kind {
        "ip" => vec![name.trim_matches(['[', ']']).parse().ok()?],
        "pod" => cluster.pod(&name.parse().ok()?)?.ips(),
        "node" => cluster.node(&hopwise_snapshot::NodeName(name.to_owned()))?.internal_ips().collect(),
        "svc" => {
            let (namespace, name) = name.split_once('/')?;
            cluster.service(namespace, name)?.cluster_ips()
        }
        _ => return None,
    };
    addresses.into_iter().find(|it| it.is_ipv6() == (family == 6))
}
