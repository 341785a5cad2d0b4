//! Packets as bytes.

use std::net::IpAddr;

use hopwise_snapshot::Mac;
use hopwise_sys::packet::checksum;

/// What is in every packet that is ours: by it a packet is known again wherever it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The probe, by a number that nobody else has.
    pub(crate) probe: u64,
    /// Which kind of packet of the probe.
    pub(crate) kind: u16,
    /// Which one of its kind.
    pub(crate) number: u16,
}

/// A packet of ours that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighted {
    /// By its mark.
    Marked(Mark),
    /// The first packet of a TCP connection, by the port that it comes from.
    Syn { source_port: u16 },
    /// Somebody asks for the Ethernet address of a neighbour.
    Neighbour { asked_for: IpAddr },
}

const MAGIC: [u8; 8] = *b"hopwise\n";
/// Bytes of a mark.
pub(crate) const MARK_LENGTH: usize = 20;
/// Bytes of an ICMP echo header.
pub(crate) const ICMP_HEADER: usize = 8;
/// Bytes of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;
/// Bytes of a VXLAN header (RFC 7348, section 5).
const VXLAN_HEADER: usize = 8;
/// Bytes in front of the mark within a VXLAN packet: its header, and an Ethernet, an IPv4 and a UDP header.
const VXLAN_HEADERS: usize = VXLAN_HEADER + 14 + 20 + UDP_HEADER;
/// The port that throws away what it gets (RFC 863).
const DISCARD: u16 = 9;

impl Mark {
    /// Its bytes.
    pub(crate) fn bytes(self) -> [u8; MARK_LENGTH] {
        let mut bytes = [0; MARK_LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.probe.to_be_bytes());
        bytes[16..18].copy_from_slice(&self.kind.to_be_bytes());
        bytes[18..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// The mark that some bytes begin with.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<MARK_LENGTH>()?;
        let (magic, rest) = bytes.split_first_chunk::<8>()?;
        let (probe, rest) = rest.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let number = rest.first_chunk::<2>()?;
        (*magic == MAGIC).then(|| Self {
            probe: u64::from_be_bytes(*probe),
            kind: u16::from_be_bytes(*kind),
            number: u16::from_be_bytes(*number),
        })
    }

    /// Its bytes with zeros behind, `length` in all; never less than the mark.
    pub(crate) fn padded(self, length: usize) -> Vec<u8> {
        let mut bytes = self.bytes().to_vec();
        bytes.resize(length.max(MARK_LENGTH), 0);
        bytes
    }
}

/// An ICMP echo request of `length` bytes without the IP header. The kernel fills in the checksum of ICMPv6 (raw(7)).
pub(crate) fn echo_request(mark: Mark, is_ipv6: bool, length: usize) -> Vec<u8> {
    // RFC 792, RFC 4443.
    let kind = if is_ipv6 { 128 } else { 8 };
    let identifier = u16::try_from(mark.probe & 0xffff).unwrap_or(0);
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend((mark.kind << 8 | mark.number).to_be_bytes());
    message.extend(mark.padded(length.saturating_sub(ICMP_HEADER)));
    if !is_ipv6 {
        let sum = checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
    }
    message
}

/// The mark of an echo reply, from the ICMP header on.
pub(crate) fn echo_reply(icmp: &[u8], is_ipv6: bool) -> Option<Mark> {
    let kind = if is_ipv6 { 129 } else { 0 };
    (*icmp.first()? == kind).then(|| Mark::read(icmp.get(ICMP_HEADER..)?)).flatten()
}

/// What is in the UDP datagram of a VXLAN packet: a frame with a datagram for nobody in it, `length` bytes in all.
///
/// The frame comes from the tunnel's own station, as others do, so that who learns from frames learns nothing new.
pub(crate) fn vxlan(mark: Mark, vni: u32, station: Mac, length: usize) -> Vec<u8> {
    // A locally administered address that no station has.
    const NOBODY: Mac = Mac([0x02, 0x68, 0x6f, 0x70, 0, 0]);
    let inner = mark.padded(length.saturating_sub(VXLAN_HEADERS));
    let udp_length = u16::try_from(UDP_HEADER + inner.len()).unwrap_or(u16::MAX);
    let ip_length = udp_length.saturating_add(20);
    let mut all = vec![0x08, 0, 0, 0];
    all.extend((vni << 8).to_be_bytes());
    all.extend(NOBODY.0);
    all.extend(station.0);
    all.extend([0x08, 0x00]);
    // 192.0.2.0/24 is for documentation (RFC 5737): nobody has these addresses.
    let mut ip = vec![0x45, 0];
    ip.extend(ip_length.to_be_bytes());
    ip.extend([0, 0, 0, 0, 1, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    all.extend(ip);
    for word in [DISCARD, DISCARD, udp_length, 0] {
        all.extend(word.to_be_bytes());
    }
    all.extend(inner);
    all
}

/// What a packet is that may be ours, from its IP or ARP header on.
pub(crate) fn sighted(packet: &[u8]) -> Option<Sighted> {
    let (protocol, payload) = match packet.first()? >> 4 {
        // ARP for IPv4 over Ethernet (RFC 826): a request.
        0 if packet.starts_with(&[0, 1, 8, 0, 6, 4, 0, 1]) => {
            let address = packet.get(24..)?.first_chunk::<4>()?;
            return Some(Sighted::Neighbour { asked_for: (*address).into() });
        }
        4 => (*packet.get(9)?, packet.get(usize::from(packet.first()? & 0xf) * 4..)?),
        // Our packets have no extension headers.
        6 => (*packet.get(6)?, packet.get(40..)?),
        _ => return None,
    };
    match protocol {
        // TCP: SYN alone (RFC 9293).
        6 if payload.get(13)? & 0x3f == 0x02 => {
            Some(Sighted::Syn { source_port: u16::from_be_bytes([*payload.first()?, *payload.get(1)?]) })
        }
        17 => {
            let data = payload.get(UDP_HEADER..)?;
            let mark = Mark::read(data).or_else(|| Mark::read(data.get(VXLAN_HEADERS..)?));
            mark.map(Sighted::Marked)
        }
        // A Neighbor Solicitation (RFC 4861, section 4.3).
        58 if *payload.first()? == 135 => {
            let address = payload.get(8..)?.first_chunk::<16>()?;
            Some(Sighted::Neighbour { asked_for: (*address).into() })
        }
        1 | 58 => Mark::read(payload.get(ICMP_HEADER..)?).map(Sighted::Marked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: Mark = Mark { probe: 0x0123_4567_89ab_cdef, kind: 3, number: 4 };

    fn in_ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet.extend(payload);
        packet
    }

    #[test]
    fn packets_of_ours_are_known_again() {
        let echo = echo_request(MARK, false, 100);
        assert_eq!((echo.len(), checksum(&echo)), (100, 0));
        assert_eq!(sighted(&in_ipv4(1, &echo)), Some(Sighted::Marked(MARK)));
        let tunnel = vxlan(MARK, 1, Mac([2, 0, 0, 0, 0, 1]), 200);
        assert_eq!(tunnel.len(), 200);
        assert_eq!(&tunnel[4..8], [0, 0, 1, 0], "the network identifier");
        assert_eq!(checksum(&tunnel[22..42]), 0, "the inner IP header");
        let udp = [&[0; UDP_HEADER][..], &tunnel].concat();
        assert_eq!(sighted(&in_ipv4(17, &udp)), Some(Sighted::Marked(MARK)));
        let plain = [&[0; UDP_HEADER][..], &MARK.bytes()].concat();
        assert_eq!(sighted(&in_ipv4(17, &plain)), Some(Sighted::Marked(MARK)));
    }

    #[test]
    fn the_first_packet_of_a_connection_is_known_by_its_port() {
        let mut tcp = [0; 20];
        tcp[..2].copy_from_slice(&40000u16.to_be_bytes());
        tcp[13] = 0x02;
        assert_eq!(sighted(&in_ipv4(6, &tcp)), Some(Sighted::Syn { source_port: 40000 }));
        tcp[13] = 0x12;
        assert_eq!(sighted(&in_ipv4(6, &tcp)), None, "an answer");
    }

    #[test]
    fn questions_for_neighbours_are_known_by_whom_they_ask_for() {
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
        arp.extend([2, 0, 0, 0, 0, 1, 10, 0, 0, 1]);
        arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        let asked_for = Some(Sighted::Neighbour { asked_for: "10.0.0.2".parse().unwrap() });
        assert_eq!(sighted(&arp), asked_for);
        arp[7] = 2;
        assert_eq!(sighted(&arp), None, "an answer");
    }

    #[test]
    fn a_reply_is_known_and_a_request_is_none() {
        let mut reply = echo_request(MARK, true, 64);
        assert_eq!(echo_reply(&reply, true), None);
        reply[0] = 129;
        assert_eq!(echo_reply(&reply, true), Some(MARK));
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = (sighted(&packet), echo_reply(&packet, false), echo_reply(&packet, true));
        }

        #[test]
        fn a_mark_is_read_back(probe: u64, kind: u16, number: u16, rest in proptest::collection::vec(any::<u8>(), 0..9)) {
            let mark = Mark { probe, kind, number };
            prop_assert_eq!(Mark::read(&[mark.bytes().as_slice(), &rest].concat()), Some(mark));
        }
    }
}
