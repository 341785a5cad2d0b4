//! ICMP echo requests that say which probe they are.

use std::net::{IpAddr, Ipv4Addr};

use hopwise_sys::packet::checksum;

/// Which probe an echo request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The run of probes.
    pub(crate) run: u64,
    /// The probe's number in its run.
    pub(crate) probe: u32,
}

/// What the data of a marked echo request begins with.
const MAGIC: &[u8; 8] = b"hopwise\x01";
/// Type, code, checksum, identifier, sequence number.
pub(crate) const ICMP_HEADER: usize = 8;
/// The least that a marked request takes, with its ICMP header.
pub(crate) const LEAST: usize = ICMP_HEADER + MAGIC.len() + 8 + 4;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

impl Mark {
    /// An identifier that no probe between the same two had in a run before: the kernel would take the request for a
    /// part of that one's connection.
    pub(super) fn identifier(self, is_full: bool) -> u16 {
        u16::try_from((self.run * 2 + u64::from(is_full)) & 0xffff).unwrap_or_default()
    }

    /// The ICMP message of a request of `length` bytes, at least [`LEAST`]. For IPv6 the kernel adds the checksum.
    pub(crate) fn request(self, is_v6: bool, identifier: u16, length: usize) -> Vec<u8> {
        let mut message = vec![if is_v6 { ECHO_REQUEST_V6 } else { ECHO_REQUEST_V4 }, 0, 0, 0];
        message.extend(identifier.to_be_bytes());
        message.extend([0, 1]);
        message.extend(MAGIC);
        message.extend(self.run.to_be_bytes());
        message.extend(self.probe.to_be_bytes());
        message.resize(length.max(LEAST), 0x5a);
        if !is_v6 {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    fn of_data(data: &[u8]) -> Option<Self> {
        let rest = data.strip_prefix(MAGIC)?;
        Some(Self {
            run: u64::from_be_bytes(rest.get(..8)?.try_into().ok()?),
            probe: u32::from_be_bytes(rest.get(8..12)?.try_into().ok()?),
        })
    }

    /// The mark of a request that an ICMP error quotes.
    pub(crate) fn of_quoted(message: &[u8]) -> Option<Self> {
        Self::of_data(message.get(ICMP_HEADER..)?)
    }

    /// The mark of a reply, from a raw IPv4 socket (with IP header) or a raw IPv6 socket (without).
    pub(crate) fn of_reply(packet: &[u8], is_v6: bool) -> Option<Self> {
        if is_v6 {
            message(packet, ECHO_REPLY_V6)
        } else {
            message(without_ip_header(packet)?, ECHO_REPLY_V4)
        }
    }
}

/// The mark and the source of an echo request, from a raw IPv4 socket, which shows the IP header too.
pub(crate) fn parse_v4(packet: &[u8]) -> Option<(Mark, IpAddr)> {
    let mark = message(without_ip_header(packet)?, ECHO_REQUEST_V4)?;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    Some((mark, Ipv4Addr::from(source).into()))
}

/// The mark of an echo request, from a raw IPv6 socket.
pub(crate) fn parse_v6(packet: &[u8]) -> Option<Mark> {
    message(packet, ECHO_REQUEST_V6)
}

fn message(icmp: &[u8], kind: u8) -> Option<Mark> {
    (*icmp.first()? == kind).then(|| icmp.get(ICMP_HEADER..)).flatten().and_then(Mark::of_data)
}

fn without_ip_header(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0xf) * 4..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARK: Mark = Mark { run: 0x0123_4567_89ab_cdef, probe: 42 };

    fn with_ip_header(icmp: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 10, 244, 1, 2, 10, 244, 2, 3];
        packet.extend(icmp);
        packet
    }

    #[test]
    fn a_request_is_known_by_its_mark() {
        let request = MARK.request(false, 7, 100);
        assert_eq!(request.len(), 100);
        assert_eq!(checksum(&request), 0, "a message with its checksum sums up to nothing");
        assert_eq!(parse_v4(&with_ip_header(&request)), Some((MARK, "10.244.1.2".parse().unwrap())));
        assert_eq!(parse_v6(&MARK.request(true, 7, 0)), Some(MARK));
    }

    #[test]
    fn a_reply_is_no_request() {
        let mut reply = MARK.request(false, 7, 64);
        reply[0] = ECHO_REPLY_V4;
        assert_eq!(parse_v4(&with_ip_header(&reply)), None);
        assert_eq!(Mark::of_reply(&with_ip_header(&reply), false), Some(MARK));
    }

    proptest! {
        #[test]
        fn no_packet_panics(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (parse_v4(&packet), parse_v6(&packet), Mark::of_reply(&packet, true), Mark::of_reply(&packet, false));
        }
    }
}
