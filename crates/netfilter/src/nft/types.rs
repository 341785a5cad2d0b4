//! The data types of nft, and the words that it prints for their values (src/datatype.c and others).

use std::net::{Ipv4Addr, Ipv6Addr};

use hopwise_snapshot::Mac;

use super::expression::{Datum, Scalar};
use crate::names;

/// What a value means, and how wide it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// One value.
    One(Kind, u32),
    /// Several, one after another.
    Concat(Vec<Type>),
}

impl Type {
    /// A kind with its own width.
    pub(crate) fn of(kind: Kind) -> Self {
        Self::One(kind, kind.bits())
    }

    /// A number of so many bits.
    pub(crate) fn integer(bits: u32) -> Self {
        Self::One(Kind::Integer, bits)
    }

    /// The kind of a single value.
    pub(crate) fn kind(&self) -> Option<Kind> {
        match self {
            Self::One(kind, _) => Some(*kind),
            Self::Concat(_) => None,
        }
    }

    /// Are its bits flags?
    pub(crate) fn is_bitmask(&self) -> bool {
        matches!(
            self.kind(),
            Some(
                Kind::CtState
                    | Kind::CtStatus
                    | Kind::CtLabel
                    | Kind::CtEvent
                    | Kind::TcpFlag
                    | Kind::Bitmask
            )
        )
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal : $bits:literal,)*) => {
        /// What a value means.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// The word of nft for it, as in a set's `type`.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// Its width in bits; 0 where that depends on what it is taken from.
            pub fn bits(self) -> u32 {
                match self {
                    $(Self::$name => $bits,)*
                }
            }

            /// The kind that nft calls `word`.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// A number.
    Integer = "integer": 0,
    /// A number that is written in hexadecimal.
    Hexadecimal = "xinteger": 0,
    /// Flags without names.
    Bitmask = "bitmask": 0,
    /// An IPv4 address.
    Ipv4 = "ipv4_addr": 32,
    /// An IPv6 address.
    Ipv6 = "ipv6_addr": 128,
    /// An address of the packet's family.
    Address = "address": 0,
    /// A station.
    Ether = "ether_addr": 48,
    /// The protocol in an Ethernet frame.
    EtherType = "ether_type": 16,
    /// A transport protocol.
    Protocol = "inet_proto": 8,
    /// A port.
    Service = "inet_service": 16,
    /// A mark.
    Mark = "mark": 32,
    /// A device by name.
    Ifname = "ifname": 128,
    /// A device by index, printed as a name.
    Ifindex = "iface_index": 32,
    /// A device's hardware type.
    Arphrd = "iface_type": 16,
    /// A device's group.
    Devgroup = "devgroup": 32,
    /// A user.
    Uid = "uid": 32,
    /// A group of users.
    Gid = "gid": 32,
    /// Whom the link layer address names.
    PacketType = "pkt_type": 8,
    /// A protocol family.
    NfProto = "nf_proto": 8,
    /// States of a connection.
    CtState = "ct_state": 32,
    /// A direction of a connection.
    CtDir = "ct_dir": 8,
    /// Status bits of a connection.
    CtStatus = "ct_status": 32,
    /// Labels of a connection.
    CtLabel = "ct_label": 128,
    /// Events of a connection.
    CtEvent = "ct_event": 32,
    /// A span of time.
    Time = "time": 64,
    /// A point in time.
    Date = "date": 64,
    /// A day of the week.
    Day = "day": 8,
    /// A time of day.
    Hour = "hour": 32,
    /// A type of ICMP message.
    IcmpType = "icmp_type": 8,
    /// A type of ICMPv6 message.
    Icmp6Type = "icmpv6_type": 8,
    /// A code of an ICMP message.
    IcmpCode = "icmp_code": 8,
    /// A code of an ICMPv6 message.
    Icmp6Code = "icmpv6_code": 8,
    /// A code of a message of either family.
    IcmpxCode = "icmpx_code": 8,
    /// A type of IGMP message.
    IgmpType = "igmp_type": 8,
    /// Flags of TCP.
    TcpFlag = "tcp_flag": 8,
    /// A type of DCCP packet.
    DccpType = "dccp_pkttype": 4,
    /// A type of mobility header.
    MhType = "mh_type": 8,
    /// A differentiated services code point.
    Dscp = "dscp": 6,
    /// Explicit congestion notification.
    Ecn = "ecn": 2,
    /// An ARP operation.
    ArpOp = "arp_op": 16,
    /// A kind of address.
    FibAddrtype = "fib_addrtype": 32,
    /// True or false.
    Boolean = "boolean": 8,
    /// A realm of routes.
    Realm = "realm": 32,
    /// A queueing class.
    ClassId = "classid": 32,
    /// A control group.
    Cgroup2 = "cgroupsv2": 64,
    /// Text.
    Text = "string": 0,
    /// What becomes of a packet.
    Verdict = "verdict": 0,
}

impl Kind {
    /// The value that nft prints as `scalar`; none where that has no meaning here.
    pub(crate) fn datum(self, scalar: &Scalar) -> Option<Datum> {
        match scalar {
            Scalar::Bool(value) => Some(Datum::Number(u128::from(*value))),
            Scalar::Number(value) if self == Self::CtLabel => {
                Some(Datum::Number(1u128.checked_shl(u32::try_from(*value).ok()?)?))
            }
            Scalar::Number(value) => Some(Datum::Number(u128::from(*value))),
            Scalar::Text(text) => self.text_datum(text),
        }
    }

    fn text_datum(self, text: &str) -> Option<Datum> {
        let number = || symbol(self, text).or_else(|| text_number(text)).map(Datum::Number);
        match self {
            Self::Ifname | Self::Text | Self::Date | Self::Hour | Self::Day | Self::Time | Self::Cgroup2 => {
                Some(Datum::Text(text.to_owned()))
            }
            Self::Ifindex => Some(match text.parse::<u128>() {
                Ok(index) => Datum::Number(index),
                Err(_) => Datum::Text(text.to_owned()),
            }),
            Self::Ipv4 => text.parse::<Ipv4Addr>().ok().map(|it| Datum::Number(it.to_bits().into())),
            Self::Ipv6 => text.parse::<Ipv6Addr>().ok().map(|it| Datum::Number(it.to_bits())),
            Self::Address => Self::Ipv4.text_datum(text).or_else(|| Self::Ipv6.text_datum(text)),
            Self::Ether => {
                let mac: Mac = text.parse().ok()?;
                Some(Datum::Number(mac.0.iter().fold(0, |all, byte| all << 8 | u128::from(*byte))))
            }
            Self::Protocol => match names::protocol_number(text) {
                Some(number) => Some(Datum::Number(number.into())),
                None => number(),
            },
            Self::ClassId => match text {
                "none" => Some(Datum::Number(0)),
                "root" => Some(Datum::Number(0xffff_ffff)),
                _ => {
                    let (major, minor) = text.split_once(':')?;
                    let half = |text: &str| {
                        if text.is_empty() { Some(0) } else { u16::from_str_radix(text, 16).ok() }
                    };
                    Some(Datum::Number(u128::from(half(major)?) << 16 | u128::from(half(minor)?)))
                }
            },
            // User and group 0 have this name everywhere; no other name can be known here.
            Self::Uid | Self::Gid if text == "root" => Some(Datum::Number(0)),
            Self::CtLabel => {
                text.parse::<u32>().ok().and_then(|bit| 1u128.checked_shl(bit)).map(Datum::Number)
            }
            Self::Verdict => None,
            _ => number(),
        }
    }
}

/// A number as nft prints large or unnamed ones.
fn text_number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(digits) if !digits.is_empty() && !digits.starts_with('+') => {
            u128::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// The value of a word of nft.
fn symbol(kind: Kind, text: &str) -> Option<u128> {
    let table: &[(&str, u128)] = match kind {
        Kind::CtState => &[("invalid", 1), ("new", 8), ("established", 2), ("related", 4), ("untracked", 64)],
        Kind::CtDir => &[("original", 0), ("reply", 1)],
        Kind::CtStatus => CT_STATUS,
        Kind::CtEvent => CT_EVENT,
        Kind::FibAddrtype => FIB_ADDRTYPE,
        Kind::PacketType => &[("host", 0), ("unicast", 0), ("broadcast", 1), ("multicast", 2), ("other", 3)],
        Kind::NfProto => &[("ipv4", 2), ("ipv6", 10)],
        Kind::EtherType => &[
            ("ip", 0x0800),
            ("arp", 0x0806),
            ("ip6", 0x86dd),
            ("8021q", 0x8100),
            ("8021ad", 0x88a8),
            ("vlan", 0x8100),
        ],
        Kind::ArpOp => &[
            ("request", 1),
            ("reply", 2),
            ("rrequest", 3),
            ("rreply", 4),
            ("inrequest", 8),
            ("inreply", 9),
            ("nak", 10),
        ],
        Kind::Arphrd => &[
            ("ether", 1),
            ("ppp", 512),
            ("ipip", 768),
            ("ipip6", 769),
            ("loopback", 772),
            ("sit", 776),
            ("ipgre", 778),
        ],
        Kind::TcpFlag => TCP_FLAG,
        Kind::Ecn => &[("not-ect", 0), ("ect1", 1), ("ect0", 2), ("ce", 3)],
        Kind::Devgroup => &[("default", 0)],
        Kind::Boolean => &[("exists", 1), ("missing", 0)],
        Kind::Dscp => DSCP,
        Kind::IcmpType => ICMP_TYPE,
        Kind::Icmp6Type => ICMP6_TYPE,
        Kind::IcmpCode => ICMP_CODE,
        Kind::Icmp6Code => ICMP6_CODE,
        Kind::IcmpxCode => {
            &[("no-route", 0), ("port-unreachable", 1), ("host-unreachable", 2), ("admin-prohibited", 3)]
        }
        Kind::IgmpType => &[
            ("membership-query", 0x11),
            ("membership-report-v1", 0x12),
            ("membership-report-v2", 0x16),
            ("membership-report-v3", 0x22),
            ("leave-group", 0x17),
        ],
        Kind::DccpType => DCCP_TYPE,
        Kind::MhType => MH_TYPE,
        _ => &[],
    };
    table.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

const DSCP: &[(&str, u128)] = &[
    ("cs0", 0x00),
    ("cs1", 0x08),
    ("cs2", 0x10),
    ("cs3", 0x18),
    ("cs4", 0x20),
    ("cs5", 0x28),
    ("cs6", 0x30),
    ("cs7", 0x38),
    ("df", 0x00),
    ("be", 0x00),
    ("lephb", 0x01),
    ("af11", 0x0a),
    ("af12", 0x0c),
    ("af13", 0x0e),
    ("af21", 0x12),
    ("af22", 0x14),
    ("af23", 0x16),
    ("af31", 0x1a),
    ("af32", 0x1c),
    ("af33", 0x1e),
    ("af41", 0x22),
    ("af42", 0x24),
    ("af43", 0x26),
    ("va", 0x2c),
    ("ef", 0x2e),
];

const ICMP_TYPE: &[(&str, u128)] = &[
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("source-quench", 4),
    ("redirect", 5),
    ("echo-request", 8),
    ("router-advertisement", 9),
    ("router-solicitation", 10),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("timestamp-request", 13),
    ("timestamp-reply", 14),
    ("info-request", 15),
    ("info-reply", 16),
    ("address-mask-request", 17),
    ("address-mask-reply", 18),
];

const ICMP6_TYPE: &[(&str, u128)] = &[
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
    ("echo-request", 128),
    ("echo-reply", 129),
    ("mld-listener-query", 130),
    ("mld-listener-report", 131),
    ("mld-listener-done", 132),
    ("mld-listener-reduction", 132),
    ("nd-router-solicit", 133),
    ("nd-router-advert", 134),
    ("nd-neighbor-solicit", 135),
    ("nd-neighbor-advert", 136),
    ("nd-redirect", 137),
    ("router-renumbering", 138),
    ("ind-neighbor-solicit", 141),
    ("ind-neighbor-advert", 142),
    ("mld2-listener-report", 143),
];

const ICMP_CODE: &[(&str, u128)] = &[
    ("net-unreachable", 0),
    ("host-unreachable", 1),
    ("prot-unreachable", 2),
    ("port-unreachable", 3),
    ("frag-needed", 4),
    ("net-prohibited", 9),
    ("host-prohibited", 10),
    ("admin-prohibited", 13),
];

const ICMP6_CODE: &[(&str, u128)] = &[
    ("no-route", 0),
    ("admin-prohibited", 1),
    ("addr-unreachable", 3),
    ("port-unreachable", 4),
    ("policy-fail", 5),
    ("reject-route", 6),
];

const MH_TYPE: &[(&str, u128)] = &[
    ("binding-refresh-request", 0),
    ("home-test-init", 1),
    ("careof-test-init", 2),
    ("home-test", 3),
    ("careof-test", 4),
    ("binding-update", 5),
    ("binding-acknowledgement", 6),
    ("binding-error", 7),
    ("fast-binding-update", 8),
    ("fast-binding-acknowledgement", 9),
    ("fast-binding-advertisement", 10),
    ("experimental-mobility-header", 11),
    ("home-agent-switch-message", 12),
];

const CT_STATUS: &[(&str, u128)] = &[
    ("expected", 1),
    ("seen-reply", 2),
    ("assured", 4),
    ("confirmed", 8),
    ("snat", 0x10),
    ("dnat", 0x20),
    ("seq-adjust", 0x40),
    ("snat-done", 0x80),
    ("dnat-done", 0x100),
    ("dying", 0x200),
    ("fixed-timeout", 0x400),
    // nft takes the numbers of these bits for their values.
    ("helper", 13),
    ("offload", 14),
    ("hw-offload", 15),
];

const CT_EVENT: &[(&str, u128)] = &[
    ("new", 1),
    ("related", 1 << 1),
    ("destroy", 1 << 2),
    ("reply", 1 << 3),
    ("assured", 1 << 4),
    ("protoinfo", 1 << 5),
    ("helper", 1 << 6),
    ("mark", 1 << 7),
    ("seqadj", 1 << 8),
    ("secmark", 1 << 9),
    ("label", 1 << 10),
];

const DCCP_TYPE: &[(&str, u128)] = &[
    ("request", 0),
    ("response", 1),
    ("data", 2),
    ("ack", 3),
    ("dataack", 4),
    ("closereq", 5),
    ("close", 6),
    ("reset", 7),
    ("sync", 8),
    ("syncack", 9),
];

const FIB_ADDRTYPE: &[(&str, u128)] = &[
    ("unspec", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
];

const TCP_FLAG: &[(&str, u128)] = &[
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 0x10),
    ("urg", 0x20),
    ("ecn", 0x40),
    ("cwr", 0x80),
];
