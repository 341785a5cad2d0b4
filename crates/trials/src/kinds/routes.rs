//! Routes and routing policy rules of nodes.

use hopwise_snapshot::{Element, Place, Route, tables};
use ipnet::IpNet;

use crate::fault::{Fault, Kind, Scene, routes};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "a route is deleted", make: deleted },
    Kind { name: "a route leads to another node", make: elsewhere },
    Kind { name: "a route refuses", make: refuses },
    Kind { name: "half of a range is led elsewhere", make: half },
    Kind { name: "a Service's address has a route of its own", make: service_route },
    Kind { name: "a route takes only small packets", make: small },
    Kind { name: "a route of the table local is deleted", make: local_deleted },
    Kind { name: "a rule refuses", make: rule_refuses },
    Kind { name: "a rule leads to a table that refuses", make: rule_elsewhere },
    Kind { name: "the rule of the table main is deleted", make: rule_deleted },
];

fn ip(is_ipv6: bool) -> &'static str {
    if is_ipv6 { "ip -6" } else { "ip" }
}

fn element(place: &Place, route: &Route) -> Element {
    Element::route(place, route.table, &route.destination, route.metric)
}

/// A route of a node that is not link-local.
fn any(scene: &mut Scene<'_>) -> Option<(Place, Route)> {
    let (_, place, net) = scene.at_node();
    let is_ipv6 = scene.is_ipv6();
    let all: Vec<Route> = routes(net, is_ipv6)
        .into_iter()
        .filter(|it| !matches!(it.destination, IpNet::V6(net) if net.addr().is_unicast_link_local()))
        .cloned()
        .collect();
    Some((place, scene.one_of(&all)?))
}

fn deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, route) = any(scene)?;
    let ip = ip(route.destination.addr().is_ipv6());
    let command = format!("{ip} route del {} metric {}", route.destination, route.metric);
    Some(Fault::new(&place, command, element(&place, &route)))
}

/// The range of another node's pods, with a third node.
fn ranges(scene: &mut Scene<'_>) -> Option<(Place, IpNet, std::net::IpAddr)> {
    let (name, place, _) = scene.at_node();
    let other = scene.other_node(&name);
    let range = scene.pods_of(&other);
    let all: Vec<_> =
        scene.snapshot.nodes.keys().filter(|it| **it != name && **it != other).cloned().collect();
    let third = scene.one_of(&all)?;
    let gateway = scene
        .snapshot
        .cluster
        .node(&third)?
        .internal_ips()
        .find(|it| it.is_ipv6() == range.addr().is_ipv6())?;
    Some((place, range, gateway))
}

fn elsewhere(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, range, gateway) = ranges(scene)?;
    let is_ipv6 = range.addr().is_ipv6();
    let (ip, metric) = (ip(is_ipv6), if is_ipv6 { 1024 } else { 0 });
    let command =
        format!("{ip} route del {range}; {ip} route add {range} via {gateway} dev eth0 metric {metric}");
    Some(Fault::new(&place, command, Element::route(&place, tables::MAIN, &range, 0)))
}

fn refuses(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, range, _) = ranges(scene)?;
    let ip = ip(range.addr().is_ipv6());
    let kind = scene.one_of(&["blackhole", "unreachable", "prohibit"])?;
    // More narrow than flannel's own, so that it wins beside it.
    let half = range.subnets(range.prefix_len() + 1).ok()?.next()?;
    let metric = if range.addr().is_ipv6() { 1024 } else { 0 };
    let element = Element::route(&place, tables::MAIN, &half, metric);
    Some(Fault::new(&place, format!("{ip} route add {kind} {half}"), element))
}

fn half(scene: &mut Scene<'_>) -> Option<Fault> {
    let (place, range, gateway) = ranges(scene)?;
    let ip = ip(range.addr().is_ipv6());
    let half = range.subnets(range.prefix_len() + 1).ok()?.next()?;
    let metric = if range.addr().is_ipv6() { 1024 } else { 0 };
    let element = Element::route(&place, tables::MAIN, &half, metric);
    Some(Fault::new(&place, format!("{ip} route add {half} via {gateway} dev eth0"), element))
}

fn service_route(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let services = scene.snapshot.cluster.services.known()?;
    let all: Vec<_> = services.iter().flat_map(hopwise_snapshot::Service::cluster_ips).collect();
    let address = scene.one_of(&all)?;
    let ip = ip(address.is_ipv6());
    let metric = if address.is_ipv6() { 1024 } else { 0 };
    let kind = scene.one_of(&["blackhole", "unreachable", "prohibit"])?;
    let element = Element::route(&place, tables::MAIN, &IpNet::from(address), metric);
    Some(Fault::new(&place, format!("{ip} route add {kind} {address}"), element))
}

fn small(scene: &mut Scene<'_>) -> Option<Fault> {
    let (name, place, net) = scene.at_node();
    let other = scene.other_node(&name);
    let range = scene.pods_of(&other);
    let route = routes(net, range.addr().is_ipv6()).into_iter().find(|it| it.destination == range)?.clone();
    let ip = ip(range.addr().is_ipv6());
    let via = route.next_hops.first()?.via?;
    let device = if range.addr().is_ipv6() { "flannel-v6.1" } else { "flannel.1" };
    let mtu = if range.addr().is_ipv6() { 1280 } else { scene.dice.u32(600..1300) };
    let metric = route.metric;
    let command =
        format!("{ip} route change {range} via {via} dev {device} onlink metric {metric} mtu lock {mtu}");
    Some(Fault::new(&place, command, element(&place, &route)))
}

fn local_deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let all = net.routes.known()?.iter().filter(|it| {
        it.table == tables::LOCAL
            && it.kind == hopwise_snapshot::RouteKind::Local
            && it.destination.addr().is_ipv4()
            && !it.destination.addr().is_loopback()
    });
    let all: Vec<_> = all.cloned().collect();
    let route = scene.one_of(&all)?;
    let command = format!("ip route del local {} table local", route.destination);
    Some(Fault::new(&place, command, element(&place, &route)))
}

fn selector(scene: &mut Scene<'_>) -> Option<String> {
    let node = scene.node();
    let range = scene.pods_of(&node);
    let word = scene.one_of(&["from", "to"])?;
    Some(format!("{word} {range}"))
}

fn rule_refuses(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let selector = selector(scene)?;
    let is_ipv6 = selector.matches(':').count() > 1;
    let action = scene.one_of(&["prohibit", "blackhole", "unreachable"])?;
    let priority = scene.dice.u32(100..30_000);
    let command = format!("{} rule add pref {priority} {selector} {action}", ip(is_ipv6));
    Some(Fault::new(&place, command, Element::rule(&place, is_ipv6, priority)))
}

fn rule_elsewhere(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let selector = selector(scene)?;
    let is_ipv6 = selector.matches(':').count() > 1;
    let priority = scene.dice.u32(100..30_000);
    let ip = ip(is_ipv6);
    let kind = scene.one_of(&["blackhole", "unreachable"])?;
    let command =
        format!("{ip} rule add pref {priority} {selector} lookup 77; {ip} route add {kind} default table 77");
    let default: IpNet = if is_ipv6 { "::/0".parse().ok()? } else { "0.0.0.0/0".parse().ok()? };
    let metric = if is_ipv6 { 1024 } else { 0 };
    let fault = Fault::new(&place, command, Element::rule(&place, is_ipv6, priority));
    Some(fault.or(Element::route(&place, 77, &default, metric)))
}

fn rule_deleted(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, _) = scene.at_node();
    let is_ipv6 = scene.is_ipv6();
    let command = format!("{} rule del pref 32766", ip(is_ipv6));
    Some(Fault::new(&place, command, Element::rule(&place, is_ipv6, 32766)))
}
