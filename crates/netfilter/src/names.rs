//! Numbers that tools print as names.

/// The number of TCP.
pub(crate) const TCP: u8 = 6;
/// The number of UDP.
pub(crate) const UDP: u8 = 17;
/// The number of ICMP.
pub(crate) const ICMP: u8 = 1;
/// The number of ICMPv6.
pub(crate) const ICMP6: u8 = 58;
/// The number of SCTP.
pub(crate) const SCTP: u8 = 132;
/// The number of DCCP.
pub(crate) const DCCP: u8 = 33;
/// The number of UDP-Lite.
pub(crate) const UDPLITE: u8 = 136;

/// Protocols by name: the first name of a number is the one that tools print (`/etc/protocols`, and
/// `xtables_chain_protos` of libxtables); the others are read too.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", ICMP),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("ipv4", 4),
    ("st", 5),
    ("tcp", TCP),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("udp", UDP),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", DCCP),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ipv6-crypt", 50),
    ("ah", 51),
    ("ipv6-auth", 51),
    ("skip", 57),
    ("ipv6-icmp", ICMP6),
    ("icmpv6", ICMP6),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ospfigp", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("comp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("sctp", SCTP),
    ("fc", 133),
    ("mobility-header", 135),
    ("ipv6-mh", 135),
    ("mh", 135),
    ("udplite", UDPLITE),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];

/// The number of a protocol given by name or number; `all` and `ip` are 0.
pub(crate) fn protocol_number(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    if matches!(text, "all" | "ip") {
        return Some(0);
    }
    PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, number)| *number)
}

/// A protocol's name, or its number where it has none.
pub(crate) fn protocol_text(number: u8) -> String {
    if number == 0 {
        return "all".to_owned();
    }
    match PROTOCOLS.iter().find(|(_, it)| *it == number) {
        Some((name, _)) => (*name).to_owned(),
        None => number.to_string(),
    }
}

/// Names of ICMP types and codes that `ipset` prints (lib/icmp.c).
const IPSET_ICMP: &[(&str, u8, u8)] = &[
    ("echo-reply", 0, 0),
    ("pong", 0, 0),
    ("network-unreachable", 3, 0),
    ("host-unreachable", 3, 1),
    ("protocol-unreachable", 3, 2),
    ("port-unreachable", 3, 3),
    ("fragmentation-needed", 3, 4),
    ("source-route-failed", 3, 5),
    ("network-unknown", 3, 6),
    ("host-unknown", 3, 7),
    ("network-prohibited", 3, 9),
    ("host-prohibited", 3, 10),
    ("TOS-network-unreachable", 3, 11),
    ("TOS-host-unreachable", 3, 12),
    ("communication-prohibited", 3, 13),
    ("host-precedence-violation", 3, 14),
    ("precedence-cutoff", 3, 15),
    ("source-quench", 4, 0),
    ("network-redirect", 5, 0),
    ("host-redirect", 5, 1),
    ("TOS-network-redirect", 5, 2),
    ("TOS-host-redirect", 5, 3),
    ("echo-request", 8, 0),
    ("ping", 8, 0),
    ("router-advertisement", 9, 0),
    ("router-solicitation", 10, 0),
    ("ttl-zero-during-transit", 11, 0),
    ("ttl-zero-during-reassembly", 11, 1),
    ("ip-header-bad", 12, 0),
    ("required-option-missing", 12, 1),
    ("timestamp-request", 13, 0),
    ("timestamp-reply", 14, 0),
    ("address-mask-request", 17, 0),
    ("address-mask-reply", 18, 0),
];

/// Names of ICMPv6 types and codes that `ipset` prints (lib/icmpv6.c).
const IPSET_ICMP6: &[(&str, u8, u8)] = &[
    ("no-route", 1, 0),
    ("communication-prohibited", 1, 1),
    ("address-unreachable", 1, 3),
    ("port-unreachable", 1, 4),
    ("packet-too-big", 2, 0),
    ("ttl-zero-during-transit", 3, 0),
    ("ttl-zero-during-reassembly", 3, 1),
    ("bad-header", 4, 0),
    ("unknown-header-type", 4, 1),
    ("unknown-option", 4, 2),
    ("echo-request", 128, 0),
    ("ping", 128, 0),
    ("echo-reply", 129, 0),
    ("pong", 129, 0),
    ("router-solicitation", 133, 0),
    ("router-advertisement", 134, 0),
    ("neighbour-solicitation", 135, 0),
    ("neigbour-solicitation", 135, 0),
    ("neighbour-advertisement", 136, 0),
    ("neigbour-advertisement", 136, 0),
    ("redirect", 137, 0),
];

fn ipset_icmp(is_v6: bool) -> &'static [(&'static str, u8, u8)] {
    if is_v6 { IPSET_ICMP6 } else { IPSET_ICMP }
}

/// The type (upper byte) and code (lower) that ipset calls `name`.
pub(crate) fn ipset_icmp_number(name: &str, is_v6: bool) -> Option<u16> {
    let (_, kind, code) = ipset_icmp(is_v6).iter().find(|(it, ..)| *it == name)?;
    Some(u16::from(*kind) << 8 | u16::from(*code))
}

/// What ipset calls a type (upper byte) and code (lower).
pub(crate) fn ipset_icmp_text(number: u16, is_v6: bool) -> Option<&'static str> {
    let [kind, code] = number.to_be_bytes();
    ipset_icmp(is_v6).iter().find(|(_, it, its_code)| (*it, *its_code) == (kind, code)).map(|it| it.0)
}

/// Names of ICMP types, and of types with codes, that iptables reads.
const ICMP_TYPES: &[(&str, u8, Option<u8>)] = &[
    ("echo-reply", 0, None),
    ("pong", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("echo-request", 8, None),
    ("ping", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("ttl-zero-during-transit", 11, Some(0)),
    ("ttl-zero-during-reassembly", 11, Some(1)),
    ("parameter-problem", 12, None),
    ("timestamp-request", 13, None),
    ("timestamp-reply", 14, None),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];

/// Names of ICMPv6 types, and of types with codes, that iptables reads.
const ICMP6_TYPES: &[(&str, u8, Option<u8>)] = &[
    ("destination-unreachable", 1, None),
    ("no-route", 1, Some(0)),
    ("address-unreachable", 1, Some(3)),
    ("port-unreachable", 1, Some(4)),
    ("packet-too-big", 2, None),
    ("time-exceeded", 3, None),
    ("parameter-problem", 4, None),
    ("echo-request", 128, None),
    ("ping", 128, None),
    ("echo-reply", 129, None),
    ("pong", 129, None),
    ("router-solicitation", 133, None),
    ("router-advertisement", 134, None),
    ("neighbour-solicitation", 135, None),
    ("neighbor-solicitation", 135, None),
    ("neighbour-advertisement", 136, None),
    ("neighbor-advertisement", 136, None),
    ("redirect", 137, None),
];

/// The type, and code where it names one, that iptables calls `name`.
pub(crate) fn icmp_type(name: &str, is_v6: bool) -> Option<(u8, Option<u8>)> {
    let table = if is_v6 { ICMP6_TYPES } else { ICMP_TYPES };
    table.iter().find(|(it, ..)| *it == name).map(|(_, kind, code)| (*kind, *code))
}
