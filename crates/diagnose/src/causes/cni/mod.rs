//! HW12xx: the network plugin, its configuration and its addresses: what a new pod needs.

mod cni0_stale_address;
mod cni_agent_down;
mod cni_binary_missing;
mod cni_conf_conflict;
mod cni_dir_mismatch;
mod cni_not_installed;
mod flannel_subnet_env_missing;
mod ipam_hostlocal_exhausted;
mod node_podcidr_unassigned;

pub(super) use cni_agent_down::report as report_agent;
use hopwise_dataplane::{Blocker, BlockerKind, NoPodNetwork};
use hopwise_snapshot::{Node, NodeName, Observed};

use crate::{case::Case, cause::Cause};

pub(super) static CAUSES: &[&Cause] = &[
    &cni_not_installed::CAUSE,
    &cni_binary_missing::CAUSE,
    &cni_dir_mismatch::CAUSE,
    &cni_conf_conflict::CAUSE,
    &cni_agent_down::CAUSE,
    &flannel_subnet_env_missing::CAUSE,
    &node_podcidr_unassigned::CAUSE,
    &ipam_hostlocal_exhausted::CAUSE,
    &cni0_stale_address::CAUSE,
];

/// The cause of what keeps a new pod from its network: there is one for each.
pub(super) fn of(why: &NoPodNetwork) -> &'static Cause {
    match why {
        NoPodNetwork::NoConfiguration => &cni_not_installed::CAUSE,
        NoPodNetwork::ElsewhereThan { .. } => &cni_dir_mismatch::CAUSE,
        NoPodNetwork::NotUnderstood { .. } => &cni_conf_conflict::CAUSE,
        NoPodNetwork::NoPlugin { .. } => &cni_binary_missing::CAUSE,
        NoPodNetwork::NoSubnetFile => &flannel_subnet_env_missing::CAUSE,
        NoPodNetwork::Exhausted { .. } => &ipam_hostlocal_exhausted::CAUSE,
        NoPodNetwork::BridgeAddress { .. } => &cni0_stale_address::CAUSE,
    }
}

/// What keeps new pods of a node from a network.
struct Fault<'a> {
    name: &'a NodeName,
    node: &'a Node,
    blocker: &'a Blocker,
    why: &'a NoPodNetwork,
}

/// The nodes on which new pods get no network for the reason that is wanted.
fn faults<'a>(case: &'a Case<'_>, own: &'static Cause) -> impl Iterator<Item = Fault<'a>> {
    case.blockers.keys().filter_map(move |blocker| {
        let BlockerKind::NoPodNetwork(why) = &blocker.kind else { return None };
        if !std::ptr::eq(of(why), own) {
            return None;
        }
        let name = blocker.place.as_ref()?.as_node()?;
        let node = case.snapshot.nodes.get(name).and_then(Observed::known)?;
        Some(Fault { name, node, blocker, why })
    })
}
