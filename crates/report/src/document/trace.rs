//! `hopwise/trace/v1`.

use hopwise_dataplane::{Assumption, Blocker, Disposition, State, Trace, Traces};
use hopwise_snapshot::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, HopEntry, SnapshotName, diagnosis::reason_word};
use crate::Traced;

/// One flow through the model.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/trace/v1")]
pub struct TraceDocument {
    /// `hopwise/trace/v1`.
    pub schema: &'static str,
    /// What the model was built of.
    pub snapshot: SnapshotName,
    /// Who sends.
    pub from: String,
    /// To whom.
    pub to: String,
    /// `kept`: it arrives by every way, and so does the answer. `broken`: by some way it does not. `unknown`: it depends
    /// on something that is not known.
    #[schemars(extend("enum" = ["kept", "broken", "unknown"]))]
    pub state: &'static str,
    /// The elements that stop it, on any way.
    pub stopped_by: Vec<StopEntry>,
    /// What else would stop it, once that is out of its way.
    pub further: Vec<StopEntry>,
    /// The flow; for a name one for each question that is asked, in order.
    pub flows: Vec<TracedFlowEntry>,
    /// What the answer depends on and nobody knows.
    pub unknown: Vec<AssumptionEntry>,
}

/// What stops a flow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StopEntry {
    /// The piece of state that decides.
    pub element: String,
    /// How it stops the flow.
    pub because: String,
}

/// One flow, by every way that it can take.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TracedFlowEntry {
    /// Who sends.
    pub from: String,
    /// To which address: `ip/10.244.1.4:8080/tcp`.
    pub to: String,
    /// The packet's length in bytes, where nobody may split it.
    pub size: Option<u32>,
    /// The ways, the likeliest first.
    pub ways: Vec<WayEntry>,
}

/// One way that a flow can take.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WayEntry {
    /// How likely the kernel takes it, 0 to 1.
    #[schemars(range(max = 1))]
    pub probability: f64,
    /// How it ends.
    #[schemars(extend("enum" = super::matrix::DISPOSITIONS))]
    pub disposition: &'static str,
    /// Who takes the packet, where somebody does.
    pub by: Option<String>,
    /// The source address that the recipient sees.
    pub source_seen: Option<String>,
    /// The element that stops it.
    pub at: Option<String>,
    /// How that stops it.
    pub because: Option<String>,
    /// What happens, in order.
    pub hops: Vec<HopEntry>,
}

/// Something that was not read or is not modelled, on the way of a flow.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssumptionEntry {
    /// What.
    pub element: String,
    /// Why, as a word.
    pub reason: &'static str,
    /// Why, for a person.
    pub detail: String,
    /// Were both possibilities followed? If not, it was taken to be as the flow needs it.
    pub tried: bool,
}

impl Document for TraceDocument {
    const SCHEMA: &'static str = "hopwise/trace/v1";
}

impl TraceDocument {
    /// The document of a traced flow.
    pub fn new(traced: &Traced<'_>) -> Self {
        let stop = |it: &Blocker| StopEntry { element: it.element.to_string(), because: it.note() };
        Self {
            schema: Self::SCHEMA,
            snapshot: SnapshotName::new(traced.snapshot),
            from: traced.from.clone(),
            to: traced.to.clone(),
            state: match traced.state {
                State::Kept => "kept",
                State::Broken => "broken",
                State::Unknown => "unknown",
            },
            stopped_by: traced.blockers.iter().map(stop).collect(),
            further: traced.further().into_iter().map(stop).collect(),
            flows: traced.flows.iter().map(|it| TracedFlowEntry::new(it, traced.snapshot)).collect(),
            unknown: traced.assumptions.iter().map(AssumptionEntry::new).collect(),
        }
    }
}

impl TracedFlowEntry {
    fn new(traces: &Traces, snapshot: &Snapshot) -> Self {
        let flow = &traces.flow;
        let address = match flow.protocol.port() {
            Some(port) => std::net::SocketAddr::new(flow.to, port).to_string(),
            None => flow.to.to_string(),
        };
        Self {
            from: flow.from.to_string(),
            to: format!("ip/{address}/{}", flow.protocol.word()),
            size: super::matrix::size(flow, snapshot),
            ways: crate::text::likeliest_first(traces)
                .into_iter()
                .map(|it| WayEntry::new(it, snapshot))
                .collect(),
        }
    }
}

impl WayEntry {
    fn new(trace: &Trace, snapshot: &Snapshot) -> Self {
        let (by, source_seen) = match &trace.disposition {
            Disposition::Delivered { by, source_seen } | Disposition::Misdelivered { by, source_seen } => {
                (Some(by.to_string()), Some(source_seen.to_string()))
            }
            _ => (None, None),
        };
        Self {
            probability: trace.probability,
            disposition: trace.disposition.word(),
            by,
            source_seen,
            at: trace.blocker.as_ref().map(|it| it.element.to_string()),
            because: trace.blocker.as_ref().map(hopwise_dataplane::Blocker::note),
            hops: trace.hops.iter().map(|it| HopEntry::new(it, snapshot)).collect(),
        }
    }
}

impl AssumptionEntry {
    fn new(assumption: &Assumption) -> Self {
        Self {
            element: assumption.element.to_string(),
            reason: reason_word(&assumption.reason),
            detail: assumption.reason.to_string(),
            tried: assumption.is_tried,
        }
    }
}
