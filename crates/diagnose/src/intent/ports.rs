//! Settings of bridge ports.

use hopwise_change::Change;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{BridgePort, Element, Link, Place, PortState};

use super::{Aspect, Basis, Deviation, Intent, devices, nodes};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        let net = &node.net;
        for link in net.links.known().into_iter().flatten() {
            let (Some(setting), Some(master)) = (&link.port, link.master) else { continue };
            let bridge = devices::name_at(net, master);
            let is_pods = devices::is_veth_of_pod(net, link) && intent.bridge() == Some(&bridge);
            let hairpin = is_pods && intent.cni.as_ref().is_some_and(|it| it.hairpin);
            let works =
                link.is_up() && link.has_carrier() && devices::link_at(net, master).is_some_and(Link::is_up);
            for (attribute, observed, expected) in differences(setting, hairpin, works) {
                let element = Element::bridge_port(&place, &bridge, &link.name, attribute);
                let change = Change::BridgePort {
                    place: place.clone(),
                    port: link.name.clone(),
                    attribute: attribute.to_owned(),
                    value: expected.clone(),
                };
                found.push(Deviation {
                    element,
                    place: place.clone(),
                    aspect: Aspect::BridgePort,
                    observed,
                    expected: if attribute == "state" { "forwarding".to_owned() } else { expected },
                    basis: if attribute == "hairpin" { Basis::Cni } else { Basis::Default },
                    source: "bridge -d link".to_owned(),
                    repair: Repair::one(Action::change(
                        change,
                        intent.snapshot,
                        Risk::Additive,
                        format!("bridge -d link show dev {}", link.name),
                    )),
                });
            }
        }
    }
}

/// The attributes that are not as they should be, as `bridge link set` spells them: name, what is, what should be.
fn differences(setting: &BridgePort, hairpin: bool, works: bool) -> Vec<(&'static str, String, String)> {
    let default = BridgePort { hairpin, ..BridgePort::default() };
    let word = |it: bool| if it { "on" } else { "off" }.to_owned();
    let mut all = Vec::new();
    let switches = [
        ("hairpin", setting.hairpin, default.hairpin),
        ("isolated", setting.isolated, default.isolated),
        ("learning", setting.learning, default.learning),
        ("flood", setting.flood, default.flood),
        ("mcast_flood", setting.multicast_flood, default.multicast_flood),
        ("bcast_flood", setting.broadcast_flood, default.broadcast_flood),
        ("neigh_suppress", setting.neighbour_suppression, default.neighbour_suppression),
        ("locked", setting.locked, default.locked),
    ];
    for (name, is, should) in switches {
        if is != should {
            all.push((name, word(is), word(should)));
        }
    }
    // A port that cannot work is disabled; that is not its own fault.
    if works && setting.state != PortState::Forwarding {
        all.push(("state", setting.state.word().to_owned(), "3".to_owned()));
    }
    all
}
