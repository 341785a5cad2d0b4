//! Routes, routing policy rules and next hop objects.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::IfIndex;

/// Who wrote a route (`RTPROT_*`).
pub mod protocols {
    /// Nobody.
    pub const UNSPEC: u8 = 0;
    /// The kernel, for an interface's address.
    pub const KERNEL: u8 = 2;
    /// A person or a program that names nobody; `ip route add` writes it.
    pub const BOOT: u8 = 3;
    /// The kernel, for a router advertisement.
    pub const RA: u8 = 9;
}

/// The routing tables that the kernel names (`RT_TABLE_*`).
pub mod tables {
    /// The table that a rule without one means nothing by.
    pub const UNSPEC: u32 = 0;
    /// The table behind `main`, empty by default.
    pub const DEFAULT: u32 = 253;
    /// The table that routes go to unless another is named.
    pub const MAIN: u32 = 254;
    /// The kernel's own table of local and broadcast addresses.
    pub const LOCAL: u32 = 255;

    /// The table's name as `ip route` prints it without `/etc/iproute2/rt_tables`.
    pub fn name(table: u32) -> String {
        match table {
            DEFAULT => "default".to_owned(),
            MAIN => "main".to_owned(),
            LOCAL => "local".to_owned(),
            other => other.to_string(),
        }
    }
}

/// What a route does with the packets that it matches (`RTN_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteKind {
    /// Sends them to a next hop.
    Unicast,
    /// Delivers them here.
    Local,
    /// Delivers them here, sends them as link broadcast.
    Broadcast,
    /// Delivers them here, sends them as unicast (IPv6).
    Anycast,
    /// A group.
    Multicast,
    /// Drops them silently.
    Blackhole,
    /// Drops them and answers "host unreachable".
    Unreachable,
    /// Drops them and answers "administratively prohibited".
    Prohibit,
    /// Ends the lookup in this table.
    Throw,
    /// Of a kind that is not modelled, by its number.
    Other(u8),
}

impl RouteKind {
    /// The word that `ip route` uses.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Anycast => "anycast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Throw => "throw",
            Self::Other(_) => "other",
        }
    }
}

/// One next hop of a route (`struct rtnexthop`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHop {
    /// The interface to leave by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<IfIndex>,
    /// The gateway; none means that the destination is on the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// Its share among several, at least 1.
    pub weight: u16,
    /// Is the gateway taken to be on the link without a route that says so?
    #[serde(default)]
    pub onlink: bool,
    /// Is its interface gone or down (`RTNH_F_DEAD`)?
    #[serde(default)]
    pub dead: bool,
    /// Has its interface no carrier (`RTNH_F_LINKDOWN`)?
    #[serde(default)]
    pub linkdown: bool,
}

/// A route (rtnetlink `RTM_NEWROUTE`), cached ones left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The table.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// Which destinations it matches.
    pub destination: IpNet,
    /// Which sources it matches (IPv6 subtrees); none means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// The IPv4 type of service that it matches; 0 matches all.
    #[serde(default)]
    pub tos: u8,
    /// Its metric: the lowest wins among equal prefixes.
    pub metric: u32,
    /// Who wrote it (`RTPROT_*`): 2 the kernel, 3 an administrator at boot, 4 `static`, 11 zebra, 12 bird, …
    pub protocol: u8,
    /// How far its destination is: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// The source address to prefer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_source: Option<IpAddr>,
    /// Its next hops: none for the kinds that need none.
    #[serde(default)]
    pub next_hops: Vec<NextHop>,
    /// The next hop object that it refers to; [`Route::next_hops`] holds what the kernel resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop_object: Option<u32>,
    /// The MTU that it sets, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Is that MTU locked, so that path MTU discovery does not apply?
    #[serde(default)]
    pub mtu_locked: bool,
    /// A light-weight tunnel that it encapsulates with (`mpls`, `ip`, `seg6`, `bpf`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encapsulation: Option<String>,
}

/// A next hop object (rtnetlink `RTM_NEWNEXTHOP`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NextHopObject {
    /// Its number.
    pub id: u32,
    /// The next hop; none for a group and for a blackhole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<NextHop>,
    /// The members of a group with their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group: Vec<(u32, u16)>,
    /// Does it drop what is sent to it?
    #[serde(default)]
    pub blackhole: bool,
}

/// What a routing policy rule does (`FR_ACT_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RuleAction {
    /// Looks the destination up in a table.
    Lookup(u32),
    /// Goes on at the rule of this priority.
    Goto(u32),
    /// Does nothing.
    Nop,
    /// Drops silently.
    Blackhole,
    /// Drops and answers "network unreachable".
    Unreachable,
    /// Drops and answers "administratively prohibited".
    Prohibit,
    /// Not modelled, by its number.
    Other(u8),
}

/// A routing policy rule (rtnetlink `RTM_NEWRULE`). All selectors that are present must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingRule {
    /// Is it a rule of IPv6?
    pub is_ipv6: bool,
    /// Its place in the list; the lowest is looked at first.
    pub priority: u32,
    /// What it does.
    pub action: RuleAction,
    /// Does it match what the selectors do not (`not`)?
    #[serde(default)]
    pub inverted: bool,
    /// Sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
    /// Destinations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<IpNet>,
    /// The interface that the packet came in by; `lo` means that it was made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// The interface that a local socket is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Value and mask of the packet's mark.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<(u32, u32)>,
    /// IPv4 type of service or IPv6 traffic class.
    #[serde(default)]
    pub tos: u8,
    /// The IP protocol number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_protocol: Option<u8>,
    /// First and last source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<(u16, u16)>,
    /// First and last destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_ports: Option<(u16, u16)>,
    /// First and last user id of the socket's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<(u32, u32)>,
    /// Routes found through this rule with a prefix of at most this length are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suppress_prefix_length: Option<u32>,
    /// Does it match packets of virtual routing domains?
    #[serde(default)]
    pub l3mdev: bool,
    /// Selectors that are not modelled, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_modelled: Vec<String>,
}

impl RoutingRule {
    /// A rule that matches every packet.
    pub fn new(is_ipv6: bool, priority: u32, action: RuleAction) -> Self {
        Self {
            is_ipv6,
            priority,
            action,
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
}
