//! `hopwise/matrix/v1`.

use hopwise_dataplane::{Check, Flow, Promise, Size};
use hopwise_dns::Corefile;
use hopwise_snapshot::{Cluster, IfIndex, Snapshot};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Document, SnapshotName};
use crate::Matrix;

/// How a flow can end.
pub(super) const DISPOSITIONS: [&str; 6] =
    ["delivered", "dropped", "rejected", "misdelivered", "looping", "unknown"];

/// Who can reach whom.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "hopwise/matrix/v1")]
pub struct MatrixDocument {
    /// `hopwise/matrix/v1`.
    pub schema: &'static str,
    /// What the model was built of.
    pub snapshot: SnapshotName,
    /// Every promised flow, sorted by source, target, protocol, family and size. `from`, `to`, `proto`, `family` and
    /// `size` are spelled as in `hopwise/truth/v1` and name a pair in both.
    pub pairs: Vec<PairEntry>,
}

/// One promised flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PairEntry {
    /// Who sends: `pod/default/a`, `node/w1`.
    pub from: String,
    /// To whom: `pod/default/b:8080/tcp`, `svc/default/echo:80/tcp`, `pod/default/b` for ICMP, or a name to resolve.
    pub to: String,
    /// `tcp`, `udp`, `icmp`, or `dns` for a name.
    #[schemars(extend("enum" = ["tcp", "udp", "icmp", "dns"]))]
    pub proto: &'static str,
    /// 4 or 6.
    #[schemars(extend("enum" = [4, 6]))]
    pub family: u8,
    /// The packet's length in bytes, where nobody may split it; left out for small packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// How it ends by the model.
    #[schemars(extend("enum" = DISPOSITIONS))]
    pub model: &'static str,
    /// Did packets arrive? Null where none were sent.
    pub packets: Option<bool>,
}

impl Document for MatrixDocument {
    const SCHEMA: &'static str = "hopwise/matrix/v1";
}

impl MatrixDocument {
    /// The document of a matrix.
    pub fn new(matrix: &Matrix<'_>) -> Self {
        let domain = cluster_domain(&matrix.snapshot.cluster);
        let results = matrix.contract.promises.iter().zip(&matrix.verification.results);
        let mut pairs: Vec<PairEntry> = results
            .map(|(promise, result)| {
                // A promise that is kept by what is not a flow (a name in a file) has no disposition of its own.
                let model = match result.state {
                    hopwise_dataplane::State::Kept => "delivered",
                    hopwise_dataplane::State::Unknown => "unknown",
                    hopwise_dataplane::State::Broken => result.disposition.word(),
                };
                PairEntry::new(promise, model, domain.as_deref(), matrix.snapshot)
            })
            .collect();
        pairs.sort();
        Self { schema: Self::SCHEMA, snapshot: SnapshotName::new(matrix.snapshot), pairs }
    }
}

impl PairEntry {
    fn new(promise: &Promise, model: &'static str, domain: Option<&str>, snapshot: &Snapshot) -> Self {
        let size = match &promise.check {
            Check::Flow { flow, .. } => size(flow, snapshot),
            Check::Name { .. } | Check::Duty(_) => None,
        };
        let to = match (&promise.check, domain) {
            (Check::Name { name }, Some(domain)) => full_name(name, domain),
            (Check::Flow { flow, .. }, _) => node_name(flow, snapshot).unwrap_or_else(|| promise.to.clone()),
            _ => promise.to.clone(),
        };
        Self {
            from: promise.from.to_string(),
            to,
            proto: promise.protocol(),
            family: promise.family(),
            size,
            model,
            packets: None,
        }
    }
}

/// How long the packets of a flow are, where nobody may split them. A flow of full size has the packets that the
/// sender's interface takes; none where that was not read.
pub(super) fn size(flow: &Flow, snapshot: &Snapshot) -> Option<u32> {
    match flow.size {
        Size::Small => None,
        Size::Bytes(size) => Some(size),
        Size::Full => {
            let net = snapshot.net(&flow.from)?;
            let links = net.links.known()?;
            let is_own = |it: IfIndex| links.iter().any(|link| link.index == it && !link.is_loopback());
            let mut addresses = net.addresses.known()?.iter().filter(|it| is_own(it.link));
            let same = addresses.find(|it| it.address.addr().is_ipv6() == flow.is_ipv6())?;
            links.iter().find(|it| it.index == same.link).map(|it| it.mtu)
        }
    }
}

/// A node's address as the node: `node/cp:6443/tcp`.
fn node_name(flow: &Flow, snapshot: &Snapshot) -> Option<String> {
    let mut nodes = snapshot.cluster.nodes.known()?.iter();
    let node = nodes.find(|it| it.internal_ips().any(|it| it == flow.to))?.name();
    Some(match flow.protocol.port() {
        Some(port) => format!("node/{node}:{port}/{}", flow.protocol.word()),
        None => format!("node/{node}"),
    })
}

/// A name of a Service with the cluster's domain: `kubernetes.default.svc` is resolved by the search list of the pod,
/// and the truth asks for the full name.
fn full_name(name: &str, domain: &str) -> String {
    let is_of_service = name.rsplit('.').next() == Some("svc");
    if is_of_service { format!("{name}.{domain}") } else { name.to_owned() }
}

/// The first zone that CoreDNS answers for from the API server's objects, reverse zones left out.
fn cluster_domain(cluster: &Cluster) -> Option<String> {
    let corefile = cluster.config_map("kube-system", "coredns")?.data.get("Corefile")?;
    let corefile = Corefile::parse(corefile.as_bytes());
    let block = corefile.block_for("kubernetes.default.svc.cluster.local", 53)?;
    let zones = block.kubernetes().into_iter().flat_map(|it| it.zones);
    let mut zones = zones.map(|it| it.trim_end_matches('.').to_owned());
    zones.find(|it| !it.is_empty() && it.rsplit('.').next() != Some("arpa"))
}
