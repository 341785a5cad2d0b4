//! What gets lost between the nodes: the one thing about the underlay that is not assumed, but seen.
//!
//! No node's state shows what a security group, a switch or a cloud's router drops. Packets that one node was seen to put
//! out and that another was not seen to take in do: see [`Observation::Crossed`].

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use hopwise_snapshot::{Crossing, Element, NodeName, Observation, Observed, Packet, Seen, Snapshot};

/// What is lost on the way from one node to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss {
    /// The sender.
    pub from: NodeName,
    /// The recipient.
    pub to: NodeName,
    /// Of IPv6, or of IPv4?
    pub is_ipv6: bool,
    /// Which packets.
    pub what: Lost,
    /// The part of the underlay that loses them: as wide as what was seen allows.
    pub element: Element,
}

/// Which packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lost {
    /// UDP to one port, and not to another.
    UdpPort(u16),
    /// UDP, and nothing else.
    Udp,
    /// All packets.
    All,
    /// Packets of so many bytes and more, and not small ones.
    Large(u32),
}

impl Lost {
    /// `get` or `gets`, whichever follows its name.
    pub fn verb(&self) -> &'static str {
        if matches!(self, Self::Large(_)) { "get" } else { "gets" }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UdpPort(port) => write!(f, "UDP {port}"),
            Self::Udp => f.write_str("all UDP"),
            Self::All => f.write_str("every packet"),
            Self::Large(size) => write!(f, "packets of {size} bytes"),
        }
    }
}

/// A direction between two nodes.
type Way = (NodeName, NodeName);

/// What packets showed to be lost, in order. The last word about a direction counts.
pub fn losses(snapshot: &Snapshot) -> Vec<Loss> {
    let mut last: BTreeMap<(Way, bool), Option<Lost>> = BTreeMap::new();
    for observation in &snapshot.observations {
        if let Observation::Crossed { crossing, seen, asked } = observation {
            let way = (crossing.from.clone(), crossing.to.clone());
            last.insert((way, crossing.destination.is_ipv6()), lost(crossing, seen, *asked));
        }
    }
    let mut by_what: BTreeMap<Lost, BTreeSet<Way>> = BTreeMap::new();
    for ((way, _), lost) in &last {
        if let Some(lost) = lost {
            by_what.entry(*lost).or_default().insert(way.clone());
        }
    }
    let nodes: BTreeSet<&NodeName> = snapshot
        .nodes
        .iter()
        .filter(|(_, it)| matches!(it, Observed::Known(_)))
        .map(|(name, _)| name)
        .collect();
    let scopes: BTreeMap<Lost, BTreeMap<Way, String>> =
        by_what.iter().map(|(what, ways)| (*what, scopes(&nodes, ways))).collect();
    let mut losses = Vec::new();
    for ((way, is_ipv6), lost) in last {
        let Some(what) = lost else { continue };
        let element = element(&scopes[&what][&way], what);
        losses.push(Loss { from: way.0, to: way.1, is_ipv6, what, element });
    }
    losses
}

/// What is lost of a crossing's packets.
fn lost(crossing: &Crossing, seen: &[Seen], asked: Seen) -> Option<Lost> {
    // Nothing leaves as long as nobody says who the recipient is.
    let is_lost = |it: &Seen| it.n_arrived == 0 && (it.n_left > 0 || asked.is_lost());
    let all: Vec<(&Packet, bool, bool)> = crossing
        .packets
        .iter()
        .zip(seen)
        .map(|(packet, it)| (packet, is_lost(it), it.n_arrived > 0))
        .collect();
    let is_small = |it: &Packet| !matches!(it, Packet::Vxlan { size: Some(_), .. });
    if all.iter().any(|(packet, is_lost, _)| is_small(packet) && *is_lost) {
        let arrives = |wanted: fn(&Packet) -> bool| all.iter().any(|(it, _, arrives)| wanted(it) && *arrives);
        let tunnel = all.iter().find_map(|(packet, is_lost, _)| match packet {
            Packet::Vxlan { port, size: None, .. } if *is_lost => Some(*port),
            _ => None,
        });
        let arrives_udp = arrives(|it| matches!(it, Packet::Udp { .. }));
        let arrives_other = arrives(|it| matches!(it, Packet::Echo | Packet::Tcp { .. }));
        return match tunnel {
            Some(port) if arrives_udp => Some(Lost::UdpPort(port)),
            Some(_) if arrives_other => Some(Lost::Udp),
            Some(_) => Some(Lost::All),
            // What the cluster lives by passes; what else does not is nobody's promise.
            None if all.iter().any(|it| it.2) => None,
            None => Some(Lost::All),
        };
    }
    all.iter().find_map(|(packet, is_lost, _)| match packet {
        Packet::Vxlan { size: Some(size), .. } if *is_lost => Some(Lost::Large(*size)),
        _ => None,
    })
}

/// For each direction the widest part of the underlay that all of whose directions lose the same: everything; a node, both
/// ways; what a node sends (`w1>`) or gets (`>w1`); a pair, both ways (`w1-w2`); one direction (`w1>w2`).
fn scopes(nodes: &BTreeSet<&NodeName>, ways: &BTreeSet<Way>) -> BTreeMap<Way, String> {
    let of = |node: &NodeName, sends: bool| -> Vec<Way> {
        let others = nodes.iter().filter(|it| **it != node);
        others
            .map(|it| if sends { (node.clone(), (*it).clone()) } else { ((*it).clone(), node.clone()) })
            .collect()
    };
    let mut parts: Vec<(String, Vec<Way>)> = Vec::new();
    // Of two nodes every direction is all that there is of a node.
    if nodes.len() > 2 {
        parts.push(("all".to_owned(), nodes.iter().flat_map(|it| of(it, true)).collect()));
        parts.extend(nodes.iter().map(|it| (it.to_string(), [of(it, true), of(it, false)].concat())));
        parts.extend(nodes.iter().map(|it| (format!("{it}>"), of(it, true))));
        parts.extend(nodes.iter().map(|it| (format!(">{it}"), of(it, false))));
    }
    for (from, to) in ways.iter().filter(|(from, to)| from < to) {
        let both = vec![(from.clone(), to.clone()), (to.clone(), from.clone())];
        parts.push((format!("{from}-{to}"), both));
    }
    let mut scopes: BTreeMap<Way, String> = BTreeMap::new();
    for (name, part) in parts {
        if part.iter().all(|it| ways.contains(it)) {
            for way in part {
                scopes.entry(way).or_insert_with(|| name.clone());
            }
        }
    }
    for way in ways {
        scopes.entry(way.clone()).or_insert_with(|| format!("{}>{}", way.0, way.1));
    }
    scopes
}

fn element(scope: &str, what: Lost) -> Element {
    match what {
        Lost::UdpPort(port) => Element::underlay([scope, "udp", &port.to_string()]),
        Lost::Udp => Element::underlay([scope, "udp"]),
        Lost::All => Element::underlay([scope, "all"]),
        Lost::Large(_) => Element::underlay([scope, "mtu"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> BTreeSet<NodeName> {
        names.iter().map(|it| NodeName((*it).to_owned())).collect()
    }

    fn scopes_of(names: &[&str], ways: &[(&str, &str)]) -> Vec<String> {
        let nodes = nodes(names);
        let ways = ways.iter().map(|(a, b)| (NodeName((*a).to_owned()), NodeName((*b).to_owned()))).collect();
        let found: BTreeSet<String> = scopes(&nodes.iter().collect(), &ways).into_values().collect();
        found.into_iter().collect()
    }

    const THREE: &[&str] = &["cp", "w1", "w2"];

    #[test]
    fn a_scope_is_as_wide_as_what_was_seen() {
        assert_eq!(scopes_of(THREE, &[("w1", "w2")]), ["w1>w2"]);
        assert_eq!(scopes_of(THREE, &[("w1", "w2"), ("w2", "w1")]), ["w1-w2"]);
        assert_eq!(scopes_of(THREE, &[("w1", "w2"), ("w1", "cp")]), ["w1>"]);
        assert_eq!(scopes_of(THREE, &[("w2", "w1"), ("cp", "w1")]), [">w1"]);
        let of_w1 = [("w1", "w2"), ("w1", "cp"), ("w2", "w1"), ("cp", "w1")];
        assert_eq!(scopes_of(THREE, &of_w1), ["w1"]);
        let all = [of_w1.as_slice(), &[("w2", "cp"), ("cp", "w2")]].concat();
        assert_eq!(scopes_of(THREE, &all), ["all"]);
        assert_eq!(scopes_of(&["cp", "w1"], &[("cp", "w1"), ("w1", "cp")]), ["cp-w1"]);
        assert_eq!(scopes_of(&["a", "b", "c", "d"], &[("a", "b"), ("b", "a"), ("c", "d")]), ["a-b", "c>d"]);
    }

    fn crossing(packets: &[Packet]) -> Crossing {
        Crossing {
            from: NodeName("w1".to_owned()),
            source: "192.168.50.12".parse().unwrap(),
            to: NodeName("w2".to_owned()),
            destination: "192.168.50.13".parse().unwrap(),
            packets: packets.to_vec(),
        }
    }

    fn vxlan(size: Option<u32>) -> Packet {
        Packet::Vxlan { port: 8472, vni: 1, station: hopwise_snapshot::Mac::ZERO, size }
    }

    #[test]
    fn what_arrives_tells_what_is_lost() {
        let crossing = crossing(&[
            vxlan(None),
            vxlan(Some(1500)),
            Packet::Udp { port: 9 },
            Packet::Echo,
            Packet::Tcp { port: 9 },
        ]);
        let (here, gone, none) =
            (Seen { n_left: 5, n_arrived: 4 }, Seen { n_left: 5, n_arrived: 0 }, Seen::default());
        let of = |seen: [Seen; 5], asked| lost(&crossing, &seen, asked);
        assert_eq!(of([here; 5], none), None);
        assert_eq!(of([gone, gone, here, here, here], none), Some(Lost::UdpPort(8472)));
        assert_eq!(of([gone, gone, gone, here, gone], none), Some(Lost::Udp));
        assert_eq!(of([gone, gone, gone, gone, here], none), Some(Lost::Udp));
        assert_eq!(of([gone; 5], none), Some(Lost::All));
        assert_eq!(of([here, gone, here, here, here], none), Some(Lost::Large(1500)));
        assert_eq!(of([here, here, gone, gone, gone], none), None, "nobody promises those");
        assert_eq!(of([none; 5], none), None, "what did not leave was not lost in between");
        assert_eq!(of([none; 5], gone), Some(Lost::All), "nobody heard who was asked for");
        assert_eq!(of([none; 5], here), None, "the recipient heard and did not answer");
    }
}
