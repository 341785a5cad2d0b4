//! Packets and frames as the tracer carries them.

use std::{fmt, net::IpAddr};

use hopwise_snapshot::{Mac, Protocol};

/// An IP packet.
///
/// Only what some decision of the kernel looks at. [`Packet::mark`] belongs to the kernel that handles the
/// packet and does not leave its network namespace (`skb_scrub_packet`, `net/core/skbuff.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Source address.
    pub(crate) source: IpAddr,
    /// Destination address.
    pub(crate) destination: IpAddr,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// IPv4 type of service, or IPv6 traffic class.
    pub(crate) tos: u8,
    /// Bytes, IP header included.
    pub(crate) length: u32,
    /// May routers not fragment it? Always so for IPv6.
    pub(crate) dont_fragment: bool,
    /// What it carries.
    pub(crate) transport: Transport,
    /// The firewall mark.
    pub(crate) mark: u32,
}

/// What an IP packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A TCP segment.
    Tcp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Which step of a connection it is.
        step: TcpStep,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
    },
    /// An ICMP echo request.
    EchoRequest {
        /// The identifier.
        id: u16,
    },
    /// An ICMP echo reply.
    EchoReply {
        /// The identifier.
        id: u16,
    },
    /// An ICMP error about another packet.
    Error {
        /// What is wrong.
        kind: IcmpError,
        /// The packet that it is about, as the complaining host saw it.
        about: Tuple,
    },
    /// An IPv6 neighbour solicitation.
    NeighbourSolicitation {
        /// Whose link address is asked for.
        target: IpAddr,
    },
    /// An IPv6 neighbour advertisement.
    NeighbourAdvertisement {
        /// Whose link address is told.
        target: IpAddr,
    },
}

/// The steps of a TCP connection that the kernel's connection tracking and filters tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TcpStep {
    /// SYN.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// ACK with or without data.
    Data,
    /// RST.
    Reset,
}

/// ICMP errors that end a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpError {
    /// No route to the network (IPv4 3/0, IPv6 1/0).
    NetUnreachable,
    /// The host does not answer or the route says unreachable (IPv4 3/1, IPv6 1/3).
    HostUnreachable,
    /// No such protocol there (IPv4 3/2).
    ProtocolUnreachable,
    /// Nobody listens (IPv4 3/3, IPv6 1/4).
    PortUnreachable,
    /// Too large for the next hop, whose limit is given (IPv4 3/4, IPv6 2/0).
    TooBig {
        /// The next hop's MTU in bytes.
        mtu: u32,
    },
    /// A filter forbids it (IPv4 3/9, 3/10, 3/13, IPv6 1/1, 1/5, 1/6).
    Prohibited,
    /// The time to live ran out (IPv4 11/0, IPv6 3/0).
    TimeExceeded,
}

impl IcmpError {
    /// Type and code of the message.
    pub fn type_and_code(self, is_ipv6: bool) -> (u8, u8) {
        match (self, is_ipv6) {
            (Self::NetUnreachable, false) => (3, 0),
            (Self::HostUnreachable, false) => (3, 1),
            (Self::ProtocolUnreachable, false) => (3, 2),
            (Self::PortUnreachable, false) => (3, 3),
            (Self::TooBig { .. }, false) => (3, 4),
            (Self::Prohibited, false) => (3, 13),
            (Self::TimeExceeded, false) => (11, 0),
            (Self::NetUnreachable, true) => (1, 0),
            (Self::HostUnreachable, true) => (1, 3),
            (Self::ProtocolUnreachable, true) => (4, 1),
            (Self::PortUnreachable, true) => (1, 4),
            (Self::TooBig { .. }, true) => (2, 0),
            (Self::Prohibited, true) => (1, 1),
            (Self::TimeExceeded, true) => (3, 0),
        }
    }

    /// The error that a message of this type and code means, if it ends a flow.
    pub fn from_type_and_code(kind: u8, code: u8, is_ipv6: bool) -> Option<Self> {
        Some(match (is_ipv6, kind, code) {
            (false, 3, 0 | 6 | 11) | (true, 1, 0 | 2) => Self::NetUnreachable,
            (false, 3, 1 | 5 | 7 | 8 | 12) | (true, 1, 3) => Self::HostUnreachable,
            (false, 3, 2) | (true, 4, 1) => Self::ProtocolUnreachable,
            (false, 3, 3) | (true, 1, 4) => Self::PortUnreachable,
            (false, 3, 4) | (true, 2, _) => Self::TooBig { mtu: 0 },
            (false, 3, 9 | 10 | 13..=15) | (true, 1, 1 | 5 | 6) => Self::Prohibited,
            (false, 11, _) | (true, 3, _) => Self::TimeExceeded,
            _ => return None,
        })
    }
}

impl fmt::Display for IcmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetUnreachable => f.write_str("network unreachable"),
            Self::HostUnreachable => f.write_str("host unreachable"),
            Self::ProtocolUnreachable => f.write_str("protocol unreachable"),
            Self::PortUnreachable => f.write_str("port unreachable"),
            Self::TooBig { mtu } => write!(f, "too big, the next hop takes {mtu} bytes"),
            Self::Prohibited => f.write_str("administratively prohibited"),
            Self::TimeExceeded => f.write_str("time to live exceeded"),
        }
    }
}

/// What connection tracking knows a packet by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The IP protocol number.
    pub protocol: u8,
    /// Source port, or the identifier of an echo.
    pub source_port: u16,
    /// Destination port, or the identifier of an echo.
    pub destination_port: u16,
}

impl Tuple {
    /// The tuple of an answer.
    pub fn inverted(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.protocol {
            protocol::TCP => "tcp",
            protocol::UDP => "udp",
            protocol::ICMP | protocol::ICMPV6 => {
                return write!(f, "icmp {} → {}", self.source, self.destination);
            }
            other => return write!(f, "protocol {other} {} → {}", self.source, self.destination),
        };
        write!(f, "{name} {} → {}:{}", self.source, self.destination, self.destination_port)
    }
}

/// IP protocol numbers.
pub(crate) mod protocol {
    /// ICMP.
    pub(crate) const ICMP: u8 = 1;
    /// TCP.
    pub(crate) const TCP: u8 = 6;
    /// UDP.
    pub(crate) const UDP: u8 = 17;
    /// ICMPv6.
    pub(crate) const ICMPV6: u8 = 58;
}

/// EtherTypes.
pub(crate) mod ethertype {
    /// IPv4.
    pub(crate) const IPV4: u16 = 0x0800;
    /// ARP.
    pub(crate) const ARP: u16 = 0x0806;
    /// IPv6.
    pub(crate) const IPV6: u16 = 0x86dd;
}

impl Packet {
    /// Is it an IPv6 packet?
    pub(crate) fn is_ipv6(&self) -> bool {
        self.destination.is_ipv6()
    }

    /// The IP protocol number.
    pub(crate) fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => protocol::TCP,
            Transport::Udp { .. } => protocol::UDP,
            _ if self.is_ipv6() => protocol::ICMPV6,
            _ => protocol::ICMP,
        }
    }

    /// Does the kernel that sends it cut it in pieces where the way takes only smaller packets, though no
    /// router may? So it is with its own echo replies over IPv6 (`ip6_append_data`, net/ipv6/ip6_output.c).
    pub(crate) fn is_fragmented_by_its_host(&self) -> bool {
        self.is_ipv6() && matches!(self.transport, Transport::EchoReply { .. })
    }

    /// Source and destination port; zero where there is none.
    pub(crate) fn ports(&self) -> (u16, u16) {
        match self.transport {
            Transport::Tcp { source_port, destination_port, .. }
            | Transport::Udp { source_port, destination_port } => (source_port, destination_port),
            _ => (0, 0),
        }
    }

    /// What connection tracking knows it by. For an ICMP error this is the error's own header, not what it
    /// is about.
    pub(crate) fn tuple(&self) -> Tuple {
        let (source_port, destination_port) = match self.transport {
            Transport::EchoRequest { id } | Transport::EchoReply { id } => (id, id),
            _ => self.ports(),
        };
        Tuple {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol(),
            source_port,
            destination_port,
        }
    }

    /// ICMP type, code and identifier, if it is ICMP.
    pub(crate) fn icmp(&self) -> Option<(u8, u8, u16)> {
        let is_ipv6 = self.is_ipv6();
        Some(match self.transport {
            Transport::Tcp { .. } | Transport::Udp { .. } => return None,
            Transport::EchoRequest { id } => (if is_ipv6 { 128 } else { 8 }, 0, id),
            Transport::EchoReply { id } => (if is_ipv6 { 129 } else { 0 }, 0, id),
            Transport::Error { kind, .. } => {
                let (kind, code) = kind.type_and_code(is_ipv6);
                (kind, code, 0)
            }
            Transport::NeighbourSolicitation { .. } => (135, 0, 0),
            Transport::NeighbourAdvertisement { .. } => (136, 0, 0),
        })
    }

    /// Changes the destination port, where the protocol has one.
    pub(crate) fn set_destination_port(&mut self, port: u16) {
        match &mut self.transport {
            Transport::Tcp { destination_port, .. } | Transport::Udp { destination_port, .. } => {
                *destination_port = port;
            }
            _ => {}
        }
    }

    /// Changes the source port, where the protocol has one.
    pub(crate) fn set_source_port(&mut self, port: u16) {
        match &mut self.transport {
            Transport::Tcp { source_port, .. } | Transport::Udp { source_port, .. } => *source_port = port,
            _ => {}
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.source, self.destination);
        match self.transport {
            Transport::Tcp { source_port, destination_port, step } => {
                let step = match step {
                    TcpStep::Syn => "SYN",
                    TcpStep::SynAck => "SYN,ACK",
                    TcpStep::Data => "ACK",
                    TcpStep::Reset => "RST",
                };
                write!(f, "tcp {step} {from}:{source_port} → {to}:{destination_port}")
            }
            Transport::Udp { source_port, destination_port } => {
                write!(f, "udp {from}:{source_port} → {to}:{destination_port}")
            }
            Transport::EchoRequest { .. } => write!(f, "icmp echo request {from} → {to}"),
            Transport::EchoReply { .. } => write!(f, "icmp echo reply {from} → {to}"),
            Transport::Error { kind, .. } => write!(f, "icmp {kind} {from} → {to}"),
            Transport::NeighbourSolicitation { target } => {
                write!(f, "neighbour solicitation for {target} {from} → {to}")
            }
            Transport::NeighbourAdvertisement { target } => {
                write!(f, "neighbour advertisement of {target} {from} → {to}")
            }
        }
    }
}

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arp {
    /// Is it an answer, or a question?
    pub(crate) is_reply: bool,
    /// The sender's address.
    pub(crate) sender: IpAddr,
    /// The sender's Ethernet address.
    pub(crate) sender_mac: Mac,
    /// The address asked for, or answered to.
    pub(crate) target: IpAddr,
}

/// The protocol of a [`crate::Flow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowProtocol {
    /// TCP to a port.
    Tcp(u16),
    /// UDP to a port.
    Udp(u16),
    /// ICMP echo.
    Icmp,
}

impl FlowProtocol {
    /// The flow protocol of a port of the API. SCTP is not modelled.
    pub fn of_port(protocol: Protocol, port: u16) -> Option<Self> {
        match protocol {
            Protocol::Tcp => Some(Self::Tcp(port)),
            Protocol::Udp => Some(Self::Udp(port)),
            Protocol::Sctp => None,
        }
    }

    /// `tcp`, `udp` or `icmp`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Icmp => "icmp",
        }
    }

    /// The destination port, where there is one.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Tcp(port) | Self::Udp(port) => Some(port),
            Self::Icmp => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_icmp_error_is_read_back_from_its_type_and_code() {
        let all = [
            IcmpError::NetUnreachable,
            IcmpError::HostUnreachable,
            IcmpError::ProtocolUnreachable,
            IcmpError::PortUnreachable,
            IcmpError::TooBig { mtu: 0 },
            IcmpError::Prohibited,
            IcmpError::TimeExceeded,
        ];
        for is_ipv6 in [false, true] {
            for error in all {
                let (kind, code) = error.type_and_code(is_ipv6);
                assert_eq!(IcmpError::from_type_and_code(kind, code, is_ipv6), Some(error));
            }
        }
    }

    #[test]
    fn the_tuple_of_an_echo_is_its_identifier() {
        let packet = Packet {
            source: "10.0.0.1".parse().unwrap(),
            destination: "10.0.0.2".parse().unwrap(),
            ttl: 64,
            tos: 0,
            length: 84,
            dont_fragment: true,
            transport: Transport::EchoRequest { id: 7 },
            mark: 0,
        };
        assert_eq!(packet.tuple().inverted().inverted(), packet.tuple());
        assert_eq!(packet.tuple().source_port, 7);
    }
}
