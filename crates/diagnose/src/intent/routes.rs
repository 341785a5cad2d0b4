//! Routes and routing policy rules: those that must be there, and those that nobody of the cluster wrote.

use std::collections::BTreeSet;

use hopwise_change::{Change, Controller, RouteSpec, route_spec};
use hopwise_controllers::flannel::DeviceRoute;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{
    Element, NetNs, NodeName, Place, Route, RouteKind, RoutingRule, RuleAction, protocols, tables,
};
use ipnet::IpNet;

use super::{Aspect, Basis, Deviation, Intent, devices, nodes, pods, twins};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        let mut wanted = of_addresses(&node.net);
        wanted.extend(of_flannel(intent, name));
        wanted.extend(default_route(intent, name, &node.net));
        compare(intent, &place, &node.net, &wanted, found);
        rules(intent, &place, &node.net, found);
    }
    for (name, pod) in pods(intent.snapshot) {
        let place = Place::Pod(name.clone());
        let mut wanted = of_addresses(&pod.net);
        if let (Some(cni), Some(env), Some(object)) =
            (&intent.cni, intent.subnet_env(&pod.node), intent.snapshot.cluster.pod(name))
        {
            let network = cni.pod_network(env, &object.ips());
            wanted.extend(network.routes.iter().map(|it| (spec(it), Basis::Cni)));
        }
        compare(intent, &place, &pod.net, &wanted, found);
        rules(intent, &place, &pod.net, found);
    }
}

fn spec(route: &DeviceRoute) -> RouteSpec {
    RouteSpec { onlink: route.onlink, ..RouteSpec::unicast(route.destination, route.via, &route.device) }
}

type Wanted = (RouteSpec, Basis);

/// The routes that the kernel writes for the addresses of interfaces that are up.
fn of_addresses(net: &NetNs) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for address in net.addresses.known().into_iter().flatten() {
        let Some(link) = devices::link_at(net, address.link) else { continue };
        let is_host = address.address.prefix_len() == address.address.max_prefix_len();
        let is_local = address.scope == 253;
        if !link.is_up() || !address.is_usable() || is_local {
            continue;
        }
        let own = address.address.addr();
        let scope = |it: u8| if own.is_ipv4() { it } else { 0 };
        let local = RouteSpec {
            table: tables::LOCAL,
            kind: RouteKind::Local,
            destination: IpNet::from(own),
            scope: scope(254),
            protocol: protocols::KERNEL,
            preferred_source: own.is_ipv4().then_some(own),
            ..RouteSpec::unicast(IpNet::from(own), None, &link.name)
        };
        wanted.push((local, Basis::Default));
        let is_prefix_wanted = !is_host
            && !link.is_loopback()
            && !address.flags.contains(hopwise_snapshot::AddressFlags::NOPREFIXROUTE)
            && !address.flags.contains(hopwise_snapshot::AddressFlags::SECONDARY);
        if is_prefix_wanted {
            let prefix = address.address.trunc();
            let route = RouteSpec {
                metric: if own.is_ipv4() { 0 } else { 256 },
                protocol: protocols::KERNEL,
                preferred_source: own.is_ipv4().then_some(own),
                ..RouteSpec::unicast(prefix, None, &link.name)
            };
            wanted.push((route, Basis::Default));
        }
    }
    wanted
}

fn of_flannel(intent: &Intent<'_>, node: &NodeName) -> Vec<Wanted> {
    let routes = intent.flannel.get(node).into_iter().flat_map(|it| &it.routes);
    routes.map(|it| (spec(it), Basis::Controller(Controller::Flannel))).collect()
}

/// The default routes that most nodes have, for the node's own interface of the same name.
fn default_route(intent: &Intent<'_>, name: &NodeName, net: &NetNs) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for is_ipv6 in [false, true] {
        let of = |net: &NetNs| -> Option<(String, Option<std::net::IpAddr>, u32)> {
            let routes = net.routes.known()?;
            let mut defaults: Vec<&Route> = routes
                .iter()
                .filter(|it| it.table == tables::MAIN && it.destination.prefix_len() == 0)
                .filter(|it| {
                    matches!(it.destination, IpNet::V6(_)) == is_ipv6 && it.kind == RouteKind::Unicast
                })
                .collect();
            defaults.sort_by_key(|it| it.metric);
            let hop = defaults.first()?.next_hops.first()?;
            Some((devices::name_at(net, hop.link?), hop.via, defaults.first()?.metric))
        };
        let all: Vec<_> = nodes(intent.snapshot).map(|(_, node)| of(&node.net)).collect();
        let Some(Some((link, via, metric))) = twins::majority(all) else { continue };
        // Two nodes without the route that a third one has are no reason to give it to them.
        if nodes(intent.snapshot).count() < 2
            || net.link(&link).is_none()
            || !intent.uplinks.contains_key(name)
        {
            continue;
        }
        let text = if is_ipv6 { "::/0" } else { "0.0.0.0/0" };
        let destination: IpNet = text.parse().expect("a network");
        let route = RouteSpec { metric, ..RouteSpec::unicast(destination, via, &link) };
        wanted.push((route, Basis::Twins));
    }
    wanted
}

fn compare(intent: &Intent<'_>, place: &Place, net: &NetNs, wanted: &[Wanted], found: &mut Vec<Deviation>) {
    let Some(routes) = net.routes.known() else { return };
    for (spec, basis) in wanted {
        let Some(link) = &spec.link else { continue };
        // A route over an interface that is missing or down is that interface's matter.
        let is_ipv6 = spec.destination.addr().is_ipv6();
        if net.link(link).is_none_or(|it| !devices::takes(net, it, is_ipv6)) {
            continue;
        }
        let like = routes.iter().filter(|it| is_like(it, spec)).collect::<Vec<_>>();
        if like.iter().any(|it| is_same(net, it, spec)) {
            continue;
        }
        let is_local = spec.kind == RouteKind::Local;
        found.push(Deviation {
            element: Element::route(place, spec.table, &spec.destination, spec.metric),
            place: place.clone(),
            aspect: Aspect::Route,
            observed: like.first().map_or_else(|| "missing".to_owned(), |it| text(net, it)),
            expected: spec.words("")[..].join(" ").replacen("ip -6 route  ", "", 1).replacen(
                "ip route  ",
                "",
                1,
            ),
            basis: *basis,
            source: if is_local { "ip route show table local" } else { "ip route" }.to_owned(),
            repair: Repair::one(Action::change(
                Change::RouteReplaced { place: place.clone(), route: spec.clone() },
                intent.snapshot,
                Risk::Additive,
                format!("ip route get {}", spec.destination.addr()),
            )),
        });
    }
    strangers(intent, place, net, routes, wanted, found);
}

fn is_like(route: &Route, spec: &RouteSpec) -> bool {
    let metric =
        if spec.metric == 0 && spec.destination.addr().is_ipv6() { [0, 1024] } else { [spec.metric; 2] };
    route.table == spec.table && route.destination == spec.destination && metric.contains(&route.metric)
}

fn is_same(net: &NetNs, route: &Route, spec: &RouteSpec) -> bool {
    let hop = route.next_hops.first();
    route.kind == spec.kind
        && route.tos == 0
        && route.mtu == spec.mtu
        && route.next_hops.len() <= 1
        && hop.and_then(|it| it.via) == spec.via
        && hop.and_then(|it| it.link).map(|it| devices::name_at(net, it)) == spec.link
        && (spec.preferred_source.is_none()
            || route.preferred_source.is_none()
            || route.preferred_source == spec.preferred_source)
        && (spec.preferred_source.is_some() || route.preferred_source.is_none())
}

/// Routes that nobody of the cluster wrote: not wanted, not the kernel's own, and not on every twin.
fn strangers(
    intent: &Intent<'_>,
    place: &Place,
    net: &NetNs,
    routes: &[Route],
    wanted: &[Wanted],
    found: &mut Vec<Deviation>,
) {
    for route in routes {
        let is_wanted = wanted.iter().any(|(spec, _)| is_like(route, spec));
        let is_kernels = route.protocol == protocols::KERNEL || route.protocol == protocols::RA;
        let is_group = matches!(route.kind, RouteKind::Multicast | RouteKind::Broadcast | RouteKind::Anycast);
        if is_wanted || is_kernels || is_group || is_shared(intent, place, net, route) {
            continue;
        }
        let change = Change::RouteRemoved {
            place: place.clone(),
            table: route.table,
            destination: route.destination,
            metric: route.metric,
        };
        found.push(Deviation {
            element: Element::route(place, route.table, &route.destination, route.metric),
            place: place.clone(),
            aspect: Aspect::Route,
            observed: text(net, route),
            expected: "no such route".to_owned(),
            basis: Basis::Twins,
            source: "ip route show table all".to_owned(),
            repair: Repair::one(Action::change(
                change,
                intent.snapshot,
                Risk::Additive,
                format!("ip route get {}", route.destination.addr()),
            )),
        });
    }
}

/// Do most places of the same kind have the same route?
fn is_shared(intent: &Intent<'_>, place: &Place, net: &NetNs, route: &Route) -> bool {
    let own = text(net, route);
    let has = |net: &NetNs| {
        let routes = net.routes.known().into_iter().flatten();
        routes.filter(|it| it.destination == route.destination).any(|it| text(net, it) == own)
    };
    let (n_with, n_all) = match place {
        Place::Node(_) => {
            let all: Vec<bool> = nodes(intent.snapshot).map(|(_, it)| has(&it.net)).collect();
            (all.iter().filter(|it| **it).count(), all.len())
        }
        Place::Pod(_) => {
            let all: Vec<bool> = pods(intent.snapshot).map(|(_, it)| has(&it.net)).collect();
            (all.iter().filter(|it| **it).count(), all.len())
        }
    };
    n_all > 1 && n_with * 2 > n_all
}

/// A route as a person writes it, without its verb.
fn text(net: &NetNs, route: &Route) -> String {
    let spec = route_spec(net, route);
    let mut words = spec.words("");
    let skip = words.iter().position(String::is_empty).map_or(0, |it| it + 1);
    words.drain(..skip);
    if route.next_hops.len() > 1 {
        words.push(format!("and {} more next hops", route.next_hops.len() - 1));
    }
    words.join(" ")
}

/// The rules that the kernel makes in every namespace.
fn default_rules() -> impl Iterator<Item = RoutingRule> {
    let all = [
        (false, 0, tables::LOCAL),
        (false, 32766, tables::MAIN),
        (false, 32767, tables::DEFAULT),
        (true, 0, tables::LOCAL),
        (true, 32766, tables::MAIN),
    ];
    all.into_iter()
        .map(|(is_ipv6, priority, table)| RoutingRule::new(is_ipv6, priority, RuleAction::Lookup(table)))
}

fn rules(intent: &Intent<'_>, place: &Place, net: &NetNs, found: &mut Vec<Deviation>) {
    let Some(rules) = net.rules.known() else { return };
    let has_family = |is_ipv6: bool| rules.iter().any(|it| it.is_ipv6 == is_ipv6);
    for rule in default_rules().filter(|it| has_family(it.is_ipv6)) {
        let is_there = rules
            .iter()
            .any(|it| (it.is_ipv6, it.priority, it.action) == (rule.is_ipv6, rule.priority, rule.action));
        if !is_there {
            let change = Change::RuleAdded { place: place.clone(), rule: Box::new(rule.clone()) };
            found.push(rule_deviation(intent, place, &rule, "missing", "present", Basis::Default, change));
        }
    }
    let defaults: BTreeSet<(bool, u32)> = default_rules().map(|it| (it.is_ipv6, it.priority)).collect();
    for rule in rules {
        if defaults.contains(&(rule.is_ipv6, rule.priority)) || is_rule_shared(intent, place, rule) {
            continue;
        }
        let change =
            Change::RuleRemoved { place: place.clone(), is_ipv6: rule.is_ipv6, priority: rule.priority };
        found.push(rule_deviation(intent, place, rule, "present", "no such rule", Basis::Twins, change));
    }
}

fn is_rule_shared(intent: &Intent<'_>, place: &Place, rule: &RoutingRule) -> bool {
    let Place::Node(_) = place else { return false };
    let all: Vec<bool> = nodes(intent.snapshot)
        .map(|(_, it)| it.net.rules.known().is_some_and(|rules| rules.contains(rule)))
        .collect();
    all.len() > 1 && all.iter().filter(|it| **it).count() * 2 > all.len()
}

fn rule_deviation(
    intent: &Intent<'_>,
    place: &Place,
    rule: &RoutingRule,
    observed: &str,
    expected: &str,
    basis: Basis,
    change: Change,
) -> Deviation {
    Deviation {
        element: Element::rule(place, rule.is_ipv6, rule.priority),
        place: place.clone(),
        aspect: Aspect::RoutingRule,
        observed: observed.to_owned(),
        expected: expected.to_owned(),
        basis,
        source: "ip rule".to_owned(),
        repair: Repair::one(Action::change(change, intent.snapshot, Risk::Additive, "ip rule")),
    }
}
