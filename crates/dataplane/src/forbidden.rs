//! What a NetworkPolicy forbids.

use std::net::IpAddr;

use hopwise_snapshot::{Cluster, NodeName, Place};

use crate::packet::FlowProtocol;

/// Does a NetworkPolicy forbid this flow?
pub(crate) fn is_forbidden(
    _cluster: &Cluster,
    _from: (&Place, &NodeName),
    _to: &Place,
    _protocol: FlowProtocol,
    _address: IpAddr,
) -> bool {
    false
}
