//! What one action does to the facts, and the command that does it.
//!
//! A [`Change`] has two readings that must agree: [`Change::apply`] changes a snapshot as the kernel would
//! change the node, and [`Change::commands`] names the commands that a person would type. A hypothetical repair
//! is a list of changes applied to a copy of the snapshot; a fault in a test is the same, the other way round.
//! [`Change::inverse`] gives what takes a change back.
//!
//! What is deliberately absent: running anything. Nothing here does I/O.

mod added;
mod apply;
mod command;
mod inverse;
mod kernel;
mod objects;
mod ports;
mod restore;
mod resync;
mod ruleset;
mod sandbox;

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_snapshot::{
    Mac, NodeName, Place, PodName, PortNumberOrName, Protocol, RouteKind, RoutingRule, SysctlKey,
    TokenBucket, XfrmPolicy,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use apply::Inapplicable;
pub use command::{Command, FileAct};
pub use inverse::spec as route_spec;
pub use restore::{Restoration, Settings, differing, follows, restore, settings, tunnel_words};
pub use resync::{Controller, backend, proxy_host, service_ranges, uplink};
pub use ruleset::{rule_position, rule_text};
pub use sandbox::flannel_delegate;

/// One action, as far as it changes what a network does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Change {
    /// Sets a kernel switch.
    Sysctl {
        /// Where.
        place: Place,
        /// Which.
        key: SysctlKey,
        /// To what.
        value: String,
    },
    /// Switches an interface on or off.
    LinkUp {
        /// Where.
        place: Place,
        /// Which.
        link: String,
        /// On?
        up: bool,
    },
    /// Makes an interface a port of a bridge, or frees it.
    LinkMaster {
        /// Where.
        place: Place,
        /// Which.
        link: String,
        /// The bridge; none frees it.
        master: Option<String>,
    },
    /// Sets the MTU of an interface.
    LinkMtu {
        /// Where.
        place: Place,
        /// Which.
        link: String,
        /// In bytes.
        mtu: u32,
    },
    /// Sets the Ethernet address of an interface.
    LinkMac {
        /// Where.
        place: Place,
        /// Which.
        link: String,
        /// To what.
        mac: Mac,
    },
    /// Switches address resolution of an interface on or off.
    LinkArp {
        /// Where.
        place: Place,
        /// Which.
        link: String,
        /// On?
        on: bool,
    },
    /// Removes an interface.
    LinkRemoved {
        /// Where.
        place: Place,
        /// Which.
        link: String,
    },
    /// Gives an interface an address.
    AddressAdded {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Takes an address from an interface.
    AddressRemoved {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// The address with its prefix length.
        address: IpNet,
    },
    /// Adds a route, or replaces the one with the same table, destination and metric.
    RouteReplaced {
        /// Where.
        place: Place,
        /// The route.
        route: RouteSpec,
    },
    /// Removes a route.
    RouteRemoved {
        /// Where.
        place: Place,
        /// Its table.
        table: u32,
        /// Its destination.
        destination: IpNet,
        /// Its metric.
        metric: u32,
    },
    /// Adds a routing policy rule.
    RuleAdded {
        /// Where.
        place: Place,
        /// The rule.
        rule: Box<RoutingRule>,
    },
    /// Removes the routing policy rules of a priority.
    RuleRemoved {
        /// Where.
        place: Place,
        /// Is it a rule of IPv6?
        is_ipv6: bool,
        /// Its priority.
        priority: u32,
    },
    /// Sets a permanent neighbour entry.
    NeighbourReplaced {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// The neighbour's address.
        address: IpAddr,
        /// Its Ethernet address.
        mac: Mac,
    },
    /// Removes a neighbour entry: the kernel asks again.
    NeighbourRemoved {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// The neighbour's address.
        address: IpAddr,
    },
    /// Sets an entry of a forwarding database.
    FdbReplaced {
        /// Where.
        place: Place,
        /// The bridge port or VXLAN device.
        link: String,
        /// The station.
        mac: Mac,
        /// VXLAN: the tunnel end behind which it is.
        remote: Option<IpAddr>,
    },
    /// Removes an entry of a forwarding database.
    FdbRemoved {
        /// Where.
        place: Place,
        /// The bridge port or VXLAN device.
        link: String,
        /// The station.
        mac: Mac,
    },
    /// Sets an attribute of a bridge port.
    BridgePort {
        /// Where.
        place: Place,
        /// Which port.
        port: String,
        /// As `bridge link set` spells it: `isolated`, `hairpin`, `learning`, `flood`, `bcast_flood`,
        /// `mcast_flood`, `locked`, `state`.
        attribute: String,
        /// `on`, `off`, or for `state` its number.
        value: String,
    },
    /// Makes a VXLAN device anew with another setting.
    Vxlan {
        /// Where.
        place: Place,
        /// Which device.
        link: String,
        /// `vni`, `port` or `local`.
        attribute: String,
        /// To what.
        value: String,
    },
    /// Inserts a rule into a chain that an iptables tool shows.
    IptablesInserted {
        /// Where.
        place: Place,
        /// `iptables-nft`, `ip6tables-legacy`, …
        tool: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// At which place, from 1.
        position: usize,
        /// The rule in the tool's words without the chain: `-s 10.0.0.0/8 -j ACCEPT`.
        rule: String,
    },
    /// Deletes a rule from a chain that an iptables tool shows.
    IptablesDeleted {
        /// Where.
        place: Place,
        /// The tool.
        tool: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// Which place, from 1.
        position: usize,
    },
    /// Deletes the first rule of these words from a chain that an iptables tool shows, wherever it stands by then.
    IptablesRuleDeleted {
        /// Where.
        place: Place,
        /// The tool.
        tool: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// The rule as the tool's `-S` prints it behind the chain's name.
        rule: String,
    },
    /// Sets the policy of a chain that an iptables tool shows.
    IptablesPolicy {
        /// Where.
        place: Place,
        /// The tool.
        tool: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// `ACCEPT` or `DROP`.
        policy: String,
    },
    /// Removes all rules of a table that an iptables tool shows, and its own chains.
    IptablesFlushed {
        /// Where.
        place: Place,
        /// The tool.
        tool: String,
        /// The table.
        table: String,
    },
    /// Deletes an nftables rule.
    NftRuleDeleted {
        /// Where.
        place: Place,
        /// The family.
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// The rule's handle.
        handle: u64,
    },
    /// Sets the policy of an nftables chain.
    NftPolicy {
        /// Where.
        place: Place,
        /// The family.
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// `accept` or `drop`.
        policy: String,
    },
    /// Removes a queueing discipline.
    QdiscRemoved {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// `root`, `ingress` or `clsact`.
        parent: String,
    },
    /// Removes the traffic control filters of a priority.
    TcFilterRemoved {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// `ingress` or `egress`.
        direction: String,
        /// The priority.
        priority: u32,
    },
    /// Detaches an XDP program.
    XdpRemoved {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
    },
    /// Removes an IPsec policy.
    XfrmPolicyRemoved {
        /// Where.
        place: Place,
        /// Its number.
        index: u32,
        /// `in`, `out` or `fwd`.
        direction: String,
    },
    /// Writes a file.
    FileWritten {
        /// Where.
        place: Place,
        /// Its absolute path.
        path: String,
        /// All of its content.
        content: String,
    },
    /// Removes a file.
    FileRemoved {
        /// Where.
        place: Place,
        /// Its absolute path.
        path: String,
    },
    /// Opens a listening socket, as the program would that should hold it.
    SocketOpened {
        /// Where.
        place: Place,
        /// `tcp` or `udp`.
        protocol: String,
        /// The port.
        port: u16,
    },
    /// Lets a controller write its state on a node anew, as it does when it starts.
    Resynced {
        /// Which node.
        node: NodeName,
        /// Which controller.
        controller: Controller,
    },
    /// Makes a pod anew, as its controller does when it is deleted: with a network of its own.
    PodRecreated {
        /// Which pod.
        pod: PodName,
    },
    /// Starts a node's process.
    ProcessStarted {
        /// Where.
        place: Place,
        /// The program.
        program: String,
    },
    /// Freezes a program's processes, or ends them.
    ProcessHalted {
        /// Where.
        place: Place,
        /// The program.
        program: String,
        /// Are they ended?
        is_gone: bool,
    },
    /// Adds a base chain with policy accept, and its table where there is none.
    NftChainAdded {
        /// Where.
        place: Place,
        /// The family.
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// `filter`, `nat` or `route`.
        kind: String,
        /// The hook: `input`, `forward`, `ingress`, …
        hook: String,
        /// Its priority among the chains of the hook.
        priority: i32,
        /// The interface, for chains that have one.
        device: Option<String>,
    },
    /// Adds a rule at the end of an nftables chain. Nothing takes it back: its handle is known when it is there.
    NftRuleAdded {
        /// Where.
        place: Place,
        /// The family.
        family: String,
        /// The table.
        table: String,
        /// The chain.
        chain: String,
        /// Its statements as nft's JSON has them (libnftables-json(5), `expr`).
        statements: String,
    },
    /// Makes a token bucket filter the root queueing discipline of an interface.
    TokenBucketAdded {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// Its settings.
        token_bucket: TokenBucket,
    },
    /// Adds a traffic control filter that drops what goes to an IPv4 network.
    TcDropAdded {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// `ingress` or `egress`.
        direction: String,
        /// The priority.
        priority: u32,
        /// The network.
        destination: IpNet,
    },
    /// Adds a traffic control filter that is a BPF program, which lets all pass.
    TcProgramAdded {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// `ingress` or `egress`.
        direction: String,
        /// The priority.
        priority: u32,
    },
    /// Attaches an XDP program.
    XdpAttached {
        /// Where.
        place: Place,
        /// Which interface.
        link: String,
        /// The program's number.
        program: u32,
    },
    /// Adds an IPsec policy without transforms.
    XfrmPolicyAdded {
        /// Where.
        place: Place,
        /// The policy.
        policy: XfrmPolicy,
    },
    /// Closes the sockets that wait on a port, as when their program ends.
    SocketClosed {
        /// Where.
        place: Place,
        /// `tcp` or `udp`.
        protocol: String,
        /// The port.
        port: u16,
    },
    /// Sets the labels of the pods that a Service leads to; its endpoints and every node's rules follow.
    ServiceSelector {
        /// The Service's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The labels.
        selector: BTreeMap<String, String>,
    },
    /// Sets the port of the pods that a port of a Service leads to; its endpoints and every node's rules follow.
    ServiceTargetPort {
        /// The Service's namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The Service's port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// The pods' port; none stands for the same number.
        target: Option<PortNumberOrName>,
    },
    /// Makes a pod unready, or takes it back to where it waits for a node; endpoints and every node's rules follow.
    PodUnready {
        /// Which.
        pod: PodName,
        /// Does it wait for a node?
        is_pending: bool,
    },
    /// Lets the endpoints of a Service be written anew, as when its controller runs again; every node's rules follow.
    EndpointsWritten {
        /// The Service's namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

/// A route by the names of its interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteSpec {
    /// The table.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The destination.
    pub destination: IpNet,
    /// The gateway.
    pub via: Option<IpAddr>,
    /// The interface.
    pub link: Option<String>,
    /// Is the gateway taken to be on the link?
    pub onlink: bool,
    /// The metric; 0 is the kernel's default.
    pub metric: u32,
    /// The source address to prefer.
    pub preferred_source: Option<IpAddr>,
    /// How far the destination is: 0 universe, 253 link, 254 host.
    pub scope: u8,
    /// Who wrote it (`RTPROT_*`).
    pub protocol: u8,
    /// The MTU that it sets.
    pub mtu: Option<u32>,
}

impl RouteSpec {
    /// A unicast route in table main, as an administrator writes it.
    pub fn unicast(destination: IpNet, via: Option<IpAddr>, link: &str) -> Self {
        Self {
            table: hopwise_snapshot::tables::MAIN,
            kind: RouteKind::Unicast,
            destination,
            via,
            link: Some(link.to_owned()),
            onlink: false,
            metric: 0,
            preferred_source: None,
            scope: if via.is_none() && matches!(destination, IpNet::V4(_)) { 253 } else { 0 },
            protocol: 3,
            mtu: None,
        }
    }
}

impl Change {
    /// Where the change happens; none for objects of the API server.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::Resynced { node, .. } => Some(Place::Node(node.clone())),
            Self::PodRecreated { pod } => Some(Place::Pod(pod.clone())),
            Self::ServiceSelector { .. }
            | Self::ServiceTargetPort { .. }
            | Self::PodUnready { .. }
            | Self::EndpointsWritten { .. } => None,
            Self::Sysctl { place, .. }
            | Self::LinkUp { place, .. }
            | Self::LinkMaster { place, .. }
            | Self::LinkMtu { place, .. }
            | Self::LinkMac { place, .. }
            | Self::LinkArp { place, .. }
            | Self::LinkRemoved { place, .. }
            | Self::AddressAdded { place, .. }
            | Self::AddressRemoved { place, .. }
            | Self::RouteReplaced { place, .. }
            | Self::RouteRemoved { place, .. }
            | Self::RuleAdded { place, .. }
            | Self::RuleRemoved { place, .. }
            | Self::NeighbourReplaced { place, .. }
            | Self::NeighbourRemoved { place, .. }
            | Self::FdbReplaced { place, .. }
            | Self::FdbRemoved { place, .. }
            | Self::BridgePort { place, .. }
            | Self::Vxlan { place, .. }
            | Self::IptablesInserted { place, .. }
            | Self::IptablesDeleted { place, .. }
            | Self::IptablesRuleDeleted { place, .. }
            | Self::IptablesPolicy { place, .. }
            | Self::IptablesFlushed { place, .. }
            | Self::NftRuleDeleted { place, .. }
            | Self::NftPolicy { place, .. }
            | Self::QdiscRemoved { place, .. }
            | Self::TcFilterRemoved { place, .. }
            | Self::XdpRemoved { place, .. }
            | Self::XfrmPolicyRemoved { place, .. }
            | Self::FileWritten { place, .. }
            | Self::FileRemoved { place, .. }
            | Self::SocketOpened { place, .. }
            | Self::NftChainAdded { place, .. }
            | Self::NftRuleAdded { place, .. }
            | Self::TokenBucketAdded { place, .. }
            | Self::TcDropAdded { place, .. }
            | Self::TcProgramAdded { place, .. }
            | Self::XdpAttached { place, .. }
            | Self::XfrmPolicyAdded { place, .. }
            | Self::SocketClosed { place, .. }
            | Self::ProcessHalted { place, .. }
            | Self::ProcessStarted { place, .. } => Some(place.clone()),
        }
    }
}
