//! What nft takes from a packet and around it.
//!
//! Kernel: net/netfilter/nft_meta.c, nft_payload.c, nft_ct.c, nft_fib.c with net/ipv4/netfilter/nft_fib_ipv4.c
//! and net/ipv6/netfilter/nft_fib_ipv6.c, nft_rt.c, nft_socket.c, nft_exthdr.c, nft_xfrm.c.

use std::net::{IpAddr, Ipv4Addr};

use hopwise_snapshot::{Observed, RouteKind};
use serde_json::Value as Json;

use super::{
    expression::Expression,
    fields::{Base, Demand, Field},
    worth::{Stop, Taken, Worth, known, ones, unknown},
};
use crate::{
    Connection, Device, Direction, Family, Hook, Layer, Network, PacketType, RouteDevice, RouteQuery,
    Transport,
    bytes::{self, Bytes},
    scene::Scene,
    xt::{AddressTypes, States, address_kind},
};

impl Expression {
    /// The value of an expression that takes one from the packet or around it.
    pub(super) fn select(&self, scene: &Scene<'_>) -> Taken {
        match self {
            Self::Meta(key) => meta(key, scene),
            Self::Field(field) => field.select(scene),
            Self::Raw { base, offset, bits } => raw(*base, *offset, *bits, scene),
            Self::Inner(tunnel, ..) => unknown(format!("what a packet of {tunnel} carries is not modelled")),
            Self::Ct { key, direction } => ct(key, *direction, scene),
            Self::Fib { result, flags } => fib(result, flags, scene),
            Self::Rt(key, family) => rt(key, family.as_deref(), scene),
            Self::Socket(key) => socket(key, scene),
            Self::Osf(..) => unknown("the operating system's fingerprint is not known"),
            Self::Ipsec { direction, .. } => ipsec(direction, scene),
            Self::Exthdr(name, field) => exthdr(name, field.as_deref(), scene),
            Self::TcpOption(name, field) => tcp_option(name, field.as_deref(), scene),
            Self::Option(kind, body) => option(kind, body, scene),
            Self::TunnelKey(_) => unknown("the tunnel that a packet came by is not modelled"),
            _ => unknown("an expression without a value"),
        }
    }
}

fn meta(key: &str, scene: &Scene<'_>) -> Taken {
    let view = scene.view;
    let (input, output) = (view.input.as_ref(), view.output.as_ref());
    match key {
        "mark" => known(view.mark, 32),
        "priority" => known(view.priority, 32),
        "l4proto" => match view.header() {
            Some(header) => known(header.protocol, 8),
            None => Err(Stop::Break),
        },
        "nfproto" => known(nfproto(scene), 8),
        "protocol" => match view.ethertype() {
            Some(ethertype) => known(ethertype, 16),
            None => unknown("the protocol of a frame is not known"),
        },
        "length" => match view.header() {
            // On its way out a frame has its Ethernet header again (`nf_hook_egress`, net/core/dev.c).
            Some(header) if scene.hook == Hook::Egress => known(header.total_length + 14, 32),
            Some(header) => known(header.total_length, 32),
            None => unknown("the length of a frame is not known"),
        },
        "iifname" => Ok(Worth::Text(input.map_or(String::new(), |it| it.name.to_owned()))),
        "oifname" => Ok(Worth::Text(output.map_or(String::new(), |it| it.name.to_owned()))),
        "iif" => Ok(device(input)),
        "oif" => Ok(device(output)),
        "iiftype" => of_device(input, |it| it.hardware_type.map(u128::from), 16),
        "oiftype" => of_device(output, |it| it.hardware_type.map(u128::from), 16),
        "iifgroup" => of_device(input, |it| it.group.map(u128::from), 32),
        "oifgroup" => of_device(output, |it| it.group.map(u128::from), 32),
        "iifkind" => kind_of(input),
        "oifkind" => kind_of(output),
        "pkttype" => known(
            match view.packet_type {
                PacketType::Host => 0u8,
                PacketType::Broadcast => 1,
                PacketType::Multicast => 2,
                PacketType::OtherHost => 3,
                PacketType::Outgoing => 4,
            },
            8,
        ),
        "skuid" | "skgid" | "cgroup" => {
            let Some(owner) = &view.owner else { return Err(Stop::Break) };
            let id = match key {
                "skuid" => owner.uid,
                "skgid" => owner.gid,
                _ => owner.class_id,
            };
            id.map_or_else(|| unknown("the owner of the sending socket is not known"), |it| known(it, 32))
        }
        "random" => Ok(Worth::Spread { low: 0, count: 1 << 32 }),
        "ipsec" | "secpath" => known(u8::from(view.was_transformed), 8),
        "rtclassid" => rt("classid", None, scene),
        "cpu" => unknown("the processor is not known"),
        "time" | "day" | "hour" => unknown("the answer depends on the clock"),
        _ => unknown(format!("`meta {key}` is not modelled")),
    }
}

/// The number of the family that the hook belongs to (`nft_pf`).
fn nfproto(scene: &Scene<'_>) -> u8 {
    match scene.layer {
        Layer::Ip4 => 2,
        Layer::Ip6 => 10,
        Layer::Arp => 3,
        Layer::Bridge => 7,
        // The ingress hook of inet tables shows the packet's own family.
        Layer::Netdev if scene.table.family == Family::Inet => {
            if scene.view.header().is_some_and(|it| it.source.is_ipv6()) { 10 } else { 2 }
        }
        Layer::Netdev => 5,
    }
}

fn device(device: Option<&Device<'_>>) -> Worth {
    match device {
        Some(device) => Worth::Device { name: device.name.to_owned(), index: device.index },
        None => Worth::Device { name: String::new(), index: Some(0) },
    }
}

fn of_device(
    device: Option<&Device<'_>>,
    value: impl FnOnce(&Device<'_>) -> Option<u128>,
    width: u32,
) -> Taken {
    let Some(device) = device else { return Err(Stop::Break) };
    value(device).map_or_else(|| unknown("an attribute of a device is not known"), |it| known(it, width))
}

fn kind_of(device: Option<&Device<'_>>) -> Taken {
    match device.map(|it| &it.kind) {
        Some(Observed::Known(kind)) => Ok(Worth::Text((*kind).to_owned())),
        None | Some(Observed::Absent) => Err(Stop::Break),
        Some(Observed::NotCollected(_)) => unknown("the kind of a device is not known"),
    }
}

impl Demand {
    /// Does the packet have what the field's header demands?
    pub(super) fn is_met(self, scene: &Scene<'_>) -> bool {
        let view = scene.view;
        match self {
            Self::Ether => view.ether.is_some(),
            Self::Vlan => view.ether.is_some_and(|it| it.vlan.is_some()),
            Self::Ip => view.header().is_some_and(|it| it.source.is_ipv4()),
            Self::Ip6 => view.header().is_some_and(|it| it.source.is_ipv6()),
            Self::Arp => matches!(view.network, Network::Arp(_)),
            Self::Transport => view.header().is_some(),
            Self::Protocol(number) => view.header().is_some_and(|it| it.protocol == number),
            Self::Icmp(number, types) => {
                // Of a later fragment neither the type nor what the field asks for is known.
                let is_fragment = || view.header().is_some_and(crate::IpHeader::is_later_fragment);
                let has_type =
                    || matches!(view.transport, Transport::Icmp { kind, .. } if types.contains(&kind));
                Self::Protocol(number).is_met(scene) && (has_type() || is_fragment())
            }
        }
    }
}

impl Field {
    fn select(&self, scene: &Scene<'_>) -> Taken {
        if !self.demand.is_met(scene) {
            return Err(Stop::Break);
        }
        // What most rules ask for needs no copy of the headers.
        let header = scene.view.header();
        match (self.protocol, self.name, header) {
            ("ip" | "ip6", "saddr", Some(header)) => return address(header.source),
            ("ip" | "ip6", "daddr", Some(header)) => return address(header.destination),
            ("tcp" | "udp" | "th", "sport", _) if scene.view.ports().is_some() => {
                return known(scene.view.ports().map_or(0, |it| it.0), 16);
            }
            ("tcp" | "udp" | "th", "dport", _) if scene.view.ports().is_some() => {
                return known(scene.view.ports().map_or(0, |it| it.1), 16);
            }
            _ => {}
        }
        raw(self.base, self.offset, self.bits, scene)
    }
}

/// An address as a number.
pub(super) fn address(address: IpAddr) -> Taken {
    match address {
        IpAddr::V4(v4) => known(v4.to_bits(), 32),
        IpAddr::V6(v6) => known(v6.to_bits(), 128),
    }
}

fn raw(base: Base, offset: u32, width: u32, scene: &Scene<'_>) -> Taken {
    let bytes = match base {
        Base::Link => Bytes::link(scene.view),
        Base::Network => Bytes::network(scene.view),
        Base::Transport => Bytes::transport(scene.view),
        Base::Inner => return unknown("the payload of a packet is not modelled"),
    };
    let Some(bytes) = bytes else {
        return match (base, &scene.view.network) {
            (Base::Network, Network::Other) => unknown("the network header of a frame is not known"),
            _ => Err(Stop::Break),
        };
    };
    match bytes.get(offset as usize, width as usize) {
        bytes::Field::Bits { value, known } => Ok(Worth::Bits { value, known: known & ones(width), width }),
        bytes::Field::Unknown => unknown("more bits than can be taken at once"),
        bytes::Field::Absent => Err(Stop::Break),
    }
}

fn ct(key: &str, direction: Option<Direction>, scene: &Scene<'_>) -> Taken {
    let connection = scene.view.connection.as_ref();
    if key == "state" {
        return known(state_bit(connection), 32);
    }
    let Some(connection) = connection.filter(|it| it.is_tracked()) else { return Err(Stop::Break) };
    let tuple = connection.tuple(direction.unwrap_or(Direction::Original));
    let of_family = |value: IpAddr, is_v6: bool| {
        if value.is_ipv6() == is_v6 { address(value) } else { Err(Stop::Break) }
    };
    match key {
        "direction" => known(u8::from(connection.direction == Direction::Reply), 8),
        "status" => known(connection.status.bits(), 32),
        "mark" => known(connection.mark, 32),
        "zone" => known(connection.zone, 16),
        "l3proto" => known(if tuple.source.is_ipv4() { 2u8 } else { 10 }, 8),
        "protocol" => known(tuple.protocol, 8),
        "saddr" => address(tuple.source),
        "daddr" => address(tuple.destination),
        "ip saddr" => of_family(tuple.source, false),
        "ip daddr" => of_family(tuple.destination, false),
        "ip6 saddr" => of_family(tuple.source, true),
        "ip6 daddr" => of_family(tuple.destination, true),
        "proto-src" => known(tuple.source_port, 16),
        "proto-dst" => known(tuple.destination_port, 16),
        "helper" => connection.helper.clone().map_or(Err(Stop::Break), |it| Ok(Worth::Text(it))),
        _ => unknown(format!("`ct {key}` of a connection is not known")),
    }
}

/// The bit of a packet's state (`NF_CT_STATE_BIT`, include/uapi/linux/netfilter/nf_conntrack_common.h).
fn state_bit(connection: Option<&Connection>) -> u32 {
    match States::of(connection) {
        States::ESTABLISHED => 1 << 1,
        States::RELATED => 1 << 2,
        States::NEW => 1 << 3,
        States::UNTRACKED => 1 << 6,
        _ => 1,
    }
}

/// A lookup whose result is a type or a device.
fn fib(result: &str, flags: &[String], scene: &Scene<'_>) -> Taken {
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    let Some(header) = scene.view.header() else { return Err(Stop::Break) };
    if result == "type" {
        let address = if has("daddr") { header.destination } else { header.source };
        let device = match (has("iif"), has("oif")) {
            (true, _) => scene.view.input.as_ref(),
            (false, true) => scene.view.output.as_ref(),
            (false, false) => None,
        };
        return address_type(address, device.map(|it| it.name), scene);
    }
    let found = fib_device(flags, scene);
    match (result, found) {
        (_, Err(stop)) => Err(stop),
        ("check", Ok(found)) => known(u8::from(found.is_some()), 8),
        ("oif", Ok(Some(found))) => Ok(Worth::Device { name: found.name, index: found.index }),
        ("oif", Ok(None)) => Ok(Worth::Device { name: String::new(), index: Some(0) }),
        ("oifname", Ok(found)) => Ok(Worth::Text(found.map_or(String::new(), |it| it.name))),
        _ => unknown("a lookup whose result is not known"),
    }
}

fn address_type(address: IpAddr, limit: Option<&str>, scene: &Scene<'_>) -> Taken {
    let kind = match address_kind(address, limit, scene.around) {
        Observed::Known(RouteKind::Unicast) if address.is_multicast() => RouteKind::Multicast,
        Observed::Known(kind) => kind,
        Observed::Absent if address.is_ipv4() => RouteKind::Unicast,
        Observed::Absent => RouteKind::Unreachable,
        Observed::NotCollected(reason) => return unknown(format!("the type of an address: {reason}")),
    };
    known(AddressTypes::of(kind).bits().trailing_zeros(), 32)
}

/// The device that a lookup ends at; none where there is no route (`nft_fib4_eval`, `nft_fib6_eval`).
pub(super) fn fib_device(flags: &[String], scene: &Scene<'_>) -> Result<Option<RouteDevice>, Stop> {
    let has = |flag: &str| flags.iter().any(|it| it == flag);
    let view = scene.view;
    let Some(header) = view.header() else { return Err(Stop::Break) };
    let input = view.input.as_ref();
    let own = |device: &Device<'_>| RouteDevice { name: device.name.to_owned(), index: device.index };
    if let (Hook::Prerouting | Hook::Ingress, Some(device)) = (scene.hook, input)
        && device.name == "lo"
    {
        return Ok(Some(own(device)));
    }
    if let (IpAddr::V4(source), IpAddr::V4(destination)) = (header.source, header.destination) {
        let is_near = destination.is_broadcast() || destination.octets()[..3] == [224, 0, 0];
        if source.octets()[0] == 0 && is_near {
            return Ok(input.map(own));
        }
    }
    let through = match (has("oif"), has("iif")) {
        (true, _) => view.output.as_ref(),
        (false, true) => input,
        (false, false) => None,
    };
    let (destination, source) =
        if has("daddr") { (header.destination, header.source) } else { (header.source, header.destination) };
    let query = RouteQuery {
        destination,
        source: unless_group(source),
        mark: has("mark").then_some(view.mark),
        through: through.map(|it| it.name),
        tos: header.tos & 0xfc,
    };
    match scene.around.route_output(&query) {
        Observed::Known(device) => Ok(Some(device)),
        Observed::Absent => Ok(None),
        Observed::NotCollected(reason) => Err(Stop::Unknown(format!("a route: {reason}").into())),
    }
}

/// Addresses that are no host's do not take part in a lookup (`get_saddr`).
fn unless_group(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_multicast() || v4.is_broadcast() || v4.octets()[0] == 0 => {
            Ipv4Addr::UNSPECIFIED.into()
        }
        other => other,
    }
}

fn rt(key: &str, family: Option<&str>, scene: &Scene<'_>) -> Taken {
    let route = match scene.around.route(scene.view) {
        Observed::Known(route) => route,
        Observed::Absent => return Err(Stop::Break),
        Observed::NotCollected(reason) => return unknown(format!("the route of a packet: {reason}")),
    };
    match key {
        "classid" => known(route.class_id, 32),
        "mtu" => known(route.tcp_mss, 16),
        "ipsec" => known(u8::from(route.is_transformed), 8),
        "nexthop" => match (family, route.next_hop) {
            (Some("ip"), IpAddr::V6(_)) | (Some("ip6"), IpAddr::V4(_)) => Err(Stop::Break),
            (_, hop) => address(hop),
        },
        _ => unknown(format!("`rt {key}` is not modelled")),
    }
}

fn socket(key: &str, scene: &Scene<'_>) -> Taken {
    let socket = match scene.around.socket(scene.view) {
        Observed::Known(socket) => socket,
        Observed::Absent => return Err(Stop::Break),
        Observed::NotCollected(reason) => return unknown(format!("the local socket of a packet: {reason}")),
    };
    match key {
        "transparent" => known(u8::from(socket.transparent), 8),
        "wildcard" => known(u8::from(socket.wildcard), 8),
        "mark" => known(socket.mark, 32),
        _ => unknown("the control group of a socket is not known"),
    }
}

fn ipsec(direction: &str, scene: &Scene<'_>) -> Taken {
    let is_transformed = if direction == "in" {
        scene.view.was_transformed
    } else {
        match scene.around.route(scene.view) {
            Observed::Known(route) => route.is_transformed,
            Observed::Absent => false,
            Observed::NotCollected(reason) => return unknown(format!("the route of a packet: {reason}")),
        }
    };
    if is_transformed {
        unknown("the details of IPsec transforms are not modelled")
    } else {
        Err(Stop::Break)
    }
}

/// IPv6 extension headers: a view knows of fragment headers alone. nft asks for IPv6 first
/// (`expr_evaluate_exthdr`).
fn exthdr(name: &str, field: Option<&str>, scene: &Scene<'_>) -> Taken {
    let Some(header) = scene.view.header().filter(|it| it.source.is_ipv6()) else {
        return Err(Stop::Break);
    };
    let Some(fragment) = header.fragment.filter(|_| name == "frag") else { return absent(field) };
    match field {
        None => known(1u8, 8),
        Some("nexthdr") => known(header.protocol, 8),
        Some("frag-off") => known(fragment.offset, 13),
        Some("more-fragments") => known(u8::from(fragment.more), 1),
        Some(_) => unknown("a field of a fragment header is not known"),
    }
}

/// A header or option that the packet does not have: its presence is false, its fields are not there.
fn absent(field: Option<&str>) -> Taken {
    match field {
        None => known(0u8, 8),
        Some(_) => Err(Stop::Break),
    }
}

fn tcp_option(name: &str, field: Option<&str>, scene: &Scene<'_>) -> Taken {
    let Transport::Tcp(tcp) = scene.view.transport else { return absent(field) };
    match (name, field, tcp.mss) {
        ("maxseg", None, mss) => known(u8::from(mss.is_some()), 8),
        ("maxseg", Some("size"), Some(mss)) => known(mss, 16),
        ("maxseg", Some("kind"), Some(_)) => known(2u8, 8),
        ("maxseg", Some("length"), Some(_)) => known(4u8, 8),
        ("maxseg", Some(_), None) => Err(Stop::Break),
        _ => unknown("TCP options beside the MSS are not modelled"),
    }
}

/// Options and chunks that the view does not have.
fn option(kind: &str, body: &Json, scene: &Scene<'_>) -> Taken {
    let header = scene.view.header();
    let carrier = match kind {
        "ip option" => {
            // No packet of a view has options, but the packet must be of IPv4.
            if header.is_none_or(|it| it.source.is_ipv6()) {
                return Err(Stop::Break);
            }
            None
        }
        "sctp chunk" => Some(crate::names::SCTP),
        "dccp option" => Some(crate::names::DCCP),
        _ => Some(crate::names::TCP),
    };
    if carrier.is_some() && carrier == header.map(|it| it.protocol) {
        return unknown(format!("`{kind}` is not modelled"));
    }
    absent(body.get("field").and_then(Json::as_str))
}
