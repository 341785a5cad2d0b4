//! The state of one network namespace.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{
    Address, FdbEntry, Link, Neighbour, NextHopObject, Observed, Place, Qdisc, Route, RoutingRule, Socket,
    Sysctls, TcFilter,
};

/// Everything that one network namespace decides packets by, and what it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetNs {
    /// The inode of the namespace: equal inodes on one node are one namespace.
    pub inode: Observed<u64>,
    /// Which places the namespace's own numbers (`IFLA_LINK_NETNSID`) stand for. A number that is missing
    /// here leads to a namespace that is none of the cluster's places.
    pub namespaces: Observed<BTreeMap<i32, Place>>,
    /// Interfaces, by index.
    pub links: Observed<Vec<Link>>,
    /// Addresses of both families.
    pub addresses: Observed<Vec<Address>>,
    /// Routes of both families, all tables.
    pub routes: Observed<Vec<Route>>,
    /// Routing policy rules of both families.
    pub rules: Observed<Vec<RoutingRule>>,
    /// Next hop objects.
    pub next_hop_objects: Observed<Vec<NextHopObject>>,
    /// Neighbour entries of both families.
    pub neighbours: Observed<Vec<Neighbour>>,
    /// Forwarding databases of bridges and VXLAN devices.
    pub fdb: Observed<Vec<FdbEntry>>,
    /// Queueing discipline instances.
    pub qdiscs: Observed<Vec<Qdisc>>,
    /// Traffic control filters.
    pub tc_filters: Observed<Vec<TcFilter>>,
    /// Transform (IPsec) policies.
    pub xfrm_policies: Observed<Vec<XfrmPolicy>>,
    /// Packet filters and translation.
    pub netfilter: Netfilter,
    /// Connection tracking.
    pub conntrack: Conntrack,
    /// Kernel switches below `/proc/sys/net`.
    pub sysctls: Observed<Sysctls>,
    /// Sockets that wait for packets: TCP listeners, unconnected UDP and raw sockets.
    pub sockets: Observed<Vec<Socket>>,
    /// Protocol counters.
    pub counters: Observed<Counters>,
}

impl NetNs {
    /// The interface called `name`, where interfaces were read and there is one.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.known()?.iter().find(|it| it.name == name)
    }
}

/// Protocol counters by name as nstat(8) spells them (`IpInAddrErrors`), from `/proc/net/{snmp,netstat,snmp6}`.
pub type Counters = BTreeMap<String, u64>;

/// What `iptables-save -c` and `ip6tables-save -c` of one back end print.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SaveTexts {
    /// IPv4.
    pub ipv4: Observed<String>,
    /// IPv6.
    pub ipv6: Observed<String>,
}

/// Packet filters and translation, each in the words of the tool that prints them.
///
/// Several of these are live side by side: the kernel runs all of them in the order of hook and priority.
/// [`Observed::Absent`] means that the kernel holds none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Netfilter {
    /// `nft -j list ruleset`: every nf_tables table of every family. Rules that iptables-nft wrote show
    /// their xt matches here by name only; their full text is in [`Netfilter::iptables_nft`].
    pub nft: Observed<String>,
    /// `iptables-nft-save -c`: the tables of [`Netfilter::nft`] that iptables-nft understands.
    pub iptables_nft: SaveTexts,
    /// `iptables-legacy-save -c`: the tables of the xtables back end.
    pub iptables_legacy: SaveTexts,
    /// `arptables-legacy-save`.
    pub arptables_legacy: Observed<String>,
    /// `ipset save`.
    pub ipsets: Observed<String>,
}

/// The connection tracking table as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Conntrack {
    /// Entries now. Counted per namespace.
    pub count: Observed<u64>,
    /// Entries at most. One limit for the machine.
    pub max: Observed<u64>,
    /// Hash buckets. One number for the machine.
    pub buckets: Observed<u64>,
    /// The counters of `/proc/net/stat/nf_conntrack`, summed over processors.
    pub statistics: Observed<BTreeMap<String, u64>>,
    /// The entries themselves, where a source carries them.
    pub entries: Observed<Vec<ConntrackEntry>>,
}

/// One direction of a tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConntrackTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// Source port, or the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination port, or type and code of an ICMP message.
    pub destination_port: u16,
}

/// A tracked connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConntrackEntry {
    /// As the first packet came in.
    pub original: ConntrackTuple,
    /// As answers are expected.
    pub reply: ConntrackTuple,
    /// Has an answer been seen?
    pub replied: bool,
    /// The connection's mark.
    pub mark: u32,
}

/// A transform policy (`XFRM_MSG_NEWPOLICY`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XfrmPolicy {
    /// Its number.
    pub index: u32,
    /// `in`, `out` or `fwd`.
    pub direction: String,
    /// The lowest is looked at first.
    pub priority: u32,
    /// Does it block what it matches?
    pub blocks: bool,
    /// Sources.
    pub source: IpNet,
    /// Destinations.
    pub destination: IpNet,
    /// The IP protocol number; 0 matches all.
    pub protocol: u8,
    /// How many transforms it asks for; with none and without [`XfrmPolicy::blocks`] it lets pass.
    pub n_templates: u32,
    /// Selectors that are not modelled (ports, interface, mark), by name. A policy with such a part decides
    /// nothing for certain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_modelled: Vec<String>,
}
