//! Routes, routing policy rules and next hop objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hopwise_snapshot::{NextHop, NextHopObject, Route, RouteKind, RoutingRule, RuleAction};
use hopwise_sys::netlink::{
    self,
    packet::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteLwEnCapType, RouteMessage, RouteMetric,
            RouteNextHop, RouteNextHopFlags, RouteType, RouteVia,
        },
        rule::{RuleAction as Action, RuleAttribute, RuleFlags, RuleMessage},
    },
};
use ipnet::IpNet;

use super::{NotUnderstood, links::index_of};

/// `RTAX_LOCK` has one bit a metric; this is the MTU's (`1 << RTAX_MTU`).
const LOCK_MTU: u32 = 1 << 2;

/// The route that a message describes; none for cached ones.
pub(super) fn route(message: RouteMessage) -> Result<Option<Route>, NotUnderstood> {
    let header = message.header;
    if header.flags.contains(RouteFlags::Cloned) {
        return Ok(None);
    }
    let any = unspecified(header.address_family)?;
    let mut route = Route {
        table: u32::from(header.table),
        kind: kind(header.kind),
        destination: net(any, header.destination_prefix_length)?,
        source: None,
        tos: header.tos,
        metric: 0,
        protocol: header.protocol.into(),
        scope: header.scope.into(),
        preferred_source: None,
        next_hops: Vec::new(),
        next_hop_object: None,
        mtu: None,
        mtu_locked: false,
        encapsulation: None,
    };
    let mut single = hop(header.flags.bits());
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(to) => {
                route.destination = net(ip(&to)?, header.destination_prefix_length)?;
            }
            RouteAttribute::Source(from) => {
                route.source = Some(net(ip(&from)?, header.source_prefix_length)?);
            }
            RouteAttribute::Oif(index) => single.link = index_of(index),
            RouteAttribute::Gateway(gateway) => single.via = Some(ip(&gateway)?),
            RouteAttribute::Via(via) => single.via = Some(via_ip(&via)?),
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::PrefSource(source) => route.preferred_source = Some(ip(&source)?),
            RouteAttribute::Metrics(metrics) => take_metrics(&mut route, &metrics),
            RouteAttribute::MultiPath(hops) => {
                route.next_hops = hops.iter().map(next_hop).collect::<Result<_, _>>()?;
            }
            RouteAttribute::Table(table) => route.table = table,
            RouteAttribute::EncapType(kind) => route.encapsulation = Some(encapsulation(kind)),
            RouteAttribute::NhId(id) => route.next_hop_object = Some(id),
            _ => {}
        }
    }
    // A route of IPv6 that refuses names the loopback interface, which it never sends to.
    if is_refusal(route.kind) {
        route.next_hops.clear();
    } else if route.next_hops.is_empty() && (single.link.is_some() || single.via.is_some()) {
        route.next_hops.push(single);
    }
    Ok(Some(route))
}

fn is_refusal(kind: RouteKind) -> bool {
    matches!(kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Throw)
}

fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        other => RouteKind::Other(other.into()),
    }
}

/// A next hop with only its flags (`RTNH_F_*`), which routes and next hop objects share.
fn hop(flags: u32) -> NextHop {
    let flags = RouteFlags::from_bits_retain(flags);
    NextHop {
        link: None,
        via: None,
        weight: 1,
        onlink: flags.contains(RouteFlags::Onlink),
        dead: flags.contains(RouteFlags::Dead),
        linkdown: flags.contains(RouteFlags::Linkdown),
    }
}

fn next_hop(message: &RouteNextHop) -> Result<NextHop, NotUnderstood> {
    let mut hop = NextHop {
        link: index_of(message.interface_index),
        via: None,
        weight: u16::from(message.hops) + 1,
        onlink: message.flags.contains(RouteNextHopFlags::Onlink),
        dead: message.flags.contains(RouteNextHopFlags::Dead),
        linkdown: message.flags.contains(RouteNextHopFlags::Linkdown),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Gateway(gateway) => hop.via = Some(ip(gateway)?),
            RouteAttribute::Via(via) => hop.via = Some(via_ip(via)?),
            _ => {}
        }
    }
    Ok(hop)
}

fn take_metrics(route: &mut Route, metrics: &[RouteMetric]) {
    for metric in metrics {
        match metric {
            RouteMetric::Mtu(mtu) => route.mtu = Some(*mtu),
            RouteMetric::Lock(mask) => route.mtu_locked = mask & LOCK_MTU != 0,
            _ => {}
        }
    }
}

/// The words of iproute2 (`format_encap_type`, `ip/iproute_lwtunnel.c`).
fn encapsulation(kind: RouteLwEnCapType) -> String {
    let word = match kind {
        RouteLwEnCapType::Mpls => "mpls",
        RouteLwEnCapType::Ip => "ip",
        RouteLwEnCapType::Ila => "ila",
        RouteLwEnCapType::Ip6 => "ip6",
        RouteLwEnCapType::Seg6 => "seg6",
        RouteLwEnCapType::Bpf => "bpf",
        RouteLwEnCapType::Seg6Local => "seg6local",
        RouteLwEnCapType::Rpl => "rpl",
        RouteLwEnCapType::Ioam6 => "ioam6",
        RouteLwEnCapType::Xfrm => "xfrm",
        other => return u16::from(other).to_string(),
    };
    word.to_owned()
}

/// The next hop object that the kernel reported.
pub(super) fn next_hop_object(message: netlink::NextHop) -> NextHopObject {
    let hop = hop(message.flags);
    let is_hop = message.group.is_empty() && !message.is_blackhole;
    NextHopObject {
        id: message.id,
        hop: is_hop.then(|| NextHop { link: message.link.and_then(index_of), via: message.gateway, ..hop }),
        group: message.group,
        blackhole: message.is_blackhole,
    }
}

/// Gives each route that refers to a next hop object the hops of that object, where the kernel did not send
/// them along (`net.ipv4.nexthop_compat_mode = 0`).
pub(super) fn resolve(routes: &mut [Route], objects: &[NextHopObject]) {
    let find = |id: u32| objects.iter().find(|it| it.id == id);
    for route in routes {
        let Some(object) = route.next_hop_object.and_then(find) else { continue };
        if !route.next_hops.is_empty() || is_refusal(route.kind) {
            continue;
        }
        route.next_hops.extend(object.hop.clone());
        for (id, weight) in &object.group {
            let member = find(*id).and_then(|it| it.hop.clone());
            route.next_hops.extend(member.map(|it| NextHop { weight: *weight, ..it }));
        }
    }
}

/// The rule that a message describes.
pub(super) fn rule(message: RuleMessage) -> Result<RoutingRule, NotUnderstood> {
    let header = message.header;
    let mut rule = RoutingRule {
        inverted: header.flags.contains(RuleFlags::Invert),
        tos: header.tos,
        ..RoutingRule::new(header.family == AddressFamily::Inet6, 0, RuleAction::Nop)
    };
    let (mut table, mut target) = (u32::from(header.table), 0);
    let (mut mark, mut mark_mask) = (None, None);
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Source(from) => rule.source = Some(net(from, header.src_len)?),
            RuleAttribute::Destination(to) => rule.destination = Some(net(to, header.dst_len)?),
            RuleAttribute::Iifname(name) => rule.input = Some(name),
            RuleAttribute::Oifname(name) => rule.output = Some(name),
            RuleAttribute::Goto(priority) => target = priority,
            RuleAttribute::Priority(priority) => rule.priority = priority,
            RuleAttribute::FwMark(value) => mark = Some(value),
            RuleAttribute::FwMask(value) => mark_mask = Some(value),
            RuleAttribute::Table(number) => table = number,
            RuleAttribute::L3MDev(on) => rule.l3mdev = on,
            RuleAttribute::UidRange(range) => rule.users = Some((range.start, range.end)),
            RuleAttribute::IpProtocol(protocol) => rule.ip_protocol = Some(protocol.into()),
            RuleAttribute::SourcePortRange(range) => rule.source_ports = Some((range.start, range.end)),
            RuleAttribute::DestinationPortRange(range) => {
                rule.destination_ports = Some((range.start, range.end));
            }
            // The kernel writes "none" as -1.
            RuleAttribute::SuppressPrefixLen(u32::MAX) | RuleAttribute::SuppressIfGroup(u32::MAX) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.suppress_prefix_length = Some(length),
            other => rule.not_modelled.extend(unmodelled(&other)),
        }
    }
    if mark.is_some() || mark_mask.is_some() {
        rule.mark = Some((mark.unwrap_or(0), mark_mask.unwrap_or(u32::MAX)));
    }
    rule.action = match header.action {
        Action::ToTable => RuleAction::Lookup(table),
        Action::Goto => RuleAction::Goto(target),
        Action::Nop => RuleAction::Nop,
        Action::Blackhole => RuleAction::Blackhole,
        Action::Unreachable => RuleAction::Unreachable,
        Action::Prohibit => RuleAction::Prohibit,
        other => RuleAction::Other(other.into()),
    };
    Ok(rule)
}

/// The name of a selector that the snapshot has no field for; none for what selects nothing.
fn unmodelled(attribute: &RuleAttribute) -> Option<String> {
    use hopwise_sys::netlink::Nla as _;
    match attribute {
        // Who made the rule, and which realm its routes get.
        RuleAttribute::Protocol(_) | RuleAttribute::Realm(_) => None,
        RuleAttribute::TunId(id) => Some(format!("tun_id {id}")),
        RuleAttribute::SuppressIfGroup(group) => Some(format!("suppress_ifgroup {group}")),
        other => {
            let mut value = vec![0; other.value_len()];
            other.emit_value(&mut value);
            unmodelled_number(other.kind(), &value)
        }
    }
}

/// Selectors that came after the packet crate (`FRA_*` of `include/uapi/linux/fib_rules.h`).
fn unmodelled_number(kind: u16, value: &[u8]) -> Option<String> {
    const FRA_PAD: u16 = 18;
    const FRA_DSCP: u16 = 25;
    const FRA_FLOWLABEL: u16 = 26;
    const FRA_FLOWLABEL_MASK: u16 = 27;
    const FRA_SPORT_MASK: u16 = 28;
    const FRA_DPORT_MASK: u16 = 29;
    const FRA_DSCP_MASK: u16 = 30;
    match (kind, value) {
        // Padding; and all bits count, which is what a rule without a mask means and what kernels since 6.15
        // send with every port.
        (FRA_PAD, _) | (FRA_SPORT_MASK | FRA_DPORT_MASK, [0xff, 0xff]) => None,
        (FRA_DSCP, [dscp, ..]) => Some(format!("dscp {dscp}")),
        (FRA_DSCP_MASK, [mask, ..]) => Some(format!("dscp mask {mask:#x}")),
        (FRA_SPORT_MASK, [a, b, ..]) => Some(format!("sport mask {:#x}", u16::from_ne_bytes([*a, *b]))),
        (FRA_DPORT_MASK, [a, b, ..]) => Some(format!("dport mask {:#x}", u16::from_ne_bytes([*a, *b]))),
        (FRA_FLOWLABEL, _) => Some("flowlabel".to_owned()),
        (FRA_FLOWLABEL_MASK, _) => Some("flowlabel mask".to_owned()),
        (other, _) => Some(format!("attribute {other}")),
    }
}

fn unspecified(family: AddressFamily) -> Result<IpAddr, NotUnderstood> {
    match family {
        AddressFamily::Inet => Ok(Ipv4Addr::UNSPECIFIED.into()),
        AddressFamily::Inet6 => Ok(Ipv6Addr::UNSPECIFIED.into()),
        other => Err(NotUnderstood(format!("route of address family {}", u8::from(other)))),
    }
}

fn net(address: IpAddr, prefix: u8) -> Result<IpNet, NotUnderstood> {
    IpNet::new(address, prefix).map_err(|_| NotUnderstood(format!("prefix {address}/{prefix}")))
}

fn ip(address: &RouteAddress) -> Result<IpAddr, NotUnderstood> {
    match address {
        RouteAddress::Inet(ip) => Ok(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Ok(IpAddr::V6(*ip)),
        other => Err(NotUnderstood(format!("address {other:?}"))),
    }
}

/// A gateway of the other family.
fn via_ip(via: &RouteVia) -> Result<IpAddr, NotUnderstood> {
    match via {
        RouteVia::Inet(ip) => Ok(IpAddr::V4(*ip)),
        RouteVia::Inet6(ip) => Ok(IpAddr::V6(*ip)),
        other => Err(NotUnderstood(format!("gateway {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_ports_count_unless_they_mean_all() {
        assert_eq!(unmodelled_number(28, &[0xff, 0xff]), None);
        assert_eq!(unmodelled_number(29, &0x00ffu16.to_ne_bytes()), Some("dport mask 0xff".to_owned()));
        assert_eq!(unmodelled_number(25, &[46]), Some("dscp 46".to_owned()));
        assert_eq!(unmodelled_number(26, &[0, 0, 0, 1]), Some("flowlabel".to_owned()));
        assert_eq!(unmodelled_number(99, &[]), Some("attribute 99".to_owned()));
        assert_eq!(unmodelled_number(18, &[]), None);
    }

    #[test]
    fn routes_without_hops_take_those_of_their_object() {
        let hop = |via: &str, weight| NextHop { via: via.parse().ok(), weight, ..NextHop::default() };
        let object =
            |id, via: &str| NextHopObject { id, hop: Some(hop(via, 1)), group: Vec::new(), blackhole: false };
        let group =
            NextHopObject { id: 9, hop: None, group: vec![(1, 5), (2, 6), (77, 1)], blackhole: false };
        let objects = [object(1, "10.0.0.1"), object(2, "10.0.0.2"), group];
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.attributes = vec![RouteAttribute::NhId(9)];
        let mut routes = [route(message).unwrap().unwrap()];
        resolve(&mut routes, &objects);
        assert_eq!(routes[0].next_hops, [hop("10.0.0.1", 5), hop("10.0.0.2", 6)]);
        let before = routes.clone();
        resolve(&mut routes, &objects);
        assert_eq!(routes, before, "what the kernel resolved stays");
    }

    #[test]
    fn a_prefix_that_cannot_be_is_refused() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.destination_prefix_length = 33;
        assert!(route(message.clone()).is_err());
        message.header.address_family = AddressFamily::Mpls;
        assert!(route(message).is_err());
    }
}
