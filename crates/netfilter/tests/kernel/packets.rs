//! Packets to send, as bytes and as the packet filter sees them.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use hopwise_netfilter::{Fragment, IpHeader, Tcp, TcpFlags, Transport, View};
use socket2::{Domain, Protocol, Socket, Type};

/// A packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) load: Load,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    /// Is it the last fragment of a larger packet? It has no transport header (IPv4).
    pub(crate) is_last_fragment: bool,
}

/// Where fragments begin, in units of 8 bytes.
const OFFSET: u16 = 100;

/// What a packet carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    Tcp { from: u16, to: u16, flags: TcpFlags, mss: Option<u16> },
    Udp { from: u16, to: u16 },
    Icmp { kind: u8, code: u8, id: u16 },
}

impl Packet {
    pub(crate) fn new(from: &str, to: &str, load: Load) -> Self {
        Self {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            load,
            tos: 0,
            ttl: 64,
            is_last_fragment: false,
        }
    }

    /// A segment that begins a connection.
    pub(crate) fn syn(from: &str, to: &str, port: u16) -> Self {
        Self::new(from, to, Load::Tcp { from: 40000, to: port, flags: TcpFlags::SYN, mss: Some(1460) })
    }

    pub(crate) fn udp(from: &str, to: &str, port: u16) -> Self {
        Self::new(from, to, Load::Udp { from: 40000, to: port })
    }

    pub(crate) fn ping(from: &str, to: &str) -> Self {
        let kind = if from.contains(':') { 128 } else { 8 };
        Self::new(from, to, Load::Icmp { kind, code: 0, id: 77 })
    }

    /// The packet from another source port, or with another identifier.
    pub(crate) fn by(mut self, port: u16) -> Self {
        match &mut self.load {
            Load::Tcp { from, .. } | Load::Udp { from, .. } => *from = port,
            Load::Icmp { id, .. } => *id = port,
        }
        self
    }

    pub(crate) fn protocol(&self) -> u8 {
        match self.load {
            Load::Tcp { .. } => 6,
            Load::Udp { .. } => 17,
            Load::Icmp { .. } if self.from.is_ipv4() => 1,
            Load::Icmp { .. } => 58,
        }
    }

    /// As the first hook sees it.
    pub(crate) fn view<'a>(&self) -> View<'a> {
        let transport = match self.load {
            _ if self.is_last_fragment => Transport::Other,
            Load::Tcp { from, to, flags, mss } => {
                Transport::Tcp(Tcp { source_port: from, destination_port: to, flags, mss })
            }
            Load::Udp { from, to } => Transport::Udp { source_port: from, destination_port: to },
            Load::Icmp { kind, code, id } => Transport::Icmp { kind, code, id: Some(id) },
        };
        let mut header = IpHeader::new(self.from, self.to, self.protocol());
        header.tos = self.tos;
        header.ttl = self.ttl;
        header.total_length = u32::try_from(self.bytes().len()).unwrap();
        header.dont_fragment = self.from.is_ipv4() && !self.is_last_fragment;
        header.fragment = self.is_last_fragment.then_some(Fragment { offset: OFFSET, more: false });
        View::ip(header, transport)
    }

    fn load_bytes(&self) -> Vec<u8> {
        let mut bytes = match self.load {
            Load::Tcp { from, to, flags, mss } => {
                let mut segment = vec![0; 20];
                segment[0..2].copy_from_slice(&from.to_be_bytes());
                segment[2..4].copy_from_slice(&to.to_be_bytes());
                segment[4..8].copy_from_slice(&1000u32.to_be_bytes());
                segment[12] = 5 << 4;
                segment[13] = flags.bits();
                segment[14..16].copy_from_slice(&64000u16.to_be_bytes());
                if let Some(mss) = mss {
                    segment[12] = 6 << 4;
                    segment.extend_from_slice(&[2, 4]);
                    segment.extend_from_slice(&mss.to_be_bytes());
                }
                segment
            }
            Load::Udp { from, to } => {
                let mut datagram = vec![0; 8];
                datagram[0..2].copy_from_slice(&from.to_be_bytes());
                datagram[2..4].copy_from_slice(&to.to_be_bytes());
                datagram[4..6].copy_from_slice(&12u16.to_be_bytes());
                datagram.extend_from_slice(b"test");
                datagram
            }
            Load::Icmp { kind, code, id } => {
                let mut message = vec![kind, code, 0, 0, 0, 0, 0, 1];
                message[4..6].copy_from_slice(&id.to_be_bytes());
                message
            }
        };
        let length = u32::try_from(bytes.len()).unwrap();
        let mut sum = 0u32;
        if self.protocol() != 1 {
            sum = add(sum, &octets(self.from));
            sum = add(sum, &octets(self.to));
            sum = add(sum, &length.to_be_bytes());
            sum = add(sum, &u32::from(self.protocol()).to_be_bytes());
        }
        let sum = fold(add(sum, &bytes)).to_be_bytes();
        let at = match self.load {
            Load::Tcp { .. } => 16,
            Load::Udp { .. } => 6,
            Load::Icmp { .. } => 2,
        };
        bytes[at..at + 2].copy_from_slice(&sum);
        bytes
    }

    /// As it goes over the wire, from the IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let load = self.load_bytes();
        let mut bytes = match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let length = u16::try_from(20 + load.len()).unwrap().to_be_bytes();
                let mut header = vec![
                    0x45,
                    self.tos,
                    length[0],
                    length[1],
                    0,
                    0,
                    0x40,
                    0,
                    self.ttl,
                    self.protocol(),
                    0,
                    0,
                ];
                if self.is_last_fragment {
                    header[6..8].copy_from_slice(&OFFSET.to_be_bytes());
                }
                header.extend_from_slice(&from.octets());
                header.extend_from_slice(&to.octets());
                let sum = fold(add(0, &header)).to_be_bytes();
                header[10..12].copy_from_slice(&sum);
                header
            }
            (from, to) => {
                let length = u16::try_from(load.len()).unwrap().to_be_bytes();
                let mut header = vec![
                    0x60 | self.tos >> 4,
                    self.tos << 4,
                    0,
                    0,
                    length[0],
                    length[1],
                    self.protocol(),
                    self.ttl,
                ];
                header.extend_from_slice(&octets(from));
                header.extend_from_slice(&octets(to));
                header
            }
        };
        bytes.extend_from_slice(&load);
        bytes
    }

    /// Sends it from the calling thread's network namespace, which may drop it.
    pub(crate) fn send(&self) {
        let domain = if self.from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        // IPPROTO_RAW: the header is part of what is sent.
        let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(255))).unwrap();
        match socket.send_to(&self.bytes(), &SocketAddr::new(self.to, 0).into()) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            sent => assert_eq!(sent.unwrap(), self.bytes().len()),
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn add(mut sum: u32, bytes: &[u8]) -> u32 {
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    sum
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}
