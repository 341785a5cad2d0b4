//! The kernel's messages as facts, for fuzzing alone.

use hopwise_snapshot::IfIndex;
use hopwise_sys::netlink::fuzzing as wire;

use super::{links, neighbours, routes, traffic_control, xfrm_policy};

/// Decodes the body of one message of the kernel. `kind` chooses what it is taken for.
pub fn message(kind: u8, body: &[u8]) {
    match kind % 10 {
        0 => drop(wire::link(body).ok().flatten().map(links::link)),
        1 => drop(wire::address(body).ok().flatten().map(links::address)),
        2 => drop(wire::route(body).ok().flatten().map(routes::route)),
        3 => drop(wire::rule(body).ok().flatten().map(routes::rule)),
        4 => drop(wire::neighbour(body).ok().flatten().map(neighbours::neighbour)),
        5 => drop(wire::neighbour(body).ok().flatten().map(neighbours::fdb_entry)),
        6 => drop(wire::next_hop(body).ok().map(routes::next_hop_object)),
        7 => {
            if let Ok(message) = wire::traffic_control(body) {
                let _ = traffic_control::qdisc(&message);
                let _ = traffic_control::filter(IfIndex(1), "ingress", &message);
            }
        }
        8 => drop(wire::xfrm_policy(body).ok().map(xfrm_policy)),
        _ => wire::others(body),
    }
}
