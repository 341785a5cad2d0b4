//! Routes, next hop objects and routing policy rules.

use std::net::IpAddr;

use hopwise_snapshot::{Link, NextHop, NextHopObject, Route, RouteKind, RoutingRule, RuleAction, tables};
use ipnet::IpNet;

use super::{ip, link_called, scope};
use crate::{
    error::SourceError,
    samples::json::{Entry, entries, parse_number},
};

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
pub(in crate::samples) fn unknown_rule(why: &str) -> RoutingRule {
    RoutingRule { not_modelled: vec![why.to_owned()], ..RoutingRule::new(true, 0, RuleAction::Other(0)) }
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
        ..RoutingRule::new(is_ipv6, entry.number("priority")?.unwrap_or(0), rule_action(entry)?)
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
    use hopwise_snapshot::IfIndex;

    use super::*;

    const LINKS: &str = r#"[{"ifindex":1,"ifname":"lo"},{"ifindex":2,"ifname":"v"}]"#;

    #[test]
    fn the_encapsulation_of_a_route_does_not_hide_the_route() {
        let links = super::super::links("ip.json", LINKS).unwrap();
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
}
