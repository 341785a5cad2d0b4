//! Seeing packets go by: packet sockets with a filter.
//!
//! packet(7). A packet that comes in is seen before the node's own filters, rules and sockets see it; one that goes out
//! is seen behind them, as the interface's driver gets it (`ptype_all`, `dev_queue_xmit_nit`, net/core/dev.c, Linux 6.1).

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// All IP packets between two addresses that the calling thread's network namespace takes in and puts out, and all that
/// asks for a neighbour: ARP (RFC 826) and Neighbor Solicitations (RFC 4861).
#[derive(Debug)]
pub struct PacketWatch {
    socket: OwnedFd,
}

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// An interface took it in.
    In,
    /// An interface puts it out.
    Out,
}

impl PacketWatch {
    /// Watches for packets from `source` to `destination`.
    ///
    /// Fails with `EPERM` without `CAP_NET_RAW`, and with `EINVAL` for addresses of two families.
    pub fn new(source: IpAddr, destination: IpAddr) -> io::Result<Self> {
        let filter = filter(source, destination).ok_or(io::ErrorKind::InvalidInput)?;
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // Protocol 0: nothing is taken before the filter is there.
        // SAFETY: no pointer is given.
        let socket = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given this descriptor, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(io::Error::other)?,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the program and its instructions outlive the call, which only reads them; the length is given.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                length_of(&program),
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: all bytes zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
        // What goes out is shown to sockets of all protocols alone.
        address.sll_protocol = u16::try_from(libc::ETH_P_ALL).map_err(io::Error::other)?.to_be();
        // SAFETY: the address outlives the call and its length is given.
        let result =
            unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length_of(&address)) };
        if result == 0 { Ok(Self { socket }) } else { Err(io::Error::last_os_error()) }
    }

    /// The next packet from its IP or ARP header on, with its length; `None` when there is none. Does not wait.
    pub fn next(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, Direction)>> {
        // SAFETY: all bytes zero is a valid `sockaddr_ll`.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = length_of(&address);
        // SAFETY: buffer and address outlive the call, and their lengths are given.
        let received = unsafe {
            libc::recvfrom(
                self.socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut address).cast(),
                &raw mut length,
            )
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) };
        };
        let is_out = address.sll_pkttype == libc::PACKET_OUTGOING;
        Ok(Some((received, if is_out { Direction::Out } else { Direction::In })))
    }
}

impl AsFd for PacketWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The checksum of the internet protocols (RFC 1071).
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|it| u32::from(it[0]) << 8 | u32::from(*it.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or(u16::MAX)
}

/// The length of one of the kernel's own structures: a few bytes.
fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or(libc::socklen_t::MAX)
}

/// A program that takes IP packets between two addresses of one family, and what asks for neighbours; the packet begins
/// with its IP or ARP header.
fn filter(source: IpAddr, destination: IpAddr) -> Option<Vec<libc::sock_filter>> {
    // include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h.
    const LOAD_BYTE: u16 = 0x30;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_WORD: u16 = 0x20;
    const AND: u16 = 0x54;
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// `SKF_AD_OFF + SKF_AD_PROTOCOL`: the protocol behind the Ethernet header.
    const ETHERTYPE: u32 = 0xffff_f000;
    const ARP: u32 = 0x0806;
    let tell = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let jump = |k, jt, jf| libc::sock_filter { code: JUMP_EQUAL, jt, jf, k };
    let take = tell(RETURN, 0xffff);
    let mut program = vec![tell(LOAD_HALF, ETHERTYPE), jump(ARP, 0, 1), take];
    let (version, words): (u32, Vec<(u32, u32)>) = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (0x40, vec![(12, source.to_bits()), (16, destination.to_bits())])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let bytes = [source.octets(), destination.octets()].concat();
            let words = bytes.chunks_exact(4).map(|it| u32::from_be_bytes([it[0], it[1], it[2], it[3]]));
            (0x60, (0..).step_by(4).map(|it| it + 8).zip(words).collect())
        }
        _ => return None,
    };
    let is_ipv6 = version == 0x60;
    let n_words = u8::try_from(words.len()).ok()?;
    // To the last instruction, over two for each word and the one that takes the packet, and over the five for ICMPv6.
    let n_solicitation = if is_ipv6 { 5 } else { 0 };
    program.extend([tell(LOAD_BYTE, 0), tell(AND, 0xf0), jump(version, 0, n_solicitation + 2 * n_words + 1)]);
    if is_ipv6 {
        // The next header is ICMPv6, and its type that of a Neighbor Solicitation.
        program.extend([tell(LOAD_BYTE, 6), jump(58, 0, 3), tell(LOAD_BYTE, 40), jump(135, 0, 1), take]);
    }
    for (left, (offset, value)) in (0..n_words).rev().zip(words) {
        program.extend([tell(LOAD_WORD, offset), jump(value, 0, 2 * left + 1)]);
    }
    program.extend([take, tell(RETURN, 0)]);
    Some(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn takes(program: &[libc::sock_filter], ethertype: u32, packet: &[u8]) -> bool {
        let (mut at, mut value) = (0, 0);
        loop {
            let it = program[at];
            at += 1;
            let offset = it.k as usize;
            match it.code {
                0x28 => value = ethertype,
                0x30 => value = u32::from(packet[offset]),
                0x20 => value = u32::from_be_bytes(packet[offset..offset + 4].try_into().unwrap()),
                0x54 => value &= it.k,
                0x15 => at += usize::from(if value == it.k { it.jt } else { it.jf }),
                0x06 => return it.k != 0,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn a_filter_takes_what_goes_from_one_address_to_the_other() {
        for (source, destination) in
            [("192.168.50.11", "192.168.50.12"), ("fd00::1:2:3:11", "fd00::1:2:3:12")]
        {
            let (source, destination): (IpAddr, IpAddr) =
                (source.parse().unwrap(), destination.parse().unwrap());
            let ethertype = if source.is_ipv6() { 0x86dd } else { 0x0800 };
            let packet = |source: IpAddr, destination: IpAddr| match (source, destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    [vec![0x45; 12], source.octets().to_vec(), destination.octets().to_vec()].concat()
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    let head = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
                    [head, source.octets().to_vec(), destination.octets().to_vec(), vec![0; 8]].concat()
                }
                _ => unreachable!(),
            };
            let program = filter(source, destination).unwrap();
            assert!(takes(&program, ethertype, &packet(source, destination)));
            assert!(!takes(&program, ethertype, &packet(destination, source)));
            assert!(!takes(&program, ethertype, &packet(source, source)));
            let mut other = packet(source, destination);
            other[0] ^= 0x20;
            assert!(!takes(&program, ethertype, &other), "another version of IP");
            assert!(takes(&program, 0x0806, &[0, 1, 8, 0]), "ARP");
            if source.is_ipv6() {
                let mut solicitation = packet(source, source);
                solicitation[6] = 58;
                assert!(!takes(&program, ethertype, &solicitation), "ICMPv6 of another type");
                solicitation[40] = 135;
                assert!(takes(&program, ethertype, &solicitation));
            }
        }
        assert!(filter("::1".parse().unwrap(), "127.0.0.1".parse().unwrap()).is_none());
    }
}
