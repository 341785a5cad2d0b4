//! What the tracer finds out about a flow.

use std::{fmt, net::IpAddr};

use hopwise_snapshot::{Element, Mac, NodeName, Place, Reason, SysctlKey};
use ipnet::IpNet;

use crate::{
    duties::NoPodNetwork,
    model::losses::Lost,
    packet::{FlowProtocol, IcmpError, Tuple},
};

/// A flow to be traced: a first packet, its answer, and for TCP a round of data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Who sends.
    pub from: Place,
    /// To which address.
    pub to: IpAddr,
    /// By which protocol and to which port.
    pub protocol: FlowProtocol,
    /// How large its packets are.
    pub size: Size,
}

/// The size of a flow's packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Size {
    /// A packet without much in it.
    #[default]
    Small,
    /// So many bytes with the IP header, not to be fragmented.
    Bytes(u32),
    /// As many bytes as the interface of the sender takes, not to be fragmented.
    Full,
}

impl Flow {
    /// A flow of small packets.
    pub fn new(from: Place, to: IpAddr, protocol: FlowProtocol) -> Self {
        Self { from, to, protocol, size: Size::Small }
    }

    /// `tcp`, `udp` or `icmp`.
    pub fn is_ipv6(&self) -> bool {
        self.to.is_ipv6()
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → ip/{}", self.from, self.to)?;
        if let Some(port) = self.protocol.port() {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", self.protocol.word())?;
        match self.size {
            Size::Small => Ok(()),
            Size::Bytes(size) => write!(f, " of {size} bytes"),
            Size::Full => f.write_str(" of full size"),
        }
    }
}

/// Who took a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// A process, or the kernel, of a place.
    Place(Place),
    /// A host outside the cluster.
    Outside(IpAddr),
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(place) => place.fmt(f),
            Self::Outside(address) => write!(f, "ip/{address}"),
        }
    }
}

/// How a flow ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The packet arrived, and so did the answer.
    Delivered {
        /// Who took it.
        by: Recipient,
        /// Which source address the recipient saw.
        source_seen: IpAddr,
    },
    /// It was answered, but by another recipient than promised, or one that saw another source than promised.
    Misdelivered {
        /// Who took it.
        by: Recipient,
        /// Which source address the recipient saw.
        source_seen: IpAddr,
    },
    /// A packet or its answer was lost, and the sender hears nothing.
    Dropped,
    /// The sender was told that it does not work.
    Rejected(Rejection),
    /// It goes round in circles.
    Looping,
    /// It cannot be told from what was read.
    Unknown,
}

/// How a sender was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// A TCP reset.
    Reset,
    /// An ICMP error.
    Icmp(IcmpError),
    /// The sender's own kernel refused to send.
    Local(IcmpError),
}

impl Disposition {
    /// The word of machine output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Delivered { .. } => "delivered",
            Self::Misdelivered { .. } => "misdelivered",
            Self::Dropped => "dropped",
            Self::Rejected(_) => "rejected",
            Self::Looping => "looping",
            Self::Unknown => "unknown",
        }
    }

    /// Did the packet and its answer arrive?
    pub fn is_delivered(&self) -> bool {
        matches!(self, Self::Delivered { .. })
    }
}

/// One way that a flow can take, with what happens on it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What happened, in order.
    pub hops: Vec<Hop>,
    /// How it ends.
    pub disposition: Disposition,
    /// What stopped it; none if it was delivered.
    pub blocker: Option<Blocker>,
    /// The rules that chose a new destination or source, in order.
    pub translations: Vec<Translation>,
    /// How likely this way is among those that the kernel chooses from at random, 0 to 1.
    pub probability: f64,
    /// What could not be read or is not modelled, and was assumed in the flow's favour or tried both ways.
    pub assumptions: Vec<Assumption>,
}

/// A translation that a rule asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Translation {
    /// The rule.
    pub element: Element,
    /// Where.
    pub place: Place,
    /// Is it the destination that changed, or the source?
    pub is_destination: bool,
}

/// Something that was not read or is not modelled, on the way of a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Assumption {
    /// What.
    pub element: Element,
    /// Why it is unknown.
    pub reason: Unknown,
    /// Were both possibilities followed? If not, it was taken to be as the flow needs it.
    pub is_tried: bool,
}

/// Why something is unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unknown {
    /// It was not collected.
    NotCollected(Reason),
    /// It was read, and is not modelled; the text says what.
    NotModelled(String),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCollected(reason) => reason.fmt(f),
            Self::NotModelled(what) => write!(f, "not modelled: {what}"),
        }
    }
}

/// Something that happened to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Where. None between the nodes.
    pub place: Option<Place>,
    /// Which part of the kernel.
    pub stage: Stage,
    /// What decided, if one piece of state did.
    pub element: Option<Element>,
    /// What happened, for a person.
    pub note: String,
    /// Which packet: the first, its answer, and so on.
    pub leg: u8,
    /// Is it the packet of a tunnel around the flow's own?
    pub is_outer: bool,
}

impl Hop {
    /// The rule that stops packets, as a hop of its own.
    pub fn of_filter(blocker: &Blocker) -> Self {
        Self {
            place: blocker.place.clone(),
            stage: Stage::Filter,
            element: Some(blocker.element.clone()),
            note: blocker.note(),
            leg: 0,
            is_outer: false,
        }
    }
}

/// The parts of the kernel that a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// A socket sends.
    Socket,
    /// An interface takes a frame in.
    Receive,
    /// An interface puts a frame out.
    Send,
    /// A bridge forwards.
    Bridge,
    /// A rule of a packet filter holds, and leads on to others.
    Match,
    /// A rule of a packet filter decides or changes something.
    Filter,
    /// An address or port is translated.
    Translate,
    /// A route is looked up.
    Route,
    /// A switch decides.
    Switch,
    /// A neighbour's Ethernet address is needed.
    Neighbour,
    /// A tunnel wraps the packet.
    Encapsulate,
    /// A tunnel unwraps it.
    Decapsulate,
    /// Traffic control looks.
    TrafficControl,
    /// Between the nodes.
    Underlay,
    /// A process takes it.
    Deliver,
    /// It is answered.
    Answer,
    /// It ends here.
    Drop,
}

impl Stage {
    /// The word of machine output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Receive => "receive",
            Self::Send => "send",
            Self::Bridge => "bridge",
            Self::Match => "match",
            Self::Filter => "filter",
            Self::Translate => "translate",
            Self::Route => "route",
            Self::Switch => "switch",
            Self::Neighbour => "neighbour",
            Self::Encapsulate => "encapsulate",
            Self::Decapsulate => "decapsulate",
            Self::TrafficControl => "trafficControl",
            Self::Underlay => "underlay",
            Self::Deliver => "deliver",
            Self::Answer => "answer",
            Self::Drop => "drop",
        }
    }
}

/// What stopped a flow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blocker {
    /// The piece of state that decides.
    pub element: Element,
    /// Where the packet was, none between the nodes.
    pub place: Option<Place>,
    /// How it stops packets.
    pub kind: BlockerKind,
}

/// How a piece of state stops packets, with what a repair needs to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BlockerKind {
    /// A rule or a policy of a packet filter drops or rejects.
    Filter(FilterDrop),
    /// A kernel switch stands in the way.
    Switch {
        /// Which.
        key: SysctlKey,
        /// What it would have to be.
        wanted: String,
    },
    /// A program that keeps the node's network does not run, or is stopped.
    NotRunning {
        /// Which.
        program: String,
        /// Is it there, and stopped?
        is_stopped: bool,
    },
    /// A node's kubelet does not report to the API server any more.
    NotReporting {
        /// What the node controller says.
        message: String,
    },
    /// A pod that is made now gets no network.
    NoPodNetwork(NoPodNetwork),
    /// No route leads there.
    NoRoute {
        /// The destination.
        destination: IpAddr,
    },
    /// A route refuses.
    RouteRefuses {
        /// The route's table.
        table: u32,
        /// Its destination.
        destination: IpNet,
    },
    /// A policy rule refuses.
    RuleRefuses {
        /// Is it a rule of IPv6?
        is_ipv6: bool,
        /// Its priority.
        priority: u32,
    },
    /// The reverse path of the source is not by the interface that the packet came in by.
    ReversePath {
        /// The interface.
        link: String,
        /// The source.
        source: IpAddr,
    },
    /// The source cannot be: an address of this very host, a group, loopback.
    Martian {
        /// The interface.
        link: String,
        /// The address.
        address: IpAddr,
    },
    /// The interface is switched off.
    LinkDown {
        /// The interface.
        link: String,
    },
    /// The interface has no carrier: its other end is off or gone.
    NoCarrier {
        /// The interface.
        link: String,
    },
    /// The interface that the packet is for is not there, or leads nowhere.
    LinkMissing {
        /// The interface.
        link: String,
    },
    /// The interface is no port of its bridge.
    Detached {
        /// The interface.
        link: String,
    },
    /// A setting of a bridge port.
    BridgePort {
        /// The bridge.
        bridge: String,
        /// The port.
        port: String,
        /// The attribute.
        attribute: String,
    },
    /// No station answers for an address.
    NoNeighbour {
        /// The interface.
        link: String,
        /// The address.
        address: IpAddr,
    },
    /// The place that an address belongs to does not hold it.
    AddressMissing {
        /// The interface that it belongs on.
        link: String,
        /// The address.
        address: IpAddr,
    },
    /// The frame is for another station than the one that it reaches.
    WrongStation {
        /// The station that the frame is for.
        mac: Mac,
    },
    /// A forwarding database has no, or a wrong, way to a station.
    NoTunnelEnd {
        /// The tunnel device.
        link: String,
        /// The station.
        mac: Mac,
    },
    /// The remote end has no tunnel device of this network or port.
    NoTunnelDevice {
        /// The network identifier.
        vni: u32,
        /// The UDP port.
        port: u16,
    },
    /// The packet is larger than the interface takes.
    TooBig {
        /// The interface.
        link: String,
        /// What it takes, in bytes.
        mtu: u32,
        /// The packet, in bytes.
        size: u32,
    },
    /// No process waits for it.
    NobodyListens {
        /// `tcp` or `udp`.
        protocol: &'static str,
        /// The port.
        port: u16,
    },
    /// No socket of the sender waits for this answer.
    UnexpectedAnswer {
        /// What came.
        seen: Tuple,
        /// What was waited for.
        expected: Tuple,
    },
    /// The recipient has no way back to the source address that it sees.
    NoWayBack {
        /// The source.
        source: IpAddr,
    },
    /// There is no address to send from.
    NoSource {
        /// The interface.
        link: String,
    },
    /// A queueing discipline never lets a packet of this size pass.
    Queue {
        /// The interface.
        link: String,
    },
    /// A traffic control filter takes the packet away.
    TcFilter {
        /// The interface.
        link: String,
        /// The filter's priority.
        priority: u32,
    },
    /// An IPsec policy blocks.
    Xfrm {
        /// The policy.
        index: u32,
    },
    /// It was taken by another recipient than promised, or seen to come from another source.
    Misdirected {
        /// Who took it.
        by: Recipient,
        /// Which source it saw.
        source_seen: IpAddr,
    },
    /// The API server gives a node an address that is none of its own.
    AddressNotOwn {
        /// The address.
        address: IpAddr,
    },
    /// A program is told to ask an API server that is not there.
    AsksNobody {
        /// The program.
        program: String,
        /// Whom it asks.
        server: String,
        /// Where API servers are.
        wanted: String,
    },
    /// There is no name server to ask.
    NoNameServer {
        /// The file that should name one.
        path: String,
    },
    /// No server knows a name.
    NameNotFound {
        /// The name.
        name: String,
    },
    /// The connection tracking table is full.
    ConntrackFull,
    /// Packets showed that it gets lost between two nodes.
    Lost {
        /// The sender.
        from: NodeName,
        /// The recipient.
        to: NodeName,
        /// Which packets get lost.
        what: Lost,
    },
    /// The time to live ran out.
    TimeToLive,
    /// It cannot be told what happens here.
    Unknown,
}

/// A drop by a packet filter, with the packet that met it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterDrop {
    /// The tool that shows the rule: `nft`, `iptables-nft`, `ip6tables-legacy`, …
    pub tool: String,
    /// The family in nft's words: `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain that holds the rule.
    pub chain: String,
    /// The rule's position from 1; none if the chain's policy dropped.
    pub position: Option<usize>,
    /// The rule's nft handle, where known.
    pub handle: Option<u64>,
    /// The rule as the tool prints it; `policy drop` for a policy.
    pub text: String,
    /// The base chain from which the rule was reached.
    pub base_chain: String,
    /// The packet.
    pub packet: Tuple,
    /// The interface that it came in by.
    pub input: Option<String>,
    /// The interface that it was to leave by.
    pub output: Option<String>,
}

impl Blocker {
    /// What stops the flow, for a person: a clause without a subject's name.
    pub fn note(&self) -> String {
        match &self.kind {
            BlockerKind::Filter(it) => format!("{} {} {}: {}", it.tool, it.table, it.chain, it.text),
            BlockerKind::Switch { key, wanted } => format!("{key} is not {wanted}"),
            BlockerKind::NotRunning { program, is_stopped: true } => format!("{program} is stopped"),
            BlockerKind::NotRunning { program, is_stopped: false } => format!("{program} does not run"),
            BlockerKind::NotReporting { message } => format!("kubelet does not report: {message}"),
            BlockerKind::NoPodNetwork(why) => why.note(),
            BlockerKind::AddressNotOwn { address } => format!("{address} is none of its own addresses"),
            BlockerKind::AsksNobody { program, server, wanted } => {
                format!("{program} asks {server}; API servers are at {wanted}")
            }
            BlockerKind::NoRoute { destination } => format!("no route to {destination}"),
            BlockerKind::RouteRefuses { destination, .. } => format!("the route {destination} refuses"),
            BlockerKind::RuleRefuses { priority, .. } => format!("policy rule {priority} refuses"),
            BlockerKind::ReversePath { link, source } => {
                format!("reverse path: {source} is not behind {link}")
            }
            BlockerKind::Martian { link, address } => format!("martian source {address} on {link}"),
            BlockerKind::LinkDown { link } => format!("{link} is down"),
            BlockerKind::NoCarrier { link } => format!("{link} has no carrier"),
            BlockerKind::LinkMissing { link } => format!("{link} is missing or leads nowhere"),
            BlockerKind::Detached { link } => format!("{link} is no port of its bridge"),
            BlockerKind::BridgePort { bridge, port, attribute } => {
                format!("port {port} of {bridge}: {attribute}")
            }
            BlockerKind::NoNeighbour { link, address } => format!("nobody answers for {address} on {link}"),
            BlockerKind::AddressMissing { link, address } => format!("{link} does not hold {address}"),
            BlockerKind::WrongStation { mac } => format!("the frame is for {mac}, which is not here"),
            BlockerKind::NoTunnelEnd { link, mac } => format!("{link} has no way to {mac}"),
            BlockerKind::NoTunnelDevice { vni, port } => {
                format!("no tunnel device for network {vni} on UDP {port}")
            }
            BlockerKind::TooBig { link, mtu, size } => {
                format!("{size} bytes do not fit {link}, which takes {mtu}")
            }
            BlockerKind::NobodyListens { protocol, port } => format!("nobody listens on {protocol} {port}"),
            BlockerKind::UnexpectedAnswer { seen, expected } => {
                format!("the answer {seen} is not the expected {expected}")
            }
            BlockerKind::NoWayBack { source } => format!("the recipient knows no way back to {source}"),
            BlockerKind::NoSource { link } => format!("no address to send from by {link}"),
            BlockerKind::Queue { link } => format!("the queue of {link} never lets it pass"),
            BlockerKind::TcFilter { link, priority } => format!("tc filter {priority} of {link} takes it"),
            BlockerKind::Xfrm { index } => format!("IPsec policy {index} blocks"),
            BlockerKind::Misdirected { by, source_seen } => format!("taken by {by}, as from {source_seen}"),
            BlockerKind::NoNameServer { path } => format!("{path} names no name server"),
            BlockerKind::NameNotFound { name } => format!("no server knows {name}"),
            BlockerKind::ConntrackFull => "the connection tracking table is full".to_owned(),
            BlockerKind::Lost { from, to, what } => {
                format!("{what} from {from} to {to} {} lost", what.verb())
            }
            BlockerKind::TimeToLive => "the time to live ran out".to_owned(),
            BlockerKind::Unknown => "cannot be told".to_owned(),
        }
    }
}
