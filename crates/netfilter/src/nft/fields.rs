//! What nft takes values from: header fields and keys, with their places and types (src/proto.c, meta.c,
//! ct.c, exthdr.c).

use super::types::{Kind, Type};
use crate::names;

/// A header that offsets count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// The Ethernet header.
    Link,
    /// The IP or ARP header.
    Network,
    /// The transport header.
    Transport,
    /// What follows the transport header.
    Inner,
}

impl Base {
    /// The word of nft for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Link => "ll",
            Self::Network => "nh",
            Self::Transport => "th",
            Self::Inner => "ih",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Link, Self::Network, Self::Transport, Self::Inner].into_iter().find(|it| it.word() == word)
    }
}

/// What a field's header demands of a packet. nft leaves these conditions out of what it lists where the
/// field implies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// An Ethernet header.
    Ether,
    /// An Ethernet header with a VLAN tag.
    Vlan,
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// ARP.
    Arp,
    /// A transport protocol.
    Protocol(u8),
    /// Any transport header.
    Transport,
    /// ICMP or ICMPv6 of one of these types.
    Icmp(u8, &'static [u8]),
}

/// A header field that has a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The header.
    pub protocol: &'static str,
    /// The field.
    pub name: &'static str,
    pub(crate) base: Base,
    pub(crate) offset: u32,
    pub(crate) bits: u32,
    pub(crate) kind: Kind,
    pub(crate) demand: Demand,
}

impl Field {
    /// The type of the field's values.
    pub(crate) fn value_type(&self) -> Type {
        Type::One(self.kind, self.bits)
    }

    /// The field `name` of the header `protocol`.
    pub(crate) fn find(protocol: &str, name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|it| it.protocol == protocol && it.name == name)
    }
}

const fn field(
    (protocol, name): (&'static str, &'static str),
    base: Base,
    (offset, bits): (u32, u32),
    kind: Kind,
    demand: Demand,
) -> Field {
    Field { protocol, name, base, offset, bits, kind, demand }
}

const fn link(name: &'static str, place: (u32, u32), kind: Kind) -> Field {
    field(("ether", name), Base::Link, place, kind, Demand::Ether)
}

const fn vlan(name: &'static str, place: (u32, u32), kind: Kind) -> Field {
    field(("vlan", name), Base::Link, place, kind, Demand::Vlan)
}

const fn arp(name: &'static str, place: (u32, u32), kind: Kind) -> Field {
    field(("arp", name), Base::Network, place, kind, Demand::Arp)
}

const fn ip(name: &'static str, place: (u32, u32), kind: Kind) -> Field {
    field(("ip", name), Base::Network, place, kind, Demand::Ip)
}

const fn ip6(name: &'static str, place: (u32, u32), kind: Kind) -> Field {
    field(("ip6", name), Base::Network, place, kind, Demand::Ip6)
}

const fn over(
    (protocol, number): (&'static str, u8),
    name: &'static str,
    place: (u32, u32),
    kind: Kind,
) -> Field {
    field((protocol, name), Base::Transport, place, kind, Demand::Protocol(number))
}

const fn icmp(name: &'static str, place: (u32, u32), types: &'static [u8]) -> Field {
    field(("icmp", name), Base::Transport, place, Kind::Integer, Demand::Icmp(names::ICMP, types))
}

const fn icmp6(name: &'static str, place: (u32, u32), kind: Kind, types: &'static [u8]) -> Field {
    field(("icmpv6", name), Base::Transport, place, kind, Demand::Icmp(names::ICMP6, types))
}

const TCP: (&str, u8) = ("tcp", names::TCP);
const UDP: (&str, u8) = ("udp", names::UDP);
const UDPLITE: (&str, u8) = ("udplite", names::UDPLITE);
const SCTP: (&str, u8) = ("sctp", names::SCTP);
const DCCP: (&str, u8) = ("dccp", names::DCCP);
const AH: (&str, u8) = ("ah", 51);
const ESP: (&str, u8) = ("esp", 50);
const COMP: (&str, u8) = ("comp", 108);
const IGMP: (&str, u8) = ("igmp", 2);
const GRE: (&str, u8) = ("gre", 47);
const ICMP: (&str, u8) = ("icmp", names::ICMP);
const ICMP6: (&str, u8) = ("icmpv6", names::ICMP6);
const SOURCE_PORT: (u32, u32) = (0, 16);
const DESTINATION_PORT: (u32, u32) = (16, 16);

/// All fields, offsets and widths in bits.
const FIELDS: &[Field] = &[
    link("daddr", (0, 48), Kind::Ether),
    link("saddr", (48, 48), Kind::Ether),
    link("type", (96, 16), Kind::EtherType),
    vlan("pcp", (112, 3), Kind::Integer),
    vlan("dei", (115, 1), Kind::Integer),
    vlan("cfi", (115, 1), Kind::Integer),
    vlan("id", (116, 12), Kind::Integer),
    vlan("type", (128, 16), Kind::EtherType),
    arp("htype", (0, 16), Kind::Integer),
    arp("ptype", (16, 16), Kind::EtherType),
    arp("hlen", (32, 8), Kind::Integer),
    arp("plen", (40, 8), Kind::Integer),
    arp("operation", (48, 16), Kind::ArpOp),
    arp("saddr ether", (64, 48), Kind::Ether),
    arp("saddr ip", (112, 32), Kind::Ipv4),
    arp("daddr ether", (144, 48), Kind::Ether),
    arp("daddr ip", (192, 32), Kind::Ipv4),
    ip("saddr", (96, 32), Kind::Ipv4),
    ip("daddr", (128, 32), Kind::Ipv4),
    ip("protocol", (72, 8), Kind::Protocol),
    ip("version", (0, 4), Kind::Integer),
    ip("hdrlength", (4, 4), Kind::Integer),
    ip("dscp", (8, 6), Kind::Dscp),
    ip("ecn", (14, 2), Kind::Ecn),
    ip("length", (16, 16), Kind::Integer),
    ip("id", (32, 16), Kind::Integer),
    ip("frag-off", (48, 16), Kind::Integer),
    ip("ttl", (64, 8), Kind::Integer),
    ip("checksum", (80, 16), Kind::Integer),
    ip6("saddr", (64, 128), Kind::Ipv6),
    ip6("daddr", (192, 128), Kind::Ipv6),
    ip6("nexthdr", (48, 8), Kind::Protocol),
    ip6("version", (0, 4), Kind::Integer),
    ip6("dscp", (4, 6), Kind::Dscp),
    ip6("ecn", (10, 2), Kind::Ecn),
    ip6("flowlabel", (12, 20), Kind::Integer),
    ip6("length", (32, 16), Kind::Integer),
    ip6("hoplimit", (56, 8), Kind::Integer),
    over(TCP, "sport", SOURCE_PORT, Kind::Service),
    over(TCP, "dport", DESTINATION_PORT, Kind::Service),
    over(TCP, "sequence", (32, 32), Kind::Integer),
    over(TCP, "ackseq", (64, 32), Kind::Integer),
    over(TCP, "doff", (96, 4), Kind::Integer),
    over(TCP, "reserved", (100, 4), Kind::Integer),
    over(TCP, "flags", (104, 8), Kind::TcpFlag),
    over(TCP, "window", (112, 16), Kind::Integer),
    over(TCP, "checksum", (128, 16), Kind::Integer),
    over(TCP, "urgptr", (144, 16), Kind::Integer),
    over(UDP, "sport", SOURCE_PORT, Kind::Service),
    over(UDP, "dport", DESTINATION_PORT, Kind::Service),
    over(UDP, "length", (32, 16), Kind::Integer),
    over(UDP, "checksum", (48, 16), Kind::Integer),
    over(UDPLITE, "sport", SOURCE_PORT, Kind::Service),
    over(UDPLITE, "dport", DESTINATION_PORT, Kind::Service),
    over(UDPLITE, "csumcov", (32, 16), Kind::Integer),
    over(UDPLITE, "checksum", (48, 16), Kind::Integer),
    over(SCTP, "sport", SOURCE_PORT, Kind::Service),
    over(SCTP, "dport", DESTINATION_PORT, Kind::Service),
    over(SCTP, "vtag", (32, 32), Kind::Integer),
    over(SCTP, "checksum", (64, 32), Kind::Integer),
    over(DCCP, "sport", SOURCE_PORT, Kind::Service),
    over(DCCP, "dport", DESTINATION_PORT, Kind::Service),
    over(DCCP, "type", (67, 4), Kind::DccpType),
    over(AH, "nexthdr", (0, 8), Kind::Protocol),
    over(AH, "hdrlength", (8, 8), Kind::Integer),
    over(AH, "reserved", (16, 16), Kind::Integer),
    over(AH, "spi", (32, 32), Kind::Integer),
    over(AH, "sequence", (64, 32), Kind::Integer),
    over(ESP, "spi", (0, 32), Kind::Integer),
    over(ESP, "sequence", (32, 32), Kind::Integer),
    over(COMP, "nexthdr", (0, 8), Kind::Protocol),
    over(COMP, "flags", (8, 8), Kind::Bitmask),
    over(COMP, "cpi", (16, 16), Kind::Integer),
    over(IGMP, "type", (0, 8), Kind::IgmpType),
    over(IGMP, "mrt", (8, 8), Kind::Integer),
    over(IGMP, "checksum", (16, 16), Kind::Integer),
    over(IGMP, "group", (32, 32), Kind::Ipv4),
    over(GRE, "flags", (0, 5), Kind::Integer),
    over(GRE, "version", (13, 3), Kind::Integer),
    over(GRE, "protocol", (16, 16), Kind::EtherType),
    over(ICMP, "type", (0, 8), Kind::IcmpType),
    over(ICMP, "code", (8, 8), Kind::IcmpCode),
    over(ICMP, "checksum", (16, 16), Kind::Integer),
    icmp("id", (32, 16), &[0, 8]),
    icmp("sequence", (48, 16), &[0, 8]),
    icmp("gateway", (32, 32), &[5]),
    icmp("mtu", (48, 16), &[3]),
    over(ICMP6, "type", (0, 8), Kind::Icmp6Type),
    over(ICMP6, "code", (8, 8), Kind::Icmp6Code),
    over(ICMP6, "checksum", (16, 16), Kind::Integer),
    icmp6("parameter-problem", (32, 32), Kind::Integer, &[4]),
    icmp6("mtu", (32, 32), Kind::Integer, &[2]),
    icmp6("id", (32, 16), Kind::Integer, &[128, 129]),
    icmp6("sequence", (48, 16), Kind::Integer, &[128, 129]),
    icmp6("max-delay", (32, 16), Kind::Integer, &[130, 131, 132]),
    icmp6("taddr", (64, 128), Kind::Ipv6, &[130, 131, 132, 135, 136, 137]),
    icmp6("daddr", (192, 128), Kind::Ipv6, &[137]),
    field(("th", "sport"), Base::Transport, SOURCE_PORT, Kind::Service, Demand::Transport),
    field(("th", "dport"), Base::Transport, DESTINATION_PORT, Kind::Service, Demand::Transport),
];

/// A key of `meta`, `ct`, `rt`, `socket` or `ipsec` with the type of its values.
pub(crate) type Key = (&'static str, Kind, u32);

/// The keys of `meta`.
const META: &[Key] = &[
    ("length", Kind::Integer, 32),
    ("protocol", Kind::EtherType, 16),
    ("nfproto", Kind::NfProto, 8),
    ("l4proto", Kind::Protocol, 8),
    ("priority", Kind::ClassId, 32),
    ("mark", Kind::Mark, 32),
    ("iif", Kind::Ifindex, 32),
    ("iifname", Kind::Ifname, 128),
    ("iiftype", Kind::Arphrd, 16),
    ("oif", Kind::Ifindex, 32),
    ("oifname", Kind::Ifname, 128),
    ("oiftype", Kind::Arphrd, 16),
    ("skuid", Kind::Uid, 32),
    ("skgid", Kind::Gid, 32),
    ("nftrace", Kind::Integer, 1),
    ("rtclassid", Kind::Realm, 32),
    ("ibrname", Kind::Ifname, 128),
    ("obrname", Kind::Ifname, 128),
    ("ibriport", Kind::Ifname, 128),
    ("obriport", Kind::Ifname, 128),
    ("pkttype", Kind::PacketType, 8),
    ("cpu", Kind::Integer, 32),
    ("iifgroup", Kind::Devgroup, 32),
    ("oifgroup", Kind::Devgroup, 32),
    ("cgroup", Kind::Integer, 32),
    ("random", Kind::Integer, 32),
    ("ipsec", Kind::Boolean, 8),
    ("secpath", Kind::Boolean, 8),
    ("iifkind", Kind::Ifname, 128),
    ("oifkind", Kind::Ifname, 128),
    ("ibrpvid", Kind::Integer, 16),
    ("ibrvproto", Kind::EtherType, 16),
    ("time", Kind::Date, 64),
    ("day", Kind::Day, 8),
    ("hour", Kind::Hour, 32),
    ("secmark", Kind::Integer, 32),
    ("sdif", Kind::Ifindex, 32),
    ("sdifname", Kind::Ifname, 128),
    ("broute", Kind::Integer, 1),
    ("ibrhwaddr", Kind::Ether, 48),
];

/// The keys of `ct`.
const CT: &[Key] = &[
    ("state", Kind::CtState, 32),
    ("direction", Kind::CtDir, 8),
    ("status", Kind::CtStatus, 32),
    ("mark", Kind::Mark, 32),
    ("expiration", Kind::Time, 32),
    ("helper", Kind::Text, 128),
    ("l3proto", Kind::NfProto, 8),
    ("saddr", Kind::Address, 0),
    ("daddr", Kind::Address, 0),
    ("ip saddr", Kind::Ipv4, 32),
    ("ip daddr", Kind::Ipv4, 32),
    ("ip6 saddr", Kind::Ipv6, 128),
    ("ip6 daddr", Kind::Ipv6, 128),
    ("protocol", Kind::Protocol, 8),
    ("proto-src", Kind::Service, 16),
    ("proto-dst", Kind::Service, 16),
    ("label", Kind::CtLabel, 128),
    ("bytes", Kind::Integer, 64),
    ("packets", Kind::Integer, 64),
    ("avgpkt", Kind::Integer, 64),
    ("zone", Kind::Integer, 16),
    ("event", Kind::CtEvent, 32),
    ("secmark", Kind::Integer, 32),
    ("id", Kind::Integer, 32),
];

/// The keys of `rt`.
const RT: &[Key] = &[
    ("classid", Kind::Realm, 32),
    ("nexthop", Kind::Address, 0),
    ("mtu", Kind::Integer, 16),
    ("ipsec", Kind::Boolean, 8),
];

/// The keys of `socket`.
const SOCKET: &[Key] = &[
    ("transparent", Kind::Integer, 8),
    ("mark", Kind::Mark, 32),
    ("wildcard", Kind::Integer, 8),
    ("cgroupv2", Kind::Cgroup2, 64),
];

/// The keys of `ipsec`.
const IPSEC: &[Key] = &[
    ("daddr", Kind::Address, 0),
    ("saddr", Kind::Address, 0),
    ("reqid", Kind::Integer, 32),
    ("spi", Kind::Integer, 32),
];

fn key(table: &'static [Key], name: &str) -> Option<&'static Key> {
    table.iter().find(|(it, ..)| *it == name)
}

/// A key of `meta`.
pub(crate) fn meta(name: &str) -> Option<&'static Key> {
    key(META, name)
}

/// A key of `ct`.
pub(crate) fn ct(name: &str) -> Option<&'static Key> {
    key(CT, name)
}

/// A key of `rt`.
pub(crate) fn rt(name: &str) -> Option<&'static Key> {
    key(RT, name)
}

/// A key of `socket`.
pub(crate) fn socket(name: &str) -> Option<&'static Key> {
    key(SOCKET, name)
}

/// A key of `ipsec`.
pub(crate) fn ipsec(name: &str) -> Option<&'static Key> {
    key(IPSEC, name)
}

/// A field of an IPv6 extension header or of an option: name, field and type.
pub(crate) fn extension_type(name: &str, field: &str) -> Type {
    let kind = match (name, field) {
        (_, "nexthdr") => Kind::Protocol,
        ("mh", "type") => Kind::MhType,
        ("srh", sid) if sid.starts_with("sid[") => Kind::Ipv6,
        ("maxseg", "size") | ("window", "count") => return Type::integer(16),
        _ => Kind::Integer,
    };
    Type::of(kind)
}
