//! Network interfaces and their addresses.

use bitflags::bitflags;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::{IfIndex, Mac};

/// The smallest MTU with which an interface can speak IPv6, in bytes (RFC 8200, section 5).
pub const IPV6_MIN_MTU: u32 = 1280;

bitflags! {
    /// The flags of an interface (`IFF_*` of `include/uapi/linux/if.h`) that decide about packets.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct LinkFlags: u32 {
        /// Switched on by an administrator.
        const UP = 1;
        /// Broadcast works.
        const BROADCAST = 1 << 1;
        /// The loopback interface.
        const LOOPBACK = 1 << 3;
        /// Point-to-point: no address resolution.
        const POINTOPOINT = 1 << 4;
        /// Operationally up.
        const RUNNING = 1 << 6;
        /// No address resolution.
        const NOARP = 1 << 7;
        /// Receives frames for other stations too.
        const PROMISC = 1 << 8;
        /// Receives all multicast.
        const ALLMULTI = 1 << 9;
        /// Multicast works.
        const MULTICAST = 1 << 12;
        /// The driver sees a carrier.
        const LOWER_UP = 1 << 16;
    }
}

/// A network interface (rtnetlink `RTM_NEWLINK`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Its index in its namespace.
    pub index: IfIndex,
    /// Its name.
    pub name: String,
    /// The kind of virtual interface (`veth`, `bridge`, `vxlan`, …); empty for hardware and loopback.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Its flags.
    pub flags: LinkFlags,
    /// The largest packet in bytes, link header not counted.
    pub mtu: u32,
    /// Its Ethernet address; none on links without.
    pub mac: Option<Mac>,
    /// The RFC 2863 operational state as `ip link` prints it: `UP`, `DOWN`, `LOWERLAYERDOWN`, `UNKNOWN`, …
    pub operstate: String,
    /// The bridge, bond or VRF that it is enslaved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<IfIndex>,
    /// The lower device, or the peer of a veth pair (`IFLA_LINK`): an index in the namespace that
    /// [`Link::lower_nsid`] names, or in this one where that is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<IfIndex>,
    /// The namespace of [`Link::lower`] by this namespace's own numbering (`IFLA_LINK_NETNSID`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_nsid: Option<i32>,
    /// What is particular to its kind.
    #[serde(default, skip_serializing_if = "LinkDetail::is_other")]
    pub detail: LinkDetail,
    /// Its settings as a bridge port, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<BridgePort>,
    /// The XDP program attached to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xdp: Option<Xdp>,
    /// The name of its root queueing discipline.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qdisc: String,
    /// Its counters.
    #[serde(default)]
    pub statistics: LinkStatistics,
}

impl Link {
    /// Is it switched on?
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::UP)
    }

    /// Does the driver see a carrier?
    pub fn has_carrier(&self) -> bool {
        self.flags.contains(LinkFlags::LOWER_UP)
    }

    /// Is it the loopback interface?
    pub fn is_loopback(&self) -> bool {
        self.flags.contains(LinkFlags::LOOPBACK)
    }
}

/// What is particular to a kind of interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum LinkDetail {
    /// Nothing that was read.
    #[default]
    Other,
    /// A VXLAN tunnel end.
    Vxlan(Vxlan),
    /// A bridge.
    Bridge(Bridge),
    /// A VLAN on [`Link::lower`], by its identifier.
    Vlan {
        /// The 12-bit VLAN identifier.
        id: u16,
    },
    /// A macvlan on [`Link::lower`].
    Macvlan {
        /// `private`, `vepa`, `bridge`, `passthru` or `source`.
        mode: String,
    },
    /// A virtual routing domain with this table.
    Vrf {
        /// The table.
        table: u32,
    },
}

impl LinkDetail {
    fn is_other(&self) -> bool {
        matches!(self, Self::Other)
    }
}

/// A VXLAN tunnel end (`IFLA_VXLAN_*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vxlan {
    /// The 24-bit network identifier.
    pub vni: u32,
    /// The UDP destination port.
    pub port: u16,
    /// The source address of outer packets.
    pub local: Option<IpAddr>,
    /// The default destination: a remote end or a multicast group.
    pub remote: Option<IpAddr>,
    /// The lower device that outer packets must leave by.
    pub lower: Option<IfIndex>,
    /// Does it learn inner addresses from what it receives?
    pub learning: bool,
    /// Outer time to live; 0 means the default.
    pub ttl: u8,
    /// The outer don't-fragment bit: `unset`, `set` or `inherit`.
    pub df: String,
    /// Is the VNI taken from routing metadata (`external`)?
    pub external: bool,
}

/// A bridge (`IFLA_BR_*`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bridge {
    /// Does it tell VLANs apart?
    pub vlan_filtering: bool,
    /// Does it run the spanning tree protocol?
    pub stp: bool,
    /// Does it pass bridged IPv4 to iptables whatever the namespace's switch says?
    pub nf_call_iptables: bool,
    /// The same for IPv6.
    pub nf_call_ip6tables: bool,
    /// The same for ARP.
    pub nf_call_arptables: bool,
    /// Does it send multicast only to ports that asked for it?
    pub multicast_snooping: bool,
    /// Is it itself a multicast querier?
    pub multicast_querier: bool,
    /// Seconds until a learned address is forgotten; 0 keeps none.
    pub ageing_seconds: u32,
}

/// The spanning tree state of a bridge port (`BR_STATE_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PortState {
    /// Takes no part.
    Disabled,
    /// Hears and says nothing but spanning tree frames.
    Listening,
    /// Learns addresses, forwards nothing.
    Learning,
    /// Works.
    #[default]
    Forwarding,
    /// Blocked by the spanning tree.
    Blocking,
}

impl PortState {
    /// The word that `bridge link` prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Listening => "listening",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
            Self::Blocking => "blocking",
        }
    }
}

/// The settings of a bridge port (`IFLA_BRPORT_*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BridgePort {
    /// Its state.
    pub state: PortState,
    /// May a frame leave by the port that it came in by?
    pub hairpin: bool,
    /// Is it cut off from other isolated ports?
    pub isolated: bool,
    /// Does it learn addresses?
    pub learning: bool,
    /// Does it get frames for unknown stations?
    pub flood: bool,
    /// Does it get multicast?
    pub multicast_flood: bool,
    /// Does it get broadcast?
    pub broadcast_flood: bool,
    /// Does the bridge answer ARP and neighbour solicitations in its stations' stead?
    pub neighbour_suppression: bool,
    /// Does it take frames only from stations that the FDB has on it?
    pub locked: bool,
    /// Does it refuse spanning tree frames?
    pub guard: bool,
}

impl Default for BridgePort {
    /// A port as the kernel makes it (`new_nbp`, `net/bridge/br_if.c`).
    fn default() -> Self {
        Self {
            state: PortState::Forwarding,
            hairpin: false,
            isolated: false,
            learning: true,
            flood: true,
            multicast_flood: true,
            broadcast_flood: true,
            neighbour_suppression: false,
            locked: false,
            guard: false,
        }
    }
}

/// A BPF program that sees every frame of a device first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Xdp {
    /// `native`, `generic` or `offloaded`.
    pub mode: String,
    /// The program's number.
    pub program: u32,
}

/// Counters of an interface since it was made (`struct rtnl_link_stats64`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkStatistics {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Received and dropped.
    pub rx_dropped: u64,
    /// Dropped on the way out.
    pub tx_dropped: u64,
    /// Received with an error.
    pub rx_errors: u64,
    /// Failed to be sent.
    pub tx_errors: u64,
}

bitflags! {
    /// The flags of an address (`IFA_F_*` of `include/uapi/linux/if_addr.h`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(transparent)]
    pub struct AddressFlags: u32 {
        /// An IPv4 address that is not the first of its subnet on the link.
        const SECONDARY = 1;
        /// Not probed for duplicates.
        const NODAD = 1 << 1;
        /// Usable while still being probed.
        const OPTIMISTIC = 1 << 2;
        /// Found to be held by another station: unusable.
        const DADFAILED = 1 << 3;
        /// No longer to be chosen as a source.
        const DEPRECATED = 1 << 5;
        /// Still being probed: unusable.
        const TENTATIVE = 1 << 6;
        /// Without a lifetime.
        const PERMANENT = 1 << 7;
        /// Without a route to its prefix.
        const NOPREFIXROUTE = 1 << 9;
    }
}

/// An address of an interface (rtnetlink `RTM_NEWADDR`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The interface.
    pub link: IfIndex,
    /// The address with the length of its prefix.
    pub address: IpNet,
    /// The other end of a point-to-point address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<IpAddr>,
    /// The IPv4 broadcast address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broadcast: Option<IpAddr>,
    /// How far it may be used: 0 global, 200 site, 253 link, 254 host (`RT_SCOPE_*`).
    pub scope: u8,
    /// Its flags.
    pub flags: AddressFlags,
}

impl Address {
    /// May the kernel use it, or is it still or finally refused by duplicate detection?
    pub fn is_usable(&self) -> bool {
        !self.flags.contains(AddressFlags::DADFAILED)
            && (!self.flags.contains(AddressFlags::TENTATIVE)
                || self.flags.contains(AddressFlags::OPTIMISTIC))
    }
}
