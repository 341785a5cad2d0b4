//! `HW1501`: a node's own firewall, or what lies between the nodes, drops the tunnel's packets.

use std::collections::BTreeSet;

use hopwise_change::Change;
use hopwise_dataplane::{BlockerKind, FilterDrop, Lost};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{LinkDetail, Place};

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
    causes::general::report_losses,
};

/// The IP protocol number of UDP.
const UDP: u8 = 17;

pub(super) static CAUSE: Cause = Cause {
    code: Code(1501),
    name: "overlay-udp-blocked",
    summary: "the UDP packets of the tunnel between nodes are dropped",
    manual: include_str!("overlay_udp_blocked.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_losses(case, suspects, &CAUSE, |it| matches!(it, Lost::UdpPort(_) | Lost::Udp));
    let ports = tunnel_ports(case);
    for blocker in case.blockers.keys() {
        let (BlockerKind::Filter(drop), Some(place)) = (&blocker.kind, &blocker.place) else { continue };
        let Some(name) = place.as_node() else { continue };
        if drop.packet.protocol != UDP || !ports.contains(&drop.packet.destination_port) {
            continue;
        }
        let port = drop.packet.destination_port;
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!("Node {name} drops the tunnel's packets itself: {} drops UDP {port}.", drop.chain))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: drop.text.clone(),
                expected: format!("UDP {port} between nodes accepted"),
                source: format!("{} {} {}", drop.tool, drop.table, drop.chain),
            }])
            .repaired_by(repair(case, place, drop, port).unwrap_or_default());
    }
}

fn tunnel_ports(case: &Case<'_>) -> BTreeSet<u16> {
    let links = case.nodes().flat_map(|(_, node)| node.net.links.known().into_iter().flatten());
    let ports = links.filter_map(|it| match &it.detail {
        LinkDetail::Vxlan(vxlan) => Some(vxlan.port),
        _ => None,
    });
    ports.collect()
}

/// A rule that nobody of the cluster wrote goes; before a policy or a rule that means more, the tunnel is let in.
fn repair(case: &Case<'_>, place: &Place, drop: &FilterDrop, port: u16) -> Option<Repair> {
    let names_port = drop.text.contains(&port.to_string());
    if drop.position.is_none() {
        return Some(super::super::general::open_policy(case, place, drop));
    }
    let foreign = case.foreign_rules.iter().find(|it| it.place == *place && it.text.contains(&drop.text));
    if let Some(rule) = foreign.filter(|_| names_port || drop.tool == "nft") {
        return Some(rule.repair.clone());
    }
    if drop.tool == "nft" {
        return None;
    }
    let change = Change::IptablesInserted {
        place: place.clone(),
        tool: drop.tool.clone(),
        table: drop.table.clone(),
        chain: drop.base_chain.clone(),
        position: 1,
        rule: format!("-p udp -m udp --dport {port} -j ACCEPT"),
    };
    let verify = format!("{} -t {} -S {}", drop.tool, drop.table, drop.base_chain);
    Some(Repair::one(Action::change(change, case.snapshot, Risk::Disruptive, verify)))
}
