//! `hopwise/probes/v1`.

use hopwise_dataplane::{Expectation, Network, State, trace};
use hopwise_diagnose::flow_of;
use hopwise_snapshot::{Message, Observation, Place, Snapshot};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, SnapshotName, matrix::DISPOSITIONS};

/// Questions that were asked by packets, and how they were answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/probes/v1")]
pub struct ProbesDocument {
    /// `hopwise/probes/v1`.
    pub schema: &'static str,
    /// What the questions were chosen by.
    pub snapshot: SnapshotName,
    /// What was asked, in order.
    pub questions: Vec<QuestionEntry>,
}

/// A question, and how it was answered.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuestionEntry {
    /// Who asked: `pod/default/a`.
    pub from: String,
    /// The node that asks.
    pub from_node: Option<String>,
    /// Who was asked: `pod/default/b`, `svc/default/echo`, `ip/203.0.113.10`; with port and protocol for TCP and UDP.
    pub to: String,
    /// The node that was asked.
    pub to_node: Option<String>,
    /// The name that was asked for; null for what is no question to a name server.
    pub name: Option<String>,
    /// 4 or 6.
    #[schemars(extend("enum" = [4, 6]))]
    pub family: u8,
    /// The packet's length in bytes, where nobody may split it; null for small packets.
    pub size: Option<u32>,
    /// How it ends by the model.
    #[schemars(extend("enum" = DISPOSITIONS))]
    pub model: &'static str,
    /// How many packets were sent.
    pub sent: u32,
    /// How many were answered.
    pub answered: u32,
    /// How many were refused: by a reset, an ICMP error, the sender's own kernel, or a name server that knows no such name
    /// or cannot tell.
    pub refused: u32,
}

impl Document for ProbesDocument {
    const SCHEMA: &'static str = "hopwise/probes/v1";
}

impl ProbesDocument {
    /// The document of the questions in a snapshot.
    pub fn new(snapshot: &Snapshot) -> Self {
        let network = Network::new(snapshot);
        let questions =
            snapshot.observations.iter().filter_map(|it| QuestionEntry::new(snapshot, &network, it));
        Self { schema: Self::SCHEMA, snapshot: SnapshotName::new(snapshot), questions: questions.collect() }
    }

    /// Was every question answered, once at least?
    pub fn is_answered(&self) -> bool {
        self.questions.iter().all(|it| it.answered > 0)
    }
}

impl QuestionEntry {
    fn new(snapshot: &Snapshot, network: &Network, observation: &Observation) -> Option<Self> {
        let Observation::Asked { question, answers } = observation else { return None };
        let place = snapshot.cluster.owner_of(question.to);
        let mut services = snapshot.cluster.services.known().into_iter().flatten();
        let service = services.find(|it| it.cluster_ips().contains(&question.to));
        let name = match (&place, service) {
            (Some(place), _) => place.to_string(),
            (None, Some(it)) => format!("svc/{}/{}", it.metadata.namespace, it.metadata.name),
            (None, None) => format!("ip/{}", question.to),
        };
        let (to, size) = match &question.message {
            Message::Echo { size } => (name, *size),
            Message::Tcp { port } => (format!("{name}:{port}/tcp"), None),
            Message::Udp { port } => (format!("{name}:{port}/udp"), None),
            Message::Name { port, .. } => (format!("{name}:{port}/udp"), None),
        };
        let traces = trace(network, &flow_of(question)).judged(&Expectation::anyone());
        let model = match traces.state() {
            State::Kept => "delivered",
            State::Unknown => "unknown",
            State::Broken => traces.representative().disposition.word(),
        };
        let node_of = |it: &Place| snapshot.node_of(it).map(|it| it.to_string());
        Some(Self {
            from: question.from.to_string(),
            from_node: node_of(&question.from),
            to,
            to_node: place.as_ref().and_then(node_of),
            name: match &question.message {
                Message::Name { name, .. } => Some(name.clone()),
                _ => None,
            },
            family: if question.to.is_ipv6() { 6 } else { 4 },
            size,
            model,
            sent: answers.n_sent,
            answered: answers.n_answered,
            refused: answers.n_refused,
        })
    }
}
