//! Netlink: ask the kernel for its tables, synchronously and with limits.
//!
//! [`Socket`] carries requests and answers of any netlink protocol. The tables themselves are read by
//! [`Route`], [`Netfilter`], [`SockDiag`] and [`Xfrm`], one type a protocol. Every request here only reads.
//!
//! A socket belongs to the network namespace that it was opened in: open it inside
//! [`crate::NetNs::run`], on the thread that is in the namespace.

mod attribute;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod netfilter;
mod next_hop;
mod route;
mod sock_diag;
mod xfrm;

use std::{
    io,
    ops::Range,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use netlink_packet_core::NetlinkBuffer;
use nix::{
    errno::Errno,
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt::ReceiveTimeout},
        time::{TimeVal, TimeValLike},
    },
};

pub use attribute::{Attribute, attributes};
pub use error::NetlinkError;
pub use netfilter::{Netfilter, NftTable};
/// Decodes and encodes the attributes of [`packet`].
pub use netlink_packet_core::{Nla, Parseable};
/// The messages of [`Route`].
pub use netlink_packet_route as packet;
pub use next_hop::NextHop;
pub use route::{Route, TrafficControl};
pub use sock_diag::{DiagProtocol, DiagSocket, SockDiag};
pub use xfrm::{Xfrm, XfrmDirection, XfrmPolicy};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

/// The kernel fills at most 32 KiB a datagram of a dump (`netlink_dump`, `net/netlink/af_netlink.c`).
const DATAGRAM: usize = 64 * 1024;

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// `AF_INET` or `AF_INET6` of `include/linux/socket.h`.
    fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }
}

/// How much a request may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest that one table may take.
    pub timeout: Duration,
    /// The most bytes that one table may have on the wire.
    pub bytes: usize,
    /// How often a table is read that changes while it is being read.
    pub attempts: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), bytes: 256 << 20, attempts: 8 }
    }
}

/// A netlink socket to the kernel.
#[derive(Debug)]
pub struct Socket {
    inner: netlink_sys::Socket,
    sequence: u32,
    limits: Limits,
    datagram: Vec<u8>,
}

/// The answers to one request, in the kernel's order.
#[derive(Clone, Debug, Default)]
pub struct Replies {
    bytes: Vec<u8>,
    messages: Vec<(u16, Range<usize>)>,
}

impl Replies {
    /// Type and body of each message.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.messages.iter().map(|(kind, range)| (*kind, &self.bytes[range.clone()]))
    }

    fn push(&mut self, kind: u16, body: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(body);
        self.messages.push((kind, start..self.bytes.len()));
    }
}

impl Socket {
    /// A socket of a netlink protocol (`NETLINK_ROUTE`, …) in the calling thread's network namespace.
    ///
    /// Opening a socket of a protocol whose module is not loaded makes the kernel load it
    /// (`netlink_create`, `net/netlink/af_netlink.c`).
    pub fn open(protocol: isize, limits: Limits) -> Result<Self, NetlinkError> {
        let open = || -> io::Result<netlink_sys::Socket> {
            let mut socket = netlink_sys::Socket::new(protocol)?;
            socket.bind_auto()?;
            // A connected socket takes messages from the kernel alone (`netlink_getsockbyportid`).
            socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
            let timeout = TimeVal::milliseconds(limits.timeout.as_millis().try_into().unwrap_or(i64::MAX));
            setsockopt(&socket, ReceiveTimeout, &timeout)?;
            // Exact filters where the kernel knows them (4.20); older ones ignore most of the header.
            let _ = socket.set_netlink_get_strict_chk(true);
            Ok(socket)
        };
        let inner = open().map_err(|source| NetlinkError::Open { protocol, source })?;
        Ok(Self { inner, sequence: 0, limits, datagram: vec![0; DATAGRAM] })
    }

    /// All messages of a table. A table that changed while it was read is read again.
    pub fn dump(&mut self, kind: u16, body: &[u8]) -> Result<Replies, NetlinkError> {
        for _ in 0..self.limits.attempts {
            let (replies, is_consistent) = self.exchange(kind, NLM_F_DUMP, body)?;
            if is_consistent {
                return Ok(replies);
            }
        }
        Err(NetlinkError::Interrupted { attempts: self.limits.attempts })
    }

    /// The answer to a request for one thing.
    pub fn get(&mut self, kind: u16, body: &[u8]) -> Result<Replies, NetlinkError> {
        self.exchange(kind, 0, body).map(|(replies, _)| replies)
    }

    fn exchange(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(Replies, bool), NetlinkError> {
        let deadline = Instant::now() + self.limits.timeout;
        self.sequence = self.sequence.wrapping_add(1);
        self.send(&request(kind, NLM_F_REQUEST | flags, self.sequence, body))?;
        let mut answer = Answer::new(self.sequence, flags == NLM_F_DUMP, self.limits.bytes);
        loop {
            let length = self.receive()?;
            if answer.take(&self.datagram[..length])? {
                return Ok((answer.replies, !answer.is_interrupted));
            }
            if Instant::now() > deadline {
                return Err(NetlinkError::TimedOut { timeout: self.limits.timeout });
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        loop {
            match self.inner.send(bytes, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(NetlinkError::Socket { source }),
            }
        }
    }

    /// Receives one datagram and returns its length.
    fn receive(&mut self) -> Result<usize, NetlinkError> {
        loop {
            return match recv(self.inner.as_raw_fd(), &mut self.datagram, MsgFlags::MSG_TRUNC) {
                Ok(length) if length <= self.datagram.len() => Ok(length),
                Ok(length) => Err(NetlinkError::malformed(format!("a datagram of {length} bytes"))),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Err(NetlinkError::TimedOut { timeout: self.limits.timeout }),
                Err(errno) => Err(NetlinkError::Socket { source: errno.into() }),
            };
        }
    }
}

/// The bytes of one request.
fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    let mut header = NetlinkBuffer::new(&mut bytes);
    header.set_length(u32::try_from(16 + body.len()).expect("requests are small"));
    header.set_message_type(kind);
    header.set_flags(flags);
    header.set_sequence_number(sequence);
    bytes.extend_from_slice(body);
    bytes
}

/// An answer as it comes in.
struct Answer {
    sequence: u32,
    is_dump: bool,
    limit: usize,
    replies: Replies,
    is_interrupted: bool,
}

impl Answer {
    fn new(sequence: u32, is_dump: bool, limit: usize) -> Self {
        Self { sequence, is_dump, limit, replies: Replies::default(), is_interrupted: false }
    }

    /// Takes one datagram. Is the answer complete?
    fn take(&mut self, datagram: &[u8]) -> Result<bool, NetlinkError> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let (message, next) = split(rest)?;
            rest = next;
            // What an earlier request left behind when it gave up.
            if message.sequence_number() != self.sequence {
                continue;
            }
            self.is_interrupted |= message.flags() & NLM_F_DUMP_INTR != 0;
            let body = message.payload();
            match message.message_type() {
                NLMSG_NOOP => {}
                NLMSG_ERROR | NLMSG_DONE => return end(body).map(|()| true),
                NLMSG_OVERRUN => return Err(NetlinkError::malformed("the kernel lost messages")),
                kind => {
                    if self.replies.bytes.len() + body.len() > self.limit {
                        return Err(NetlinkError::TooLarge { limit: self.limit });
                    }
                    self.replies.push(kind, body);
                    if !self.is_dump {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Splits the first message off a datagram.
fn split(datagram: &[u8]) -> Result<(NetlinkBuffer<&[u8]>, &[u8]), NetlinkError> {
    let message = NetlinkBuffer::new_checked(datagram).map_err(NetlinkError::malformed)?;
    let next = (message.length() as usize).next_multiple_of(4).min(datagram.len());
    Ok((message, &datagram[next..]))
}

/// Reads the error number that ends an answer: zero, or negative as the kernel counts.
fn end(body: &[u8]) -> Result<(), NetlinkError> {
    let code = match body.first_chunk::<4>() {
        Some(bytes) => i32::from_ne_bytes(*bytes),
        None => 0,
    };
    match code {
        0 => Ok(()),
        code => Err(NetlinkError::Refused { source: io::Error::from_raw_os_error(code.saturating_neg()) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = request(kind, flags, sequence, body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_dump_ends_at_done_and_leaves_out_other_answers() {
        let mut datagram = message(16, 0, 6, b"stale");
        datagram.extend(message(16, 2, 7, b"one"));
        datagram.extend(message(16, 2, 7, b"second"));
        let mut answer = Answer::new(7, true, 100);
        assert!(!answer.take(&datagram).unwrap());
        assert!(answer.take(&message(NLMSG_DONE, 2, 7, &0i32.to_ne_bytes())).unwrap());
        let bodies: Vec<_> = answer.replies.iter().collect();
        assert_eq!(bodies, [(16, &b"one"[..]), (16, &b"second"[..])]);
        assert!(!answer.is_interrupted);
    }

    #[test]
    fn a_change_during_the_dump_is_noticed_on_any_message() {
        let mut answer = Answer::new(1, true, 100);
        answer.take(&message(24, NLM_F_DUMP_INTR, 1, b"x")).unwrap();
        assert!(answer.is_interrupted);
    }

    #[test]
    fn a_refusal_carries_the_error_number() {
        let body = [&(-1i32).to_ne_bytes()[..], &[0; 16]].concat();
        let error = Answer::new(1, true, 100).take(&message(NLMSG_ERROR, 0, 1, &body)).unwrap_err();
        assert_eq!(error.errno(), Some(1));
        let body = i32::MIN.to_ne_bytes();
        assert!(Answer::new(1, true, 100).take(&message(NLMSG_DONE, 0, 1, &body)).is_err());
    }

    #[test]
    fn a_table_beyond_the_limit_is_given_up() {
        let error = Answer::new(1, true, 3).take(&message(16, 2, 1, b"four")).unwrap_err();
        assert!(matches!(error, NetlinkError::TooLarge { limit: 3 }));
    }

    #[test]
    fn a_single_answer_needs_no_done() {
        assert!(Answer::new(1, false, 100).take(&message(88, 0, 1, b"four")).unwrap());
    }

    #[test]
    fn the_kernel_lists_the_loopback_interface() {
        let mut socket = Socket::open(0, Limits::default()).unwrap();
        let links = socket.dump(18, &[0; 16]).unwrap();
        assert!(links.iter().any(|(kind, body)| kind == 16 && body[4..8] == 1u32.to_ne_bytes()));
        let error = socket.dump(0x3fe, &[0; 16]).unwrap_err();
        assert_eq!(error.errno(), Some(nix::libc::EOPNOTSUPP), "{error:?}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_an_answer_panic(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Answer::new(0, true, 1 << 20).take(&datagram);
        }

        #[test]
        fn a_message_cut_short_is_an_error(cut in 1usize..20) {
            let whole = message(16, 2, 1, b"body");
            let cut = cut.min(whole.len() - 1);
            prop_assert!(Answer::new(1, true, 100).take(&whole[..whole.len() - cut]).is_err());
        }
    }
}
