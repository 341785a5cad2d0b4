//! What takes a change back.

use hopwise_snapshot::{IfIndex, LinkFlags, NetNs, Observed, Route, Snapshot};

use crate::{Change, RouteSpec};

impl Change {
    /// The changes that bring back what this one changes, by the facts before it; none where nothing was
    /// read, or nothing can bring it back.
    pub fn inverse(&self, before: &Snapshot) -> Vec<Self> {
        let Some(place) = self.place() else {
            return self.inverse_of_object(&before.cluster).into_iter().collect();
        };
        if let Self::FileWritten { path, .. } | Self::FileRemoved { path, .. } = self {
            let file = before.files(&place).and_then(|it| it.get(path));
            return match file {
                Some(Observed::Known(file)) => vec![Self::FileWritten {
                    place,
                    path: path.clone(),
                    content: String::from_utf8_lossy(file.content.bytes()).into_owned(),
                }],
                Some(Observed::Absent) | None => vec![Self::FileRemoved { place, path: path.clone() }],
                Some(Observed::NotCollected(_)) => Vec::new(),
            };
        }
        let Some(net) = before.net(&place) else { return Vec::new() };
        self.inverse_in(net).into_iter().collect()
    }

    #[expect(clippy::too_many_lines, reason = "one arm a change")]
    pub(crate) fn inverse_in(&self, net: &NetNs) -> Option<Self> {
        let place = self.place()?;
        Some(match self {
            Self::Sysctl { key, .. } => {
                let value = net.sysctls.known()?.values.get(key)?.clone();
                Self::Sysctl { place, key: key.clone(), value }
            }
            Self::LinkUp { link, .. } => {
                Self::LinkUp { place, link: link.clone(), up: net.link(link)?.is_up() }
            }
            Self::LinkMaster { link, .. } => {
                let master = net.link(link)?.master.and_then(|it| name_of(net, it));
                Self::LinkMaster { place, link: link.clone(), master }
            }
            Self::LinkMtu { link, .. } => {
                Self::LinkMtu { place, link: link.clone(), mtu: net.link(link)?.mtu }
            }
            Self::LinkMac { link, .. } => {
                Self::LinkMac { place, link: link.clone(), mac: net.link(link)?.mac? }
            }
            Self::LinkArp { link, .. } => {
                let on = !net.link(link)?.flags.contains(LinkFlags::NOARP);
                Self::LinkArp { place, link: link.clone(), on }
            }
            Self::AddressAdded { link, address, .. } => {
                let is_new = !holds(net, link, *address);
                is_new.then(|| Self::AddressRemoved { place, link: link.clone(), address: *address })?
            }
            Self::AddressRemoved { link, address, .. } => {
                let is_there = holds(net, link, *address);
                is_there.then(|| Self::AddressAdded { place, link: link.clone(), address: *address })?
            }
            Self::RouteReplaced { route, .. } => match route_like(net, route) {
                Some(before) => Self::RouteReplaced { place, route: spec(net, before) },
                None => Self::RouteRemoved {
                    place,
                    table: route.table,
                    destination: route.destination,
                    metric: metric_of(route),
                },
            },
            Self::RouteRemoved { table, destination, metric, .. } => {
                let routes = net.routes.known()?;
                let removed = routes.iter().find(|it| {
                    it.table == *table && it.destination == *destination && it.metric == *metric
                })?;
                Self::RouteReplaced { place, route: spec(net, removed) }
            }
            Self::RuleAdded { rule, .. } => {
                Self::RuleRemoved { place, is_ipv6: rule.is_ipv6, priority: rule.priority }
            }
            Self::RuleRemoved { is_ipv6, priority, .. } => {
                let rules = net.rules.known()?;
                let removed = rules.iter().find(|it| it.is_ipv6 == *is_ipv6 && it.priority == *priority)?;
                Self::RuleAdded { place, rule: Box::new(removed.clone()) }
            }
            Self::NeighbourReplaced { link, address, .. } | Self::NeighbourRemoved { link, address, .. } => {
                let index = net.link(link)?.index;
                let neighbours = net.neighbours.known()?;
                let before = neighbours.iter().find(|it| it.link == index && it.address == *address);
                match before.and_then(|it| it.mac) {
                    Some(mac) => {
                        Self::NeighbourReplaced { place, link: link.clone(), address: *address, mac }
                    }
                    None => Self::NeighbourRemoved { place, link: link.clone(), address: *address },
                }
            }
            Self::FdbReplaced { link, mac, .. } | Self::FdbRemoved { link, mac, .. } => {
                let index = net.link(link)?.index;
                let before = net.fdb.known()?.iter().find(|it| it.link == index && it.mac == *mac);
                match before {
                    Some(entry) => {
                        Self::FdbReplaced { place, link: link.clone(), mac: *mac, remote: entry.remote }
                    }
                    None => Self::FdbRemoved { place, link: link.clone(), mac: *mac },
                }
            }
            Self::BridgePort { port, attribute, .. } => {
                let value = port_value(net, port, attribute)?;
                Self::BridgePort { place, port: port.clone(), attribute: attribute.clone(), value }
            }
            Self::Vxlan { link, attribute, .. } => {
                let hopwise_snapshot::LinkDetail::Vxlan(vxlan) = &net.link(link)?.detail else { return None };
                let value = match attribute.as_str() {
                    "vni" => vxlan.vni.to_string(),
                    "port" => vxlan.port.to_string(),
                    _ => vxlan.local?.to_string(),
                };
                Self::Vxlan { place, link: link.clone(), attribute: attribute.clone(), value }
            }
            Self::IptablesInserted { tool, table, chain, position, .. } => Self::IptablesDeleted {
                place,
                tool: tool.clone(),
                table: table.clone(),
                chain: chain.clone(),
                position: *position,
            },
            Self::IptablesDeleted { tool, table, chain, position, .. } => {
                let rule = crate::ruleset::rule_text(&net.netfilter, tool, table, chain, *position)?;
                Self::IptablesInserted {
                    place,
                    tool: tool.clone(),
                    table: table.clone(),
                    chain: chain.clone(),
                    position: *position,
                    rule,
                }
            }
            Self::IptablesRuleDeleted { tool, table, chain, rule, .. } => Self::IptablesInserted {
                place,
                tool: tool.clone(),
                table: table.clone(),
                chain: chain.clone(),
                position: crate::ruleset::rule_position(&net.netfilter, tool, table, chain, rule)?,
                rule: rule.clone(),
            },
            Self::IptablesPolicy { tool, table, chain, .. } => {
                let policy = crate::ruleset::policy(&net.netfilter, tool, table, chain)?;
                Self::IptablesPolicy {
                    place,
                    tool: tool.clone(),
                    table: table.clone(),
                    chain: chain.clone(),
                    policy,
                }
            }
            Self::NftPolicy { family, table, chain, policy, .. } => {
                let before = if policy == "accept" { "drop" } else { "accept" };
                Self::NftPolicy {
                    place,
                    family: family.clone(),
                    table: table.clone(),
                    chain: chain.clone(),
                    policy: before.to_owned(),
                }
            }
            Self::TokenBucketAdded { link, .. } => {
                Self::QdiscRemoved { place, link: link.clone(), parent: "root".to_owned() }
            }
            Self::TcDropAdded { link, direction, priority, .. }
            | Self::TcProgramAdded { link, direction, priority, .. } => Self::TcFilterRemoved {
                place,
                link: link.clone(),
                direction: direction.clone(),
                priority: *priority,
            },
            Self::XdpAttached { link, .. } => Self::XdpRemoved { place, link: link.clone() },
            Self::XfrmPolicyAdded { policy, .. } => {
                Self::XfrmPolicyRemoved { place, index: policy.index, direction: policy.direction.clone() }
            }
            Self::SocketClosed { protocol, port, .. } => {
                Self::SocketOpened { place, protocol: protocol.clone(), port: *port }
            }
            _ => return None,
        })
    }
}

/// Does an interface hold an address?
fn holds(net: &NetNs, link: &str, address: ipnet::IpNet) -> bool {
    let Some(index) = net.link(link).map(|it| it.index) else { return false };
    let mut held = net.addresses.known().into_iter().flatten();
    held.any(|it| it.link == index && it.address == address)
}

/// The name of an interface.
pub(crate) fn name_of(net: &NetNs, index: IfIndex) -> Option<String> {
    net.links.known()?.iter().find(|it| it.index == index).map(|it| it.name.clone())
}

fn metric_of(route: &RouteSpec) -> u32 {
    if route.metric == 0 && route.destination.addr().is_ipv6() { 1024 } else { route.metric }
}

fn route_like<'a>(net: &'a NetNs, route: &RouteSpec) -> Option<&'a Route> {
    let metric = metric_of(route);
    net.routes
        .known()?
        .iter()
        .find(|it| it.table == route.table && it.destination == route.destination && it.metric == metric)
}

/// A route that was observed, by the names of its interface.
pub fn spec(net: &NetNs, route: &Route) -> RouteSpec {
    let hop = route.next_hops.first();
    RouteSpec {
        table: route.table,
        kind: route.kind,
        destination: route.destination,
        via: hop.and_then(|it| it.via),
        link: hop.and_then(|it| it.link).and_then(|it| name_of(net, it)),
        onlink: hop.is_some_and(|it| it.onlink),
        metric: route.metric,
        preferred_source: route.preferred_source,
        scope: route.scope,
        protocol: route.protocol,
        mtu: route.mtu,
    }
}

fn port_value(net: &NetNs, port: &str, attribute: &str) -> Option<String> {
    let setting = net.link(port)?.port.as_ref()?;
    let on = |it: bool| Some(if it { "on" } else { "off" }.to_owned());
    match attribute {
        "isolated" => on(setting.isolated),
        "hairpin" => on(setting.hairpin),
        "learning" => on(setting.learning),
        "flood" => on(setting.flood),
        "bcast_flood" => on(setting.broadcast_flood),
        "mcast_flood" => on(setting.multicast_flood),
        "locked" => on(setting.locked),
        "neigh_suppress" => on(setting.neighbour_suppression),
        "state" => Some(setting.state.word().to_owned()),
        _ => None,
    }
}
