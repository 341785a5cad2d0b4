//! A packet's headers as bytes, for conditions that name bytes and not fields.

use std::net::IpAddr;

use crate::{
    names,
    packet::{Network, Transport, View},
};

/// The most bytes of a packet that anything is known of: IPv6 with a fragment header, then TCP.
const KNOWN: usize = 40 + 8 + 60;

/// Some of a packet's bytes, from one of its headers on.
///
/// IPv4 headers are taken to have no options: a [`View`] has no place for them.
#[derive(Clone, Debug)]
pub(crate) struct Bytes {
    data: [u8; KNOWN],
    /// The bits of [`Bytes::data`] that are known.
    known: [u8; KNOWN],
    /// How many bytes the packet has from here on.
    length: usize,
}

/// What a packet holds at some place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// A number, most significant bit first, of which these bits are known. The others are 0 here.
    Bits {
        /// The number.
        value: u128,
        /// The bits of it that are known.
        known: u128,
    },
    /// More than can be taken at once.
    Unknown,
    /// The packet ends before.
    Absent,
}

impl Bytes {
    fn new(length: usize) -> Self {
        Self { data: [0; KNOWN], known: [0; KNOWN], length }
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
        self.known[at..at + bytes.len()].fill(0xff);
    }

    /// The number of `len` bits that begins `offset` bits into these bytes.
    pub(crate) fn get(&self, offset: usize, len: usize) -> Field {
        if len == 0 || len > 128 {
            return Field::Unknown;
        }
        let Some(end) = offset.checked_add(len) else { return Field::Absent };
        if end.div_ceil(8) > self.length {
            return Field::Absent;
        }
        let (mut value, mut known) = (0u128, 0u128);
        for bit in offset..end {
            let (byte, mask) = (bit / 8, 0x80 >> (bit % 8));
            let is_known = byte < KNOWN && self.known[byte] & mask != 0;
            known = known << 1 | u128::from(is_known);
            value = value << 1 | u128::from(is_known && self.data[byte] & mask != 0);
        }
        Field::Bits { value, known }
    }

    /// How many bytes the packet has from here on.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// From the Ethernet header on; none where the packet has no such header.
    pub(crate) fn link(view: &View<'_>) -> Option<Self> {
        let ether = view.ether?;
        let mut bytes = Self::new(usize::MAX);
        bytes.set(0, &ether.destination.0);
        bytes.set(6, &ether.source.0);
        match ether.vlan {
            Some(tag) => {
                bytes.set(12, &0x8100u16.to_be_bytes());
                bytes.set(14, &tag.to_be_bytes());
                bytes.set(16, &ether.ethertype.to_be_bytes());
            }
            None => bytes.set(12, &ether.ethertype.to_be_bytes()),
        }
        Some(bytes)
    }

    /// From the network header on; none where it is not modelled.
    pub(crate) fn network(view: &View<'_>) -> Option<Self> {
        match &view.network {
            Network::Ip(header) => {
                let mut bytes = Self::new(header.total_length as usize);
                let at = bytes.put_ip(header);
                if !header.is_later_fragment() {
                    bytes.put_transport(at, view);
                }
                Some(bytes)
            }
            Network::Arp(arp) => {
                let mut bytes = Self::new(28);
                bytes.set(0, &[0, 1, 8, 0, 6, 4]);
                bytes.set(6, &arp.operation.to_be_bytes());
                bytes.set(8, &arp.sender_mac.0);
                bytes.set(14, &arp.sender_ip.octets());
                bytes.set(18, &arp.target_mac.0);
                bytes.set(24, &arp.target_ip.octets());
                Some(bytes)
            }
            Network::Other => None,
        }
    }

    /// From where the transport header is; none where nothing is known of it. A later fragment has other
    /// bytes there, and no expression of nf_tables that reads up to 4 of them minds (`nft_payload_fast_eval`,
    /// net/netfilter/nf_tables_core.c).
    pub(crate) fn transport(view: &View<'_>) -> Option<Self> {
        let header = view.header()?;
        let before = match header.source {
            IpAddr::V4(_) => 20,
            IpAddr::V6(_) if header.fragment.is_some() => 48,
            IpAddr::V6(_) => 40,
        };
        let mut bytes = Self::new((header.total_length as usize).saturating_sub(before));
        if !header.is_later_fragment() {
            bytes.put_transport(0, view);
        }
        Some(bytes)
    }

    /// Writes an IP header at the beginning and returns where it ends.
    fn put_ip(&mut self, header: &crate::IpHeader) -> usize {
        let length = header.total_length;
        let fragment = header.fragment.unwrap_or(crate::Fragment { offset: 0, more: false });
        match (header.source, header.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.set(0, &[0x45, header.tos]);
                self.set(2, &u16::try_from(length).unwrap_or(0).to_be_bytes());
                let flags = u16::from(header.dont_fragment) << 14
                    | u16::from(fragment.more) << 13
                    | fragment.offset & 0x1fff;
                self.set(6, &flags.to_be_bytes());
                self.set(8, &[header.ttl, header.protocol]);
                self.set(12, &source.octets());
                self.set(16, &destination.octets());
                20
            }
            (source, destination) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V6(v6) => v6.octets(),
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                };
                self.set(0, &[0x60 | header.tos >> 4, header.tos << 4]);
                // The lower half of the second byte begins the flow label, which is not known.
                self.known[1] = 0xf0;
                let payload = u16::try_from(length.saturating_sub(40)).unwrap_or(0);
                self.set(4, &payload.to_be_bytes());
                self.set(7, &[header.ttl]);
                self.set(8, &octets(source));
                self.set(24, &octets(destination));
                if header.fragment.is_none() {
                    self.set(6, &[header.protocol]);
                    return 40;
                }
                self.set(6, &[44]);
                self.set(40, &[header.protocol, 0]);
                self.set(42, &(fragment.offset << 3 | u16::from(fragment.more)).to_be_bytes());
                48
            }
        }
    }

    fn put_transport(&mut self, at: usize, view: &View<'_>) {
        if let Some((source, destination)) = view.ports() {
            self.set(at, &source.to_be_bytes());
            self.set(at + 2, &destination.to_be_bytes());
        }
        match view.transport {
            Transport::Tcp(tcp) => self.set(at + 13, &[tcp.flags.bits()]),
            Transport::Udp { .. } => {
                let length = self.length.saturating_sub(at);
                let is_whole =
                    view.header().is_some_and(|it| it.fragment.is_none() && it.protocol == names::UDP);
                if let (true, Ok(length)) = (is_whole, u16::try_from(length)) {
                    self.set(at + 4, &length.to_be_bytes());
                }
            }
            Transport::Icmp { kind, code, id } => {
                self.set(at, &[kind, code]);
                if let Some(id) = id {
                    self.set(at + 4, &id.to_be_bytes());
                }
            }
            Transport::Ports { .. } | Transport::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{IpHeader, Tcp, TcpFlags};

    /// The number, where all of it is known.
    fn all(field: Field) -> Option<u128> {
        match field {
            Field::Bits { value, known } if known.count_ones() == known.trailing_ones() && known != 0 => {
                Some(value)
            }
            _ => None,
        }
    }

    fn syn() -> View<'static> {
        let mut header = IpHeader::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap(), 6);
        header.dont_fragment = true;
        let tcp = Tcp { source_port: 1000, destination_port: 443, flags: TcpFlags::SYN, mss: Some(1460) };
        View::ip(header, Transport::Tcp(tcp))
    }

    #[test]
    fn fields_lie_where_the_standards_put_them() {
        let bytes = Bytes::network(&syn()).unwrap();
        assert_eq!(all(bytes.get(0, 4)), Some(4));
        assert_eq!(all(bytes.get(72, 8)), Some(6), "protocol");
        assert_eq!(all(bytes.get(49, 1)), Some(1), "don't fragment");
        assert_eq!(all(bytes.get(96, 32)), Some(0x0a00_0001), "source");
        assert_eq!(all(bytes.get(160 + 16, 16)), Some(443), "destination port");
        assert_eq!(all(Bytes::transport(&syn()).unwrap().get(13 * 8, 8)), Some(2), "flags");
    }

    #[test]
    fn what_nobody_knows_is_not_made_up() {
        let bytes = Bytes::network(&syn()).unwrap();
        assert_eq!(all(bytes.get(32, 16)), None, "identification");
        assert_eq!(all(bytes.get(80, 16)), None, "checksum");
        assert_eq!(all(bytes.get(59 * 8, 8)), None, "last byte of the options");
        assert_eq!(bytes.get(60 * 8, 8), Field::Absent);
        assert_eq!(bytes.get(usize::MAX, 8), Field::Absent);
    }

    #[test]
    fn a_later_fragment_has_other_bytes_where_its_header_would_be() {
        let mut view = syn();
        let Network::Ip(header) = &mut view.network else { unreachable!() };
        header.fragment = Some(crate::Fragment { offset: 100, more: false });
        assert_eq!(all(Bytes::transport(&view).unwrap().get(16, 16)), None);
        assert_eq!(all(Bytes::network(&view).unwrap().get(160, 16)), None);
    }
}
