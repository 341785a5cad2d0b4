//! What `ip -j` prints (iproute2 6.1).

use std::net::IpAddr;

use hopwise_snapshot::{
    Address, AddressFlags, Bridge, BridgePort, IfIndex, Link, LinkDetail, LinkFlags, LinkStatistics, Mac,
    Neighbour, NeighbourState, NextHop, NextHopObject, PortState, Route, RouteKind, RoutingRule, RuleAction,
    Vxlan, tables,
};
use ipnet::IpNet;

use super::json::{Entry, entries, parse_number};
use crate::error::SourceError;

/// Reads `ip -d -j link` or `ip -d -j addr`, with `-s` also the counters.
pub fn links(file: &str, text: &str) -> Result<Vec<Link>, SourceError> {
    let entries = entries(file, text)?;
    let mut links = Vec::with_capacity(entries.len());
    for entry in &entries {
        links.push(link(entry, &entries)?);
    }
    Ok(links)
}

fn link(entry: &Entry<'_>, all: &[Entry<'_>]) -> Result<Link, SourceError> {
    let named = |name: Option<&str>| name.map(|it| index_in(entry, all, it)).transpose();
    let info = entry.object("linkinfo")?;
    let mut link = Link {
        index: index(entry)?,
        name: entry.required_text("ifname")?.to_owned(),
        kind: String::new(),
        flags: link_flags(&entry.texts("flags")?),
        mtu: entry.number("mtu")?.unwrap_or(0),
        mac: mac(entry, "address")?,
        operstate: entry.text("operstate")?.unwrap_or("UNKNOWN").to_owned(),
        master: named(entry.text("master")?)?,
        // A name in the same namespace, or an index in the other one.
        lower: match named(entry.text("link")?)? {
            Some(index) => Some(index),
            None => entry.number("link_index")?.filter(|it| *it != 0).map(IfIndex),
        },
        lower_nsid: entry.number::<u32>("link_netnsid")?.map(u32::cast_signed),
        detail: LinkDetail::Other,
        port: None,
        xdp: xdp(entry)?,
        qdisc: entry.text("qdisc")?.unwrap_or_default().to_owned(),
        statistics: statistics(entry)?,
    };
    if let Some(info) = info {
        info.text("info_kind")?.unwrap_or_default().clone_into(&mut link.kind);
        if let Some(data) = info.object("info_data")? {
            link.detail = detail(&link.kind, &data, all)?;
        }
        if info.text("info_slave_kind")? == Some("bridge")
            && let Some(port) = info.object("info_slave_data")?
        {
            link.port = Some(port_settings(&port)?);
        }
    }
    Ok(link)
}

fn index(entry: &Entry<'_>) -> Result<IfIndex, SourceError> {
    entry.number("ifindex")?.map(IfIndex).ok_or_else(|| entry.error("expected a field `ifindex`"))
}

fn index_in(entry: &Entry<'_>, all: &[Entry<'_>], name: &str) -> Result<IfIndex, SourceError> {
    for other in all {
        if other.text("ifname")? == Some(name) {
            return index(other);
        }
    }
    Err(entry.error(format!("`{name}` is none of the interfaces")))
}

/// The flags by the words of `ip link`. Words for flags that decide nothing are left out, as the flags are.
fn link_flags(words: &[&str]) -> LinkFlags {
    // `NO-CARRIER` stands for what is missing: RUNNING.
    let mut flags = words.iter().filter_map(|it| LinkFlags::from_name(it)).collect::<LinkFlags>();
    // Without -a the tool prints no RUNNING; an interface has it when it is up and nothing says otherwise.
    if flags.contains(LinkFlags::UP) && !words.contains(&"NO-CARRIER") {
        flags |= LinkFlags::RUNNING;
    }
    flags
}

fn mac(entry: &Entry<'_>, name: &str) -> Result<Option<Mac>, SourceError> {
    match entry.text(name)? {
        // Tunnels have an IP address there.
        Some(text) if text.split(':').count() == 6 => {
            text.parse().map(Some).map_err(|it: hopwise_snapshot::MacError| entry.error(it.to_string()))
        }
        _ => Ok(None),
    }
}

fn xdp(entry: &Entry<'_>) -> Result<Option<hopwise_snapshot::Xdp>, SourceError> {
    let Some(xdp) = entry.object("xdp")? else { return Ok(None) };
    let mode = match xdp.number::<u32>("mode")? {
        Some(1) => "native",
        Some(3) => "offloaded",
        _ => "generic",
    };
    let program = match xdp.object("prog")? {
        Some(program) => program.number("id")?,
        None => None,
    };
    Ok(Some(hopwise_snapshot::Xdp { mode: mode.to_owned(), program: program.unwrap_or(0) }))
}

fn statistics(entry: &Entry<'_>) -> Result<LinkStatistics, SourceError> {
    let stats = match entry.object("stats64")? {
        Some(stats) => Some(stats),
        None => entry.object("stats")?,
    };
    let Some(stats) = stats else { return Ok(LinkStatistics::default()) };
    let (Some(rx), Some(tx)) = (stats.object("rx")?, stats.object("tx")?) else {
        return Ok(LinkStatistics::default());
    };
    let number = |from: &Entry<'_>, name: &str| from.number(name).map(Option::unwrap_or_default);
    Ok(LinkStatistics {
        rx_packets: number(&rx, "packets")?,
        tx_packets: number(&tx, "packets")?,
        rx_bytes: number(&rx, "bytes")?,
        tx_bytes: number(&tx, "bytes")?,
        rx_dropped: number(&rx, "dropped")?,
        tx_dropped: number(&tx, "dropped")?,
        rx_errors: number(&rx, "errors")?,
        tx_errors: number(&tx, "errors")?,
    })
}

fn detail(kind: &str, data: &Entry<'_>, all: &[Entry<'_>]) -> Result<LinkDetail, SourceError> {
    let is_on = |name: &str| data.is_on(name).map(|it| it.unwrap_or(false));
    Ok(match kind {
        "vxlan" => LinkDetail::Vxlan(vxlan(data, all)?),
        "bridge" => LinkDetail::Bridge(Bridge {
            vlan_filtering: is_on("vlan_filtering")?,
            stp: is_on("stp_state")?,
            nf_call_iptables: is_on("nf_call_iptables")?,
            nf_call_ip6tables: is_on("nf_call_ip6tables")?,
            nf_call_arptables: is_on("nf_call_arptables")?,
            multicast_snooping: is_on("mcast_snooping")?,
            multicast_querier: is_on("mcast_querier")?,
            ageing_seconds: data.number::<u32>("ageing_time")?.unwrap_or(0) / 100,
        }),
        "vlan" => match data.number("id")? {
            Some(id) => LinkDetail::Vlan { id },
            None => LinkDetail::Other,
        },
        "macvlan" | "macvtap" => match data.text("mode")? {
            Some(mode) => LinkDetail::Macvlan { mode: mode.to_owned() },
            None => LinkDetail::Other,
        },
        "vrf" => match data.number("table")? {
            Some(table) => LinkDetail::Vrf { table },
            None => LinkDetail::Other,
        },
        _ => LinkDetail::Other,
    })
}

fn vxlan(data: &Entry<'_>, all: &[Entry<'_>]) -> Result<Vxlan, SourceError> {
    let address = |names: [&str; 2]| -> Result<Option<IpAddr>, SourceError> {
        for name in names {
            if let Some(found) = ip(data, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    Ok(Vxlan {
        vni: data.number("id")?.unwrap_or(0),
        port: data.number("port")?.unwrap_or(0),
        local: address(["local", "local6"])?,
        remote: match address(["group", "group6"])? {
            Some(group) => Some(group),
            None => address(["remote", "remote6"])?,
        },
        lower: match data.text("link")? {
            Some(name) => Some(index_in(data, all, name)?),
            None => data.number("link_index")?.map(IfIndex),
        },
        learning: data.is_on("learning")?.unwrap_or(false),
        ttl: data.number("ttl")?.unwrap_or(0),
        df: data.text("df")?.unwrap_or("unset").to_owned(),
        external: data.is_on("external")?.unwrap_or(false),
    })
}

/// The settings of a bridge port as `ip -d link` prints them.
pub(super) fn port_settings(data: &Entry<'_>) -> Result<BridgePort, SourceError> {
    let usual = BridgePort::default();
    let is_on = |name: &str, usual: bool| data.is_on(name).map(|it| it.unwrap_or(usual));
    Ok(BridgePort {
        state: match data.text("state")? {
            Some("disabled") => PortState::Disabled,
            Some("listening") => PortState::Listening,
            Some("learning") => PortState::Learning,
            Some("forwarding") => PortState::Forwarding,
            Some("blocking") => PortState::Blocking,
            Some(other) => return Err(data.error(format!("`{other}` is no state of a bridge port"))),
            None => usual.state,
        },
        hairpin: is_on("hairpin", usual.hairpin)?,
        isolated: is_on("isolated", usual.isolated)?,
        learning: is_on("learning", usual.learning)?,
        flood: is_on("flood", usual.flood)?,
        multicast_flood: is_on("mcast_flood", usual.multicast_flood)?,
        broadcast_flood: is_on("bcast_flood", usual.broadcast_flood)?,
        neighbour_suppression: is_on("neigh_suppress", usual.neighbour_suppression)?,
        locked: is_on("locked", usual.locked)?,
        guard: is_on("guard", usual.guard)?,
    })
}

/// Reads the addresses in `ip -j addr`.
pub fn addresses(file: &str, text: &str) -> Result<Vec<Address>, SourceError> {
    let mut addresses = Vec::new();
    for entry in entries(file, text)? {
        let link = index(&entry)?;
        for address in entry.list("addr_info")? {
            addresses.extend(self::address(link, &address)?);
        }
    }
    Ok(addresses)
}

fn address(link: IfIndex, entry: &Entry<'_>) -> Result<Option<Address>, SourceError> {
    let Some(own) = ip(entry, "local")? else { return Ok(None) };
    let prefix = entry.number("prefixlen")?.ok_or_else(|| entry.error("expected a field `prefixlen`"))?;
    let address = IpNet::new(own, prefix).map_err(|_| entry.error(format!("no prefix: {own}/{prefix}")))?;
    let mut flags = AddressFlags::empty();
    for (name, flag) in [
        ("secondary", AddressFlags::SECONDARY),
        ("temporary", AddressFlags::SECONDARY),
        ("nodad", AddressFlags::NODAD),
        ("optimistic", AddressFlags::OPTIMISTIC),
        ("dadfailed", AddressFlags::DADFAILED),
        ("deprecated", AddressFlags::DEPRECATED),
        ("tentative", AddressFlags::TENTATIVE),
        ("noprefixroute", AddressFlags::NOPREFIXROUTE),
    ] {
        flags.set(flag, flags.contains(flag) || entry.is_on(name)?.unwrap_or(false));
    }
    // Printed the other way round: an address with a lifetime is called dynamic.
    flags.set(AddressFlags::PERMANENT, !entry.is_on("dynamic")?.unwrap_or(false));
    Ok(Some(Address {
        link,
        address,
        peer: ip(entry, "address")?,
        broadcast: ip(entry, "broadcast")?,
        scope: scope(entry)?,
        flags,
    }))
}

/// Reads `ip -d -j route show table all`.
pub fn routes(file: &str, text: &str, links: &[Link]) -> Result<Vec<Route>, SourceError> {
    entries(file, text)?.iter().map(|it| route(it, links)).collect()
}

fn route(entry: &Entry<'_>, links: &[Link]) -> Result<Route, SourceError> {
    // Only routes of IPv6 have a preference, which tells the family of a default route.
    let is_ipv6 = entry.has("pref") || entry.required_text("dst")?.contains(':');
    let kind = route_kind(entry)?;
    let mut next_hops = Vec::new();
    for hop in entry.list("nexthops")? {
        next_hops.push(next_hop(&hop, links)?);
    }
    if next_hops.is_empty() && (entry.has("dev") || entry.has("gateway") || entry.has("via")) {
        next_hops.push(next_hop(entry, links)?);
    }
    if matches!(kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw)
    {
        next_hops.clear();
    }
    let metrics = entry.list("metrics")?;
    let source = entry.text("from")?.map(|it| prefix(entry, it, is_ipv6)).transpose()?;
    Ok(Route {
        table: entry.text("table")?.map_or(Ok(tables::MAIN), |it| table(entry, it))?,
        kind,
        destination: prefix(entry, entry.required_text("dst")?, is_ipv6)?,
        source,
        tos: tos(entry)?,
        metric: entry.number("metric")?.unwrap_or(0),
        protocol: protocol(entry)?,
        scope: scope(entry)?,
        preferred_source: ip(entry, "prefsrc")?,
        next_hops,
        next_hop_object: entry.number("nhid")?,
        mtu: metrics.first().map(|it| it.number("mtu")).transpose()?.flatten(),
        // Not printed in JSON.
        mtu_locked: false,
        encapsulation: entry.text("encap")?.map(str::to_owned),
    })
}

fn next_hop(entry: &Entry<'_>, links: &[Link]) -> Result<NextHop, SourceError> {
    let flags = entry.texts("flags")?;
    let via = match entry.object("via")? {
        Some(other_family) => ip(&other_family, "host")?,
        None => ip(entry, "gateway")?,
    };
    Ok(NextHop {
        link: entry.text("dev")?.map(|it| link_called(entry, links, it)).transpose()?,
        via,
        weight: entry.number("weight")?.unwrap_or(1),
        onlink: flags.contains(&"onlink"),
        dead: flags.contains(&"dead"),
        linkdown: flags.contains(&"linkdown"),
    })
}

pub(super) fn link_called(entry: &Entry<'_>, links: &[Link], name: &str) -> Result<IfIndex, SourceError> {
    // A link of which only the number is known is printed as `ifN`.
    let unnamed = || name.strip_prefix("if").and_then(|it| it.parse().ok()).map(IfIndex);
    let named = links.iter().find(|it| it.name == name).map(|it| it.index);
    named.or_else(unnamed).ok_or_else(|| entry.error(format!("`{name}` is none of the interfaces")))
}

fn route_kind(entry: &Entry<'_>) -> Result<RouteKind, SourceError> {
    Ok(match entry.text("type")?.unwrap_or("unicast") {
        "unicast" => RouteKind::Unicast,
        "local" => RouteKind::Local,
        "broadcast" => RouteKind::Broadcast,
        "anycast" => RouteKind::Anycast,
        "multicast" => RouteKind::Multicast,
        "blackhole" => RouteKind::Blackhole,
        "unreachable" => RouteKind::Unreachable,
        "prohibit" => RouteKind::Prohibit,
        "throw" => RouteKind::Throw,
        other => return Err(entry.error(format!("`{other}` is no type of a route"))),
    })
}

/// The words of `/etc/iproute2/rt_protos`.
fn protocol(entry: &Entry<'_>) -> Result<u8, SourceError> {
    let word = entry.text("protocol")?.unwrap_or("boot");
    let number = match word {
        "unspec" => 0,
        "redirect" => 1,
        "kernel" => 2,
        "boot" => 3,
        "static" => 4,
        "gated" => 8,
        "ra" => 9,
        "mrt" => 10,
        "zebra" => 11,
        "bird" => 12,
        "dnrouted" => 13,
        "xorp" => 14,
        "ntk" => 15,
        "dhcp" => 16,
        "keepalived" => 18,
        "babel" => 42,
        "openr" => 99,
        "bgp" => 186,
        "isis" => 187,
        "ospf" => 188,
        "rip" => 189,
        "eigrp" => 192,
        other => {
            return other.parse().map_err(|_| entry.error(format!("`{other}` is no protocol of routes")));
        }
    };
    Ok(number)
}

/// The words of `/etc/iproute2/rt_scopes`.
fn scope(entry: &Entry<'_>) -> Result<u8, SourceError> {
    Ok(match entry.text("scope")?.unwrap_or("global") {
        "global" => 0,
        "site" => 200,
        "link" => 253,
        "host" => 254,
        "nowhere" => 255,
        other => return other.parse().map_err(|_| entry.error(format!("`{other}` is no scope"))),
    })
}

fn table(entry: &Entry<'_>, word: &str) -> Result<u32, SourceError> {
    match word {
        "unspec" => Ok(tables::UNSPEC),
        "default" => Ok(tables::DEFAULT),
        "main" => Ok(tables::MAIN),
        "local" => Ok(tables::LOCAL),
        other => other.parse().map_err(|_| entry.error(format!("`{other}` is no routing table"))),
    }
}

/// Type of service: the words of `/etc/iproute2/rt_dsfield` are printed only on request. As a number it is
/// that of the encapsulation of a route.
fn tos(entry: &Entry<'_>) -> Result<u8, SourceError> {
    match entry.text_alone("tos") {
        Some("default") | None => Ok(0),
        Some(text) => {
            let number = parse_number(text).or_else(|| u64::from_str_radix(text, 16).ok());
            number.and_then(|it| u8::try_from(it).ok()).ok_or_else(|| entry.error(format!("`tos` is {text}")))
        }
    }
}

/// Reads `ip -j nexthop`.
pub fn next_hop_objects(file: &str, text: &str, links: &[Link]) -> Result<Vec<NextHopObject>, SourceError> {
    let mut objects = Vec::new();
    for entry in entries(file, text)? {
        let mut group = Vec::new();
        for member in entry.list("group")? {
            group.push((member.number("id")?.unwrap_or(0), member.number("weight")?.unwrap_or(1)));
        }
        let blackhole = entry.has("blackhole");
        let hop = if group.is_empty() && !blackhole { Some(next_hop(&entry, links)?) } else { None };
        objects.push(NextHopObject { id: entry.number("id")?.unwrap_or(0), hop, group, blackhole });
    }
    Ok(objects)
}

/// Reads `ip -j rule` or `ip -6 -j rule`.
pub fn rules(file: &str, text: &str, is_ipv6: bool) -> Result<Vec<RoutingRule>, SourceError> {
    entries(file, text)?.iter().map(|it| rule(it, is_ipv6)).collect()
}

/// A rule that stands for rules nobody knows: it is looked at first, and decides nothing for certain.
pub(super) fn unknown_rule(why: &str) -> RoutingRule {
    RoutingRule { not_modelled: vec![why.to_owned()], action: RuleAction::Other(0), ..empty_rule(true) }
}

fn empty_rule(is_ipv6: bool) -> RoutingRule {
    RoutingRule {
        is_ipv6,
        priority: 0,
        action: RuleAction::Nop,
        inverted: false,
        source: None,
        destination: None,
        input: None,
        output: None,
        mark: None,
        tos: 0,
        ip_protocol: None,
        source_ports: None,
        destination_ports: None,
        users: None,
        suppress_prefix_length: None,
        l3mdev: false,
        not_modelled: Vec::new(),
    }
}

fn rule(entry: &Entry<'_>, is_ipv6: bool) -> Result<RoutingRule, SourceError> {
    let selector = |name: &str, length: &str| -> Result<Option<IpNet>, SourceError> {
        match entry.text(name)? {
            Some("all") | None => Ok(None),
            Some(text) => {
                let whole = if is_ipv6 { 128 } else { 32 };
                let length = entry.number(length)?.unwrap_or(whole);
                let address: Option<IpAddr> = text.parse().ok();
                let net = address.and_then(|it| IpNet::new(it, length).ok());
                net.map(Some).ok_or_else(|| entry.error(format!("`{name}` is {text}, expected an address")))
            }
        }
    };
    let ports = |name: &str| -> Result<Option<(u16, u16)>, SourceError> {
        if let Some(port) = entry.number(name)? {
            return Ok(Some((port, port)));
        }
        Ok(entry.number(&format!("{name}_start"))?.zip(entry.number(&format!("{name}_end"))?))
    };
    let mark = match (entry.number("fwmark")?, entry.number("fwmask")?) {
        (None, None) => None,
        (mark, bits) => Some((mark.unwrap_or(0), bits.unwrap_or(u32::MAX))),
    };
    let mut not_modelled = Vec::new();
    for name in ["tun_id", "suppress_ifgroup", "dscp", "flowlabel"] {
        if entry.has(name) {
            not_modelled.push(match entry.number::<u64>(name) {
                Ok(Some(number)) => format!("{name} {number}"),
                _ => name.to_owned(),
            });
        }
    }
    Ok(RoutingRule {
        priority: entry.number("priority")?.unwrap_or(0),
        action: rule_action(entry)?,
        inverted: entry.has("not"),
        source: selector("src", "srclen")?,
        destination: selector("dst", "dstlen")?,
        input: entry.text("iif")?.map(str::to_owned),
        output: entry.text("oif")?.map(str::to_owned),
        mark,
        tos: tos(entry)?,
        ip_protocol: entry.text("ipproto")?.map(|it| ip_protocol(entry, it)).transpose()?,
        source_ports: ports("sport")?,
        destination_ports: ports("dport")?,
        users: entry.number("uid_start")?.zip(entry.number("uid_end")?),
        suppress_prefix_length: entry.number("suppress_prefixlen")?,
        l3mdev: entry.has("l3mdev"),
        not_modelled,
        ..empty_rule(is_ipv6)
    })
}

fn rule_action(entry: &Entry<'_>) -> Result<RuleAction, SourceError> {
    if let Some(priority) = entry.number("goto")? {
        return Ok(RuleAction::Goto(priority));
    }
    if entry.has("nop") {
        return Ok(RuleAction::Nop);
    }
    match entry.text("action")? {
        Some("blackhole") => Ok(RuleAction::Blackhole),
        Some("unreachable") => Ok(RuleAction::Unreachable),
        Some("prohibit") => Ok(RuleAction::Prohibit),
        Some("to_tbl") | None => match entry.text("table")? {
            Some(word) => table(entry, word).map(RuleAction::Lookup),
            // A rule for routing domains takes the table of the packet's.
            None => Ok(RuleAction::Lookup(tables::UNSPEC)),
        },
        Some(other) => Err(entry.error(format!("`{other}` is no action of a rule"))),
    }
}

/// The words of `/etc/protocols` that occur in rules.
fn ip_protocol(entry: &Entry<'_>, word: &str) -> Result<u8, SourceError> {
    Ok(match word {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "ipv6-icmp" | "icmpv6" => 58,
        "sctp" => 132,
        other => {
            let number = other.strip_prefix("ipproto-").unwrap_or(other).parse();
            return number.map_err(|_| entry.error(format!("`{other}` is no IP protocol known here")));
        }
    })
}

/// Reads `ip -j neigh`, also with `nud all` or of proxies.
pub fn neighbours(file: &str, text: &str, links: &[Link]) -> Result<Vec<Neighbour>, SourceError> {
    let mut neighbours = Vec::new();
    for entry in entries(file, text)? {
        let address = ip(&entry, "dst")?.ok_or_else(|| entry.error("expected a field `dst`"))?;
        neighbours.push(Neighbour {
            link: link_called(&entry, links, entry.required_text("dev")?)?,
            address,
            mac: mac(&entry, "lladdr")?,
            state: neighbour_state(&entry)?,
            proxy: entry.has("proxy"),
        });
    }
    Ok(neighbours)
}

fn neighbour_state(entry: &Entry<'_>) -> Result<NeighbourState, SourceError> {
    Ok(match entry.texts("state")?.as_slice() {
        ["INCOMPLETE"] => NeighbourState::Incomplete,
        ["REACHABLE"] => NeighbourState::Reachable,
        ["STALE"] => NeighbourState::Stale,
        ["DELAY"] => NeighbourState::Delay,
        ["PROBE"] => NeighbourState::Probe,
        ["FAILED"] => NeighbourState::Failed,
        ["NOARP"] => NeighbourState::NoArp,
        ["PERMANENT"] => NeighbourState::Permanent,
        [] | ["NONE"] => NeighbourState::None,
        other => return Err(entry.error(format!("{other:?} is no state of a neighbour"))),
    })
}

pub(super) fn ip(entry: &Entry<'_>, name: &str) -> Result<Option<IpAddr>, SourceError> {
    match entry.text(name)? {
        Some("any") | None => Ok(None),
        Some(text) => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(entry.error(format!("`{name}` is {text}, expected an IP address"))),
        },
    }
}

/// `default`, an address, or an address with the length of its prefix.
fn prefix(entry: &Entry<'_>, text: &str, is_ipv6: bool) -> Result<IpNet, SourceError> {
    let text = match (text, is_ipv6) {
        ("default", false) => "0.0.0.0/0",
        ("default", true) => "::/0",
        (text, _) => text,
    };
    let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    net.ok_or_else(|| entry.error(format!("`{text}` is no prefix")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINKS: &str = r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"operstate":"UNKNOWN"},
        {"ifindex":2,"link":"lo","ifname":"v","flags":["NO-CARRIER","BROADCAST","UP"],"mtu":1500,"operstate":"DOWN","address":"02:00:00:00:00:01",
         "xdp":{"mode":2,"prog":{"id":9}},"linkinfo":{"info_kind":"vlan","info_data":{"id":7}}}]"#;

    #[test]
    fn links_are_read_with_their_kinds_and_programs() {
        let links = links("ip.json", LINKS).unwrap();
        assert_eq!(links[1].detail, LinkDetail::Vlan { id: 7 });
        assert_eq!(links[1].lower, Some(IfIndex(1)));
        assert_eq!(links[1].xdp.as_ref().unwrap().mode, "generic");
        assert!(links[1].is_up() && !links[1].flags.contains(LinkFlags::RUNNING));
        assert!(links[0].flags.contains(LinkFlags::RUNNING) && links[0].is_loopback());
    }

    #[test]
    fn the_encapsulation_of_a_route_does_not_hide_the_route() {
        let links = links("ip.json", LINKS).unwrap();
        let text = r#"[{"type":"unicast","dst":"10.13.0.0/16","encap":"ip","id":100,"src":"0.0.0.0","dst":"1.2.3.4","ttl":0,"tos":4,"dev":"v"}]"#;
        let route = &routes("r.json", text, &links).unwrap()[0];
        assert_eq!((route.destination, route.tos), ("10.13.0.0/16".parse().unwrap(), 0));
        assert_eq!(route.encapsulation.as_deref(), Some("ip"));
        assert_eq!(route.next_hops[0].link, Some(IfIndex(2)));
    }

    #[test]
    fn unknown_words_are_named_with_their_place() {
        let problem = |text: &str| routes("r.json", text, &[]).unwrap_err().to_string();
        assert_eq!(
            problem("[{\"dst\":\"default\"},\n {\"dst\":\"10.0.0.0/8\",\"type\":\"magic\"}]"),
            "r.json, line 2, column 2: `magic` is no type of a route"
        );
        assert_eq!(
            problem(r#"[{"dst":"10.0.0.0/40"}]"#),
            "r.json, line 1, column 2: `10.0.0.0/40` is no prefix"
        );
        assert_eq!(
            problem(r#"[{"dst":"default","metric":"x"}]"#),
            "r.json, line 1, column 2: `metric` is \"x\", expected a number in its range"
        );
        assert_eq!(problem("{}"), "r.json, line 1, column 1: invalid type: map, expected a sequence");
        let problem = rules("r.json", r#"[{"src":"all","action":"dance"}]"#, false).unwrap_err().to_string();
        assert_eq!(problem, "r.json, line 1, column 2: `dance` is no action of a rule");
    }

    #[test]
    fn nothing_printed_is_an_empty_list() {
        assert_eq!(routes("r.json", "", &[]).unwrap(), []);
        assert_eq!(routes("r.json", "[ ]\n", &[]).unwrap(), []);
        assert_eq!(neighbours("n.json", "[{}]", &[]).unwrap(), []);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\":,a-z0-9./ ]{0,80}") {
            let _ = (links("x", &text), addresses("x", &text), routes("x", &text, &[]));
            let _ = (rules("x", &text, true), neighbours("x", &text, &[]), next_hop_objects("x", &text, &[]));
        }

        #[test]
        fn no_field_of_another_type_makes_it_panic(
            name in "(dst|dev|flags|metric|via|nexthops|metrics|tos|table|src|priority|state|ifname|ifindex|linkinfo|addr_info)",
            value in "(1|-1|\"x\"|null|true|\\[1\\]|\\{\\}|\\[\\{\\}\\]|1e300)",
        ) {
            let text = format!("[{{\"{name}\":{value}}}]");
            let _ = (links("x", &text), addresses("x", &text), routes("x", &text, &[]));
            let _ = (rules("x", &text, true), neighbours("x", &text, &[]), next_hop_objects("x", &text, &[]));
            let _ = (super::super::bridge::fdb("x", &text, &[]), super::super::bridge::ports("x", &text));
        }
    }
}
