//! One hop of a trace.

use hopwise_dataplane::Hop;
use hopwise_snapshot::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

/// Something that happens to a packet.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HopEntry {
    /// The node on which it happens; null between the nodes, and where a pod's node is not known.
    pub node: Option<String>,
    /// The node or the pod whose kernel does it; null between the nodes.
    pub place: Option<String>,
    /// Which part of the kernel: `route`, `filter`, `drop`, …
    pub stage: String,
    /// The piece of state that decides, where one does.
    pub element: Option<String>,
    /// What happens, for a person.
    pub note: String,
    /// Which packet: 0 the first, 1 its answer, 2 the next one of the sender, 3 the answer to that.
    pub leg: u8,
    /// Is it the packet of a tunnel around the flow's own?
    pub outer: bool,
}

impl HopEntry {
    pub(super) fn new(hop: &Hop, snapshot: &Snapshot) -> Self {
        let node = hop.place.as_ref().and_then(|it| snapshot.node_of(it));
        Self {
            node: node.map(|it| it.to_string()),
            place: hop.place.as_ref().map(ToString::to_string),
            stage: hop.stage.word().to_owned(),
            element: hop.element.as_ref().map(ToString::to_string),
            note: hop.note.clone(),
            leg: hop.leg,
            outer: hop.is_outer,
        }
    }
}
