//! Routes, policy rules, next hop objects, neighbours and forwarding databases.

use super::{
    Facts, at,
    links::{link_name, scope_name},
};
use crate::{
    Element, FdbEntry, FdbState, NeighbourState, NetNs, NextHop, NextHopObject, Place, Route, RouteKind,
    RoutingRule, RuleAction, tables,
};

pub(super) fn of_namespace(facts: &mut Facts<'_>, place: &Place, net: &NetNs) {
    for route in facts.items(|| at(place, ["route"]), &net.routes) {
        let element = Element::route(place, route.table, &route.destination, route.metric);
        facts.add(element, route_text(net, route));
    }
    for rule in facts.items(|| at(place, ["rule"]), &net.rules) {
        facts.add(Element::rule(place, rule.is_ipv6, rule.priority), rule_text(rule));
    }
    for object in facts.items(|| at(place, ["nexthop"]), &net.next_hop_objects) {
        facts.add(at(place, ["nexthop", &object.id.to_string()]), next_hop_object_text(net, object));
    }
    for it in facts.items(|| at(place, ["neigh"]), &net.neighbours) {
        let element = Element::neighbour(place, &link_name(net, it.link), it.address);
        let mac = it.mac.map_or_else(|| "nobody".to_owned(), |it| it.to_string());
        let proxy = if it.proxy { " proxy" } else { "" };
        let text = format!("{mac} {}{proxy}", it.state.word());
        if it.proxy || matches!(it.state, NeighbourState::Permanent) {
            facts.add(element, text);
        } else {
            facts.add_passing(element, text);
        }
    }
    for entry in facts.items(|| at(place, ["fdb"]), &net.fdb) {
        of_fdb(facts, place, net, entry);
    }
}

fn route_text(net: &NetNs, route: &Route) -> String {
    let mut words = vec![route.kind.word().to_owned()];
    if let RouteKind::Other(number) = route.kind {
        words.push(number.to_string());
    }
    words.extend(route.next_hops.iter().map(|it| next_hop_text(net, it, route.next_hops.len() > 1)));
    words.extend(route.source.map(|it| format!("from {it}")));
    if route.tos != 0 {
        words.push(format!("tos {:#x}", route.tos));
    }
    words.push(format!("proto {}", protocol_name(route.protocol)));
    words.push(format!("scope {}", scope_name(route.scope)));
    words.extend(route.preferred_source.map(|it| format!("src {it}")));
    words.extend(route.next_hop_object.map(|it| format!("nhid {it}")));
    let lock = if route.mtu_locked { "lock " } else { "" };
    words.extend(route.mtu.map(|it| format!("mtu {lock}{it}")));
    words.extend(route.encapsulation.iter().map(|it| format!("encap {it}")));
    words.join(" ")
}

fn next_hop_text(net: &NetNs, hop: &NextHop, is_one_of_many: bool) -> String {
    let mut words = Vec::new();
    words.extend(hop.via.map(|it| format!("via {it}")));
    words.extend(hop.link.map(|it| format!("dev {}", link_name(net, it))));
    if is_one_of_many {
        words.push(format!("weight {}", hop.weight));
    }
    let flags = [(hop.onlink, "onlink"), (hop.dead, "dead"), (hop.linkdown, "linkdown")];
    words.extend(flags.iter().filter(|(it, _)| *it).map(|(_, it)| (*it).to_owned()));
    words.join(" ")
}

fn next_hop_object_text(net: &NetNs, object: &NextHopObject) -> String {
    let mut words = Vec::new();
    words.extend(object.hop.iter().map(|it| next_hop_text(net, it, false)));
    words.extend(object.group.iter().map(|(id, weight)| format!("group {id} weight {weight}")));
    if object.blackhole {
        words.push("blackhole".to_owned());
    }
    words.join(" ")
}

/// Who wrote a route, as ip(8) prints it without `/etc/iproute2/rt_protos` (`RTPROT_*`).
fn protocol_name(protocol: u8) -> String {
    match protocol {
        0 => "unspec".to_owned(),
        1 => "redirect".to_owned(),
        2 => "kernel".to_owned(),
        3 => "boot".to_owned(),
        4 => "static".to_owned(),
        9 => "ra".to_owned(),
        11 => "zebra".to_owned(),
        12 => "bird".to_owned(),
        16 => "dhcp".to_owned(),
        186 => "bgp".to_owned(),
        other => other.to_string(),
    }
}

fn rule_text(rule: &RoutingRule) -> String {
    let mut words = Vec::new();
    if rule.inverted {
        words.push("not".to_owned());
    }
    words.push(rule.source.map_or_else(|| "from all".to_owned(), |it| format!("from {it}")));
    words.extend(rule.destination.map(|it| format!("to {it}")));
    words.extend(rule.mark.map(|(value, mask)| format!("fwmark {value:#x}/{mask:#x}")));
    words.extend(rule.input.iter().map(|it| format!("iif {it}")));
    words.extend(rule.output.iter().map(|it| format!("oif {it}")));
    if rule.tos != 0 {
        words.push(format!("tos {:#x}", rule.tos));
    }
    words.extend(rule.ip_protocol.map(|it| format!("ipproto {it}")));
    words.extend(rule.source_ports.map(|(first, last)| format!("sport {first}-{last}")));
    words.extend(rule.destination_ports.map(|(first, last)| format!("dport {first}-{last}")));
    words.extend(rule.users.map(|(first, last)| format!("uidrange {first}-{last}")));
    if rule.l3mdev {
        words.push("l3mdev".to_owned());
    }
    words.extend(rule.not_modelled.iter().cloned());
    words.push(match rule.action {
        RuleAction::Lookup(table) => format!("lookup {}", tables::name(table)),
        RuleAction::Goto(priority) => format!("goto {priority}"),
        RuleAction::Nop => "nop".to_owned(),
        RuleAction::Blackhole => "blackhole".to_owned(),
        RuleAction::Unreachable => "unreachable".to_owned(),
        RuleAction::Prohibit => "prohibit".to_owned(),
        RuleAction::Other(number) => format!("action {number}"),
    });
    words.extend(rule.suppress_prefix_length.map(|it| format!("suppress_prefixlength {it}")));
    words.join(" ")
}

/// An entry is named by the tunnel device or the bridge that it belongs to.
fn of_fdb(facts: &mut Facts<'_>, place: &Place, net: &NetNs, entry: &FdbEntry) {
    let name = link_name(net, entry.link);
    let link = net.link(&name);
    let bridge = link.filter(|_| !entry.on_device).and_then(|it| it.master).map(|it| link_name(net, it));
    let mut words = Vec::new();
    if bridge.is_some() {
        words.push(format!("port {name}"));
    }
    words.extend(entry.remote.map(|it| format!("dst {it}")));
    words.extend(entry.vni.map(|it| format!("vni {it}")));
    words.extend(entry.port.map(|it| format!("port {it}")));
    words.extend(entry.via.map(|it| format!("via {}", link_name(net, it))));
    words.extend(entry.vlan.map(|it| format!("vlan {it}")));
    let state = match entry.state {
        FdbState::Learned => "learned",
        FdbState::Static => "static",
        FdbState::Permanent => "permanent",
    };
    words.push(state.to_owned());
    let element = Element::fdb(place, bridge.as_deref().unwrap_or(&name), entry.mac);
    if entry.state == FdbState::Learned {
        facts.add_passing(element, words.join(" "));
    } else {
        facts.add(element, words.join(" "));
    }
}
