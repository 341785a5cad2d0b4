//! What a hook sees of a packet.

use std::net::IpAddr;

use bitflags::bitflags;
use hopwise_snapshot::{ConntrackTuple, Mac, Observed};

/// A packet as a hook of the packet filter sees it.
///
/// Statements change it in place: marks, the type of service, the time to live, addresses of stateless
/// translation. What nobody knows of the packet (checksums, sequence numbers, payload) is not in here, and a
/// match on it is answered "unknown".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The Ethernet header; none where the packet has none (yet): output, tunnels, loopback before 6.x.
    pub ether: Option<Ether>,
    /// The network header.
    pub network: Network,
    /// The transport header. [`Transport::Other`] for every fragment but the first.
    pub transport: Transport,
    /// The packet mark (`skb->mark`).
    pub mark: u32,
    /// The queueing priority (`skb->priority`).
    pub priority: u32,
    /// The device that it came in by; none at output.
    pub input: Option<Device<'a>>,
    /// The device that it leaves by; none at prerouting and input.
    pub output: Option<Device<'a>>,
    /// The bridge port that it came in by, when bridged packets pass the IP hooks (`br_netfilter`).
    pub physical_input: Option<&'a str>,
    /// The bridge port that it leaves by, likewise; set only while the packet is being bridged.
    pub physical_output: Option<&'a str>,
    /// Whom its link layer address names (`skb->pkt_type`).
    pub packet_type: PacketType,
    /// Its connection; none while connection tracking has not seen the packet.
    pub connection: Option<Connection>,
    /// The socket that it comes from; none for packets that were not made here.
    pub owner: Option<Owner>,
    /// Did it come out of an IPsec transform (`secpath_exists`)?
    pub was_transformed: bool,
}

impl View<'_> {
    /// A packet of the Internet protocol with nothing known beside its headers.
    pub fn ip(header: IpHeader, transport: Transport) -> Self {
        Self {
            ether: None,
            network: Network::Ip(header),
            transport,
            mark: 0,
            priority: 0,
            input: None,
            output: None,
            physical_input: None,
            physical_output: None,
            packet_type: PacketType::Host,
            connection: None,
            owner: None,
            was_transformed: false,
        }
    }

    /// An ARP packet.
    pub fn arp(header: ArpHeader) -> Self {
        let empty = IpHeader::new(header.sender_ip.into(), header.target_ip.into(), 0);
        Self { network: Network::Arp(header), ..Self::ip(empty, Transport::Other) }
    }

    /// The IP header, where this is an IP packet.
    pub fn header(&self) -> Option<&IpHeader> {
        match &self.network {
            Network::Ip(header) => Some(header),
            Network::Arp(_) | Network::Other => None,
        }
    }

    /// The `EtherType` of what the packet carries.
    pub fn ethertype(&self) -> Option<u16> {
        match &self.network {
            Network::Ip(header) if header.source.is_ipv4() => Some(0x0800),
            Network::Ip(_) => Some(0x86dd),
            Network::Arp(_) => Some(0x0806),
            Network::Other => self.ether.map(|it| it.ethertype),
        }
    }

    /// The ports, where the packet carries them.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp(Tcp { source_port, destination_port, .. })
            | Transport::Udp { source_port, destination_port }
            | Transport::Ports { source_port, destination_port } => Some((source_port, destination_port)),
            Transport::Icmp { .. } | Transport::Other => None,
        }
    }
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ether {
    /// The sending station.
    pub source: Mac,
    /// The receiving station.
    pub destination: Mac,
    /// The protocol of what follows, below any VLAN tag.
    pub ethertype: u16,
    /// The VLAN tag control information, where there is a tag: identifier in the low 12 bits.
    pub vlan: Option<u16>,
}

/// A network header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 or IPv6.
    Ip(IpHeader),
    /// Address resolution.
    Arp(ArpHeader),
    /// Another protocol.
    Other,
}

/// What is known of an IP header. Both addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// The sender.
    pub source: IpAddr,
    /// The receiver.
    pub destination: IpAddr,
    /// The transport protocol's number; for IPv6 what follows the extension headers.
    pub protocol: u8,
    /// Type of service or traffic class: DSCP in the upper 6 bits, ECN in the lower 2.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Bytes with this header.
    pub total_length: u32,
    /// Is it not to be fragmented (IPv4)?
    pub dont_fragment: bool,
    /// Where in the whole packet it belongs, when it is a fragment.
    pub fragment: Option<Fragment>,
}

impl IpHeader {
    /// A header with a time to live of 64 that belongs to a small unfragmented packet (60 bytes, IPv6 80).
    pub fn new(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        let total_length = if source.is_ipv4() { 60 } else { 80 };
        Self {
            source,
            destination,
            protocol,
            tos: 0,
            ttl: 64,
            total_length,
            dont_fragment: false,
            fragment: None,
        }
    }

    /// Is this a later fragment, one without a transport header?
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|it| it.offset > 0)
    }
}

/// A fragment's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in units of 8 bytes.
    pub offset: u16,
    /// Do more fragments follow?
    pub more: bool,
}

/// An ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpHeader {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Who speaks.
    pub sender_ip: std::net::Ipv4Addr,
    /// Its station.
    pub sender_mac: Mac,
    /// Who is asked for.
    pub target_ip: std::net::Ipv4Addr,
    /// Its station, zero in questions.
    pub target_mac: Mac,
}

/// A transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// Another protocol that begins with two ports: SCTP, DCCP, UDP-Lite.
    Ports {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// ICMP or ICMPv6.
    Icmp {
        /// The message's type.
        kind: u8,
        /// The message's code.
        code: u8,
        /// The identifier of an echo; none for other messages.
        id: Option<u16>,
    },
    /// A protocol that is not modelled, or no transport header at all.
    Other,
}

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// The flags.
    pub flags: TcpFlags,
    /// The value of the maximum segment size option, where the segment carries one.
    pub mss: Option<u16>,
}

bitflags! {
    /// The flags of a TCP segment, as in byte 13 of its header.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct TcpFlags: u8 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronise sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgement field counts.
        const ACK = 0x10;
        /// The urgent pointer counts.
        const URG = 0x20;
        /// Congestion was signalled.
        const ECE = 0x40;
        /// The congestion window was reduced.
        const CWR = 0x80;
    }
}

/// A device as far as rules can ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its index; none where it is not known.
    pub index: Option<u32>,
    /// Its driver's kind (`veth`, `bridge`, `vxlan`); absent for devices that no link type made.
    pub kind: Observed<&'a str>,
    /// Its hardware type (`ARPHRD_*`: 1 Ethernet, 772 loopback); none where it is not known.
    pub hardware_type: Option<u16>,
    /// Its group; none where it is not known.
    pub group: Option<u32>,
}

impl<'a> Device<'a> {
    /// The device called `name`, with nothing else known.
    pub fn named(name: &'a str) -> Self {
        Self { name, index: None, kind: Observed::default(), hardware_type: None, group: None }
    }
}

/// Whom a packet's link layer address names (`PACKET_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketType {
    /// This host.
    #[default]
    Host,
    /// Every station.
    Broadcast,
    /// A group.
    Multicast,
    /// Another station.
    OtherHost,
    /// The packet leaves (`PACKET_OUTGOING`).
    Outgoing,
}

/// What connection tracking attached to a packet (`struct nf_conn` and `enum ip_conntrack_info`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The packet's state. For [`ConnectionState::Invalid`] and [`ConnectionState::Untracked`] there is no
    /// connection behind it, and the other fields say nothing.
    pub state: ConnectionState,
    /// Which way this packet goes.
    pub direction: Direction,
    /// The connection's status bits.
    pub status: ConnectionStatus,
    /// The connection's mark.
    pub mark: u32,
    /// As the first packet came in.
    pub original: ConntrackTuple,
    /// As answers are expected.
    pub reply: ConntrackTuple,
    /// The zone.
    pub zone: u16,
    /// The helper that expected this connection, where one did.
    pub helper: Option<String>,
}

impl Connection {
    /// Is there an entry behind the packet (`nf_ct_get() != NULL`)?
    pub fn is_tracked(&self) -> bool {
        !matches!(self.state, ConnectionState::Invalid | ConnectionState::Untracked)
    }

    /// The tuple of this direction.
    pub fn tuple(&self, direction: Direction) -> &ConntrackTuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }
}

/// A packet's state in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// The first packet, or one before an answer was seen.
    New,
    /// Of a connection with packets both ways.
    Established,
    /// Of a new connection that another one announced, or an error about one.
    Related,
    /// Tracking refused it.
    Invalid,
    /// A rule took it out of tracking.
    Untracked,
}

/// Which way a packet goes in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// As the answers.
    Reply,
}

bitflags! {
    /// Status bits of a connection (`enum ip_conntrack_status`, values of the kernel).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ConnectionStatus: u32 {
        /// A helper expected it.
        const EXPECTED = 1;
        /// An answer was seen.
        const SEEN_REPLY = 1 << 1;
        /// It will not be expired early.
        const ASSURED = 1 << 2;
        /// Its first packet left.
        const CONFIRMED = 1 << 3;
        /// Its source is translated.
        const SOURCE_NAT = 1 << 4;
        /// Its destination is translated.
        const DESTINATION_NAT = 1 << 5;
        /// Sequence numbers are adjusted.
        const SEQUENCE_ADJUST = 1 << 6;
        /// Source translation was decided.
        const SOURCE_NAT_DONE = 1 << 7;
        /// Destination translation was decided.
        const DESTINATION_NAT_DONE = 1 << 8;
        /// It is being removed.
        const DYING = 1 << 9;
        /// Its timeout is fixed.
        const FIXED_TIMEOUT = 1 << 10;
        /// A rule attached it to a template.
        const TEMPLATE = 1 << 11;
        /// Its helper was set by a rule.
        const HELPER = 1 << 13;
        /// A flowtable carries it.
        const OFFLOAD = 1 << 14;
    }
}

/// The socket that a local packet comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user; none where it is not known.
    pub uid: Option<u32>,
    /// The group; none where it is not known.
    pub gid: Option<u32>,
    /// The classifier number of its control group (`net_cls.classid`); none where it is not known.
    pub class_id: Option<u32>,
    /// The path of its control group (version 2); none where it is not known.
    pub cgroup: Option<String>,
}
