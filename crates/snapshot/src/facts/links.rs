//! Interfaces, their addresses, bridges and tunnels.

use super::{Facts, at, yes_no};
use crate::{
    Address, AddressFlags, Bridge, BridgePort, Element, IfIndex, Link, LinkDetail, LinkFlags, LinkStatistics,
    NetNs, Observed, Place, Vxlan,
};

pub(super) fn of_namespace(facts: &mut Facts<'_>, place: &Place, net: &NetNs) {
    match &net.inode {
        Observed::Known(inode) => facts.add(at(place, ["netns"]), inode.to_string()),
        Observed::Absent => {}
        Observed::NotCollected(reason) => facts.not_collected(at(place, ["netns"]), reason),
    }
    for link in facts.items(|| at(place, ["link"]), &net.links) {
        of_link(facts, place, net, link);
    }
    for address in facts.items(|| at(place, ["address"]), &net.addresses) {
        let link = link_name(net, address.link);
        facts.add(Element::address(place, &link, &address.address), address_text(address));
    }
}

fn of_link(facts: &mut Facts<'_>, place: &Place, net: &NetNs, link: &Link) {
    let name = link.name.as_str();
    let flag = |flag| link.flags.contains(flag);
    let mut aspects = vec![
        ("kind", if link.kind.is_empty() { "physical or loopback" } else { &link.kind }.to_owned()),
        ("up", yes_no(link.is_up())),
        ("carrier", yes_no(link.has_carrier())),
        ("operstate", link.operstate.clone()),
        ("mtu", link.mtu.to_string()),
        ("arp", yes_no(!flag(LinkFlags::NOARP))),
        ("promiscuous", yes_no(flag(LinkFlags::PROMISC))),
        ("allmulti", yes_no(flag(LinkFlags::ALLMULTI))),
    ];
    aspects.extend(link.mac.map(|it| ("mac", it.to_string())));
    aspects.extend(link.master.map(|it| ("master", link_name(net, it))));
    aspects.extend(lower(facts, net, link).map(|it| ("lower", it)));
    match &link.detail {
        LinkDetail::Vlan { id } => aspects.push(("vlan", id.to_string())),
        LinkDetail::Macvlan { mode } => aspects.push(("macvlan", mode.clone())),
        LinkDetail::Vrf { table } => aspects.push(("vrf", crate::tables::name(*table))),
        LinkDetail::Vxlan(vxlan) => of_tunnel(facts, place, net, name, vxlan),
        LinkDetail::Bridge(bridge) => of_bridge(facts, place, name, bridge),
        LinkDetail::Other => {}
    }
    for (aspect, text) in aspects {
        facts.add(Element::link_aspect(place, name, aspect), text);
    }
    if let (Some(port), Some(bridge)) = (&link.port, link.master) {
        of_port(facts, place, &link_name(net, bridge), name, port);
    }
    if let Some(xdp) = &link.xdp {
        // The program's number is another after each load.
        facts.add(Element::xdp(place, name), format!("a program, {}", xdp.mode));
        facts.add_passing(at(place, ["xdp", name, "program"]), xdp.program.to_string());
    }
    facts.add_passing(at(place, ["link", name, "statistics"]), statistics(&link.statistics));
}

/// The lower device or the other end of a pair, by name where it is in a namespace of the cluster.
fn lower(facts: &Facts<'_>, net: &NetNs, link: &Link) -> Option<String> {
    let index = link.lower?;
    let Some(nsid) = link.lower_nsid else { return Some(link_name(net, index)) };
    let place = net.namespaces.known().and_then(|it| it.get(&nsid));
    let Some(place) = place else { return Some(format!("{index} of another namespace")) };
    let name = facts.snapshot.net(place).map_or_else(|| index.to_string(), |it| link_name(it, index));
    Some(format!("{name} of {place}"))
}

fn of_tunnel(facts: &mut Facts<'_>, place: &Place, net: &NetNs, link: &str, vxlan: &Vxlan) {
    let mut attributes = vec![
        ("vni", vxlan.vni.to_string()),
        ("port", vxlan.port.to_string()),
        ("learning", yes_no(vxlan.learning)),
        ("ttl", vxlan.ttl.to_string()),
        ("df", vxlan.df.clone()),
        ("external", yes_no(vxlan.external)),
    ];
    attributes.extend(vxlan.local.map(|it| ("local", it.to_string())));
    attributes.extend(vxlan.remote.map(|it| ("remote", it.to_string())));
    attributes.extend(vxlan.lower.map(|it| ("dev", link_name(net, it))));
    for (attribute, text) in attributes {
        facts.add(Element::tunnel(place, link, attribute), text);
    }
}

fn of_bridge(facts: &mut Facts<'_>, place: &Place, link: &str, bridge: &Bridge) {
    let attributes = [
        ("vlan_filtering", yes_no(bridge.vlan_filtering)),
        ("stp", yes_no(bridge.stp)),
        ("nf_call_iptables", yes_no(bridge.nf_call_iptables)),
        ("nf_call_ip6tables", yes_no(bridge.nf_call_ip6tables)),
        ("nf_call_arptables", yes_no(bridge.nf_call_arptables)),
        ("mcast_snooping", yes_no(bridge.multicast_snooping)),
        ("mcast_querier", yes_no(bridge.multicast_querier)),
        ("ageing", format!("{} s", bridge.ageing_seconds)),
    ];
    for (attribute, text) in attributes {
        facts.add(at(place, ["bridge", link, attribute]), text);
    }
}

fn of_port(facts: &mut Facts<'_>, place: &Place, bridge: &str, port: &str, settings: &BridgePort) {
    let attributes = [
        ("state", settings.state.word().to_owned()),
        ("hairpin", yes_no(settings.hairpin)),
        ("isolated", yes_no(settings.isolated)),
        ("learning", yes_no(settings.learning)),
        ("flood", yes_no(settings.flood)),
        ("mcast_flood", yes_no(settings.multicast_flood)),
        ("bcast_flood", yes_no(settings.broadcast_flood)),
        ("neigh_suppress", yes_no(settings.neighbour_suppression)),
        ("locked", yes_no(settings.locked)),
        ("guard", yes_no(settings.guard)),
    ];
    for (attribute, text) in attributes {
        facts.add(Element::bridge_port(place, bridge, port, attribute), text);
    }
}

fn statistics(it: &LinkStatistics) -> String {
    format!(
        "received {} packets, {} bytes, {} dropped, {} errors, sent {} packets, {} bytes, {} dropped, {} errors",
        it.rx_packets,
        it.rx_bytes,
        it.rx_dropped,
        it.rx_errors,
        it.tx_packets,
        it.tx_bytes,
        it.tx_dropped,
        it.tx_errors
    )
}

fn address_text(address: &Address) -> String {
    let mut words = vec![format!("scope {}", scope_name(address.scope))];
    words.extend(address.peer.map(|it| format!("peer {it}")));
    words.extend(address.broadcast.map(|it| format!("brd {it}")));
    let flags = [
        (AddressFlags::SECONDARY, "secondary"),
        (AddressFlags::NODAD, "nodad"),
        (AddressFlags::OPTIMISTIC, "optimistic"),
        (AddressFlags::DADFAILED, "dadfailed"),
        (AddressFlags::DEPRECATED, "deprecated"),
        (AddressFlags::TENTATIVE, "tentative"),
        (AddressFlags::NOPREFIXROUTE, "noprefixroute"),
    ];
    words.extend(flags.iter().filter(|(it, _)| address.flags.contains(*it)).map(|(_, it)| (*it).to_owned()));
    if !address.flags.contains(AddressFlags::PERMANENT) {
        words.push("dynamic".to_owned());
    }
    words.join(" ")
}

/// The name of a scope as ip(8) prints it (`RT_SCOPE_*`).
pub(super) fn scope_name(scope: u8) -> String {
    match scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        other => other.to_string(),
    }
}

/// The name of an interface, or its number where there is none of it.
pub(super) fn link_name(net: &NetNs, index: IfIndex) -> String {
    let links = net.links.known();
    let link = links.and_then(|it| it.iter().find(|it| it.index == index));
    link.map_or_else(|| index.to_string(), |it| it.name.clone())
}
