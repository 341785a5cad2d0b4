//! Routes, policy rules, neighbours and forwarding entries.

use std::collections::BTreeSet;

use hopwise_snapshot::{
    Element, FdbEntry, FdbState, Neighbour, NeighbourState, NetNs, Route, RouteKind, RoutingRule,
};

use super::Restoring;
use crate::{Change, RouteSpec, inverse::name_of, route_spec};

impl Restoring<'_> {
    pub(super) fn routes(&mut self) {
        self.rules();
        self.own_routes();
        self.neighbours();
        self.fdb();
    }

    fn own_routes(&mut self) {
        let (Some(now), Some(wanted)) = (self.now.routes.known(), self.wanted.routes.known()) else { return };
        let place = self.place.clone();
        let element = |it: &Route| Element::route(&place, it.table, &it.destination, it.metric);
        let wanted_names: BTreeSet<Element> = wanted.iter().map(element).collect();
        for route in now.iter().filter(|it| !wanted_names.contains(&element(it))) {
            if self.takes(&element(route)) {
                self.change(&Change::RouteRemoved {
                    place: place.clone(),
                    table: route.table,
                    destination: route.destination,
                    metric: route.metric,
                });
            }
        }
        // A gateway must be reached before a route can name it: those without one come first.
        let mut routes: Vec<&Route> = wanted.iter().collect();
        routes.sort_by_key(|it| it.next_hops.iter().any(|it| it.via.is_some()));
        for route in routes {
            let element = element(route);
            let wanted = self.wanted;
            let hops = route.next_hops.iter().filter_map(|it| name_of(wanted, it.link?));
            let has_links = hops.into_iter().all(|it| self.now.link(&it).is_some());
            if !has_links || !self.open.contains(&element) {
                continue;
            }
            if let Some(words) = route_words(wanted, route) {
                self.takes(&element);
                self.run(words);
            }
        }
    }

    fn rules(&mut self) {
        let (Some(now), Some(wanted)) = (self.now.rules.known(), self.wanted.rules.known()) else { return };
        let key = |it: &RoutingRule| (it.is_ipv6, it.priority);
        let keys: BTreeSet<(bool, u32)> = now.iter().chain(wanted).map(key).collect();
        for (is_ipv6, priority) in keys {
            if !self.takes(&Element::rule(self.place, is_ipv6, priority)) {
                continue;
            }
            let place = self.place.clone();
            for _ in now.iter().filter(|it| key(it) == (is_ipv6, priority)) {
                self.change(&Change::RuleRemoved { place: place.clone(), is_ipv6, priority });
            }
            for rule in wanted.iter().filter(|it| key(it) == (is_ipv6, priority)) {
                self.change(&Change::RuleAdded { place: place.clone(), rule: Box::new(rule.clone()) });
            }
        }
    }

    fn neighbours(&mut self) {
        let is_set = |it: &&Neighbour| it.proxy || it.state == NeighbourState::Permanent;
        let (Some(now), Some(wanted)) = (self.now.neighbours.known(), self.wanted.neighbours.known()) else {
            return;
        };
        let place = self.place.clone();
        let element = |net: &NetNs, it: &Neighbour| {
            name_of(net, it.link).map(|link| (Element::neighbour(&place, &link, it.address), link))
        };
        let names: BTreeSet<Element> = wanted
            .iter()
            .filter(is_set)
            .filter_map(|it| element(self.wanted, it).map(|(element, _)| element))
            .collect();
        for neighbour in now.iter().filter(is_set) {
            let Some((element, link)) = element(self.now, neighbour) else { continue };
            if !names.contains(&element) && self.takes(&element) {
                let address = neighbour.address;
                if neighbour.proxy {
                    self.run(["ip", "neigh", "del", "proxy", &address.to_string(), "dev", &link]);
                } else {
                    self.change(&Change::NeighbourRemoved { place: place.clone(), link, address });
                }
            }
        }
        for neighbour in wanted.iter().filter(is_set) {
            let Some((element, link)) = element(self.wanted, neighbour) else { continue };
            if self.now.link(&link).is_none() || !self.takes(&element) {
                continue;
            }
            let address = neighbour.address;
            match neighbour.mac {
                Some(mac) if !neighbour.proxy => {
                    self.change(&Change::NeighbourReplaced { place: place.clone(), link, address, mac });
                }
                _ => self.run(["ip", "neigh", "add", "proxy", &address.to_string(), "dev", &link]),
            }
        }
    }

    fn fdb(&mut self) {
        let (Some(now), Some(wanted)) = (self.now.fdb.known(), self.wanted.fdb.known()) else { return };
        let is_set = |it: &&FdbEntry| it.state != FdbState::Learned;
        let place = self.place.clone();
        let element = |net: &NetNs, it: &FdbEntry| {
            name_of(net, it.link).map(|link| (Element::fdb(&place, &link, it.mac), link))
        };
        let named = |net: &NetNs, list: &[FdbEntry]| -> Vec<(Element, String, FdbEntry)> {
            let own = list.iter().filter(is_set);
            own.filter_map(|it| element(net, it).map(|(element, link)| (element, link, it.clone()))).collect()
        };
        let (now, wanted) = (named(self.now, now), named(self.wanted, wanted));
        let stations: BTreeSet<(&Element, &String)> =
            now.iter().chain(&wanted).map(|(element, link, _)| (element, link)).collect();
        for (station, link) in stations {
            if self.now.link(link).is_none() || !self.takes(station) {
                continue;
            }
            for (verb, entries) in [("del", &now), ("append", &wanted)] {
                for (_, _, entry) in entries.iter().filter(|(it, ..)| it == station) {
                    // A bridge knows no several entries of a station, and no `append`.
                    let verb = if verb == "append" && entry.remote.is_none() { "replace" } else { verb };
                    let words = fdb_words(verb, link, entry);
                    self.run(words);
                }
            }
        }
    }
}

/// The words that write a route as it was recorded; none where that takes more than words: encapsulations, next hop
/// objects, locked sizes.
fn route_words(net: &NetNs, route: &Route) -> Option<Vec<String>> {
    let is_plain = route.encapsulation.is_none()
        && route.next_hop_object.is_none()
        && route.source.is_none()
        && !route.mtu_locked;
    if !is_plain {
        return None;
    }
    let spec = route_spec(net, route);
    let is_multipath = route.next_hops.len() > 1;
    let spec = if is_multipath { RouteSpec { via: None, link: None, onlink: false, ..spec } } else { spec };
    let mut words = spec.words("replace");
    let is_unicast = route.kind == RouteKind::Unicast;
    // What ip(8) takes for a destination on the link, whatever was meant.
    let is_direct = is_unicast && !is_multipath && spec.via.is_none() && !route.destination.addr().is_ipv6();
    if is_direct && route.scope != 253 {
        words.extend(["scope".to_owned(), route.scope.to_string()]);
    }
    if route.tos != 0 {
        words.extend(["tos".to_owned(), format!("{:#x}", route.tos)]);
    }
    for hop in route.next_hops.iter().filter(|_| is_multipath) {
        words.push("nexthop".to_owned());
        words.extend(hop.via.into_iter().flat_map(|it| ["via".to_owned(), it.to_string()]));
        let link = hop.link.and_then(|it| name_of(net, it));
        words.extend(link.into_iter().flat_map(|it| ["dev".to_owned(), it]));
        words.extend(["weight".to_owned(), hop.weight.to_string()]);
        words.extend(hop.onlink.then(|| "onlink".to_owned()));
    }
    Some(words)
}

/// The words that write or remove an entry of a forwarding database.
fn fdb_words(verb: &str, link: &str, entry: &FdbEntry) -> Vec<String> {
    let mut words: Vec<String> =
        ["bridge", "fdb", verb, &entry.mac.to_string(), "dev", link].map(str::to_owned).to_vec();
    words.extend(entry.remote.into_iter().flat_map(|it| ["dst".to_owned(), it.to_string()]));
    words.extend(entry.vlan.into_iter().flat_map(|it| ["vlan".to_owned(), it.to_string()]));
    words.extend(entry.port.into_iter().flat_map(|it| ["port".to_owned(), it.to_string()]));
    words.extend(entry.vni.into_iter().flat_map(|it| ["vni".to_owned(), it.to_string()]));
    words.push(if entry.on_device { "self" } else { "master" }.to_owned());
    if verb != "del" {
        words.push(if entry.state == FdbState::Permanent { "permanent" } else { "static" }.to_owned());
    }
    words
}
