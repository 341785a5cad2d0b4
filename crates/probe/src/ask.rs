//! Asking: packets are sent, and answers are waited for.

pub(crate) mod udp;

use std::{
    collections::BTreeSet,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, BorrowedFd},
    thread,
    time::Instant,
};

use hopwise_snapshot::{Answers, Message, Question};
use hopwise_sys::socket::{keep_errors, probe_path, take_error};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    N_PACKETS, PACE, PATIENCE,
    wire::{self, ICMP_HEADER, MARK_LENGTH, Mark},
};

/// Asks from the calling thread's network namespace.
pub(crate) fn ask(question: &Question) -> io::Result<Answers> {
    match &question.message {
        Message::Echo { size } => echo(question.to, *size),
        Message::Tcp { port } => tcp(SocketAddr::new(question.to, *port)),
        Message::Udp { port } => udp::anything(SocketAddr::new(question.to, *port), probe_number()?),
        Message::Name { name, port } => udp::name(SocketAddr::new(question.to, *port), name),
    }
}

/// A number that no other probe has.
pub(crate) fn probe_number() -> io::Result<u64> {
    getrandom::u64().map_err(io::Error::other)
}

/// A raw socket for echo requests to one address.
pub(crate) fn echo_socket(to: IpAddr) -> io::Result<Socket> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Waits until a descriptor has something to read or an error, or until a time.
pub(crate) fn wait_until(descriptors: &[BorrowedFd<'_>], flags: PollFlags, limit: Instant) -> io::Result<()> {
    let left = limit.saturating_duration_since(Instant::now());
    let mut all: Vec<PollFd<'_>> = descriptors.iter().map(|it| PollFd::new(*it, flags)).collect();
    // A millisecond more than is left, so that nobody spins through the last one.
    let timeout = PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut all, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn echo(to: IpAddr, size: Option<u32>) -> io::Result<Answers> {
    let is_ipv6 = to.is_ipv6();
    let socket = echo_socket(to)?;
    keep_errors(&socket, is_ipv6)?;
    let ip_header = if is_ipv6 { 40 } else { 20 };
    let length = match size {
        Some(size) => {
            probe_path(&socket, is_ipv6)?;
            usize::try_from(size).map_err(io::Error::other)?.saturating_sub(ip_header)
        }
        None => ICMP_HEADER + MARK_LENGTH,
    };
    let probe = probe_number()?;
    let mut answers = Answers::default();
    if let Err(error) = socket.connect(&SocketAddr::new(to, 0).into()) {
        return refused_by_kernel(error).map(|()| Answers { n_sent: 1, n_refused: 1, ..answers });
    }
    let mut answered = BTreeSet::new();
    let start = Instant::now();
    for number in 0..N_PACKETS {
        let mark = Mark { probe, kind: 0, number };
        answers.n_sent += 1;
        match socket.send(&wire::echo_request(mark, is_ipv6, length)) {
            Ok(_) => {}
            Err(error) => {
                refused_by_kernel(error)?;
                answers.n_refused += 1;
            }
        }
        let next = start + PACE * u32::from(number + 1);
        take_replies(&socket, probe, is_ipv6, &mut answered, &mut answers.n_refused, next, |_| false)?;
    }
    let all = usize::from(N_PACKETS);
    let limit = Instant::now() + PATIENCE;
    take_replies(&socket, probe, is_ipv6, &mut answered, &mut answers.n_refused, limit, |n| n >= all)?;
    answers.n_answered = u32::try_from(answered.len()).unwrap_or(u32::MAX);
    Ok(answers)
}

/// Takes replies until a time, or until `is_enough` of how many have an answer or a refusal.
fn take_replies(
    socket: &Socket,
    probe: u64,
    is_ipv6: bool,
    answered: &mut BTreeSet<u16>,
    n_refused: &mut u32,
    limit: Instant,
    is_enough: impl Fn(usize) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n_refusals = usize::try_from(*n_refused).unwrap_or(usize::MAX);
        if is_enough(answered.len() + n_refusals) || Instant::now() >= limit {
            return Ok(());
        }
        // Errors wake a poll without being asked for.
        wait_until(&[socket.as_fd()], PollFlags::POLLIN, limit)?;
        while let Some(error) = take_error(socket)? {
            // A raw socket gets the errors of all requests to its peer.
            let mark = error.packet.get(ICMP_HEADER..).and_then(Mark::read);
            *n_refused += u32::from(mark.is_some_and(|it| it.probe == probe));
        }
        loop {
            match (&*socket).read(&mut buffer) {
                Ok(length) => {
                    let ip_header = if is_ipv6 { 0 } else { usize::from(buffer[0] & 0xf) * 4 };
                    let icmp = buffer.get(ip_header..length).unwrap_or_default();
                    if let Some(mark) = wire::echo_reply(icmp, is_ipv6).filter(|it| it.probe == probe) {
                        answered.insert(mark.number);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // ICMP's word about a packet, which the queue of errors has as well.
                Err(error) => {
                    refused_by_kernel(error)?;
                    break;
                }
            }
        }
    }
}

/// Was it the network that refused, and not the system?
fn refused_by_kernel(error: io::Error) -> io::Result<()> {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, ConnectionReset, HostUnreachable, NetworkDown,
        NetworkUnreachable, PermissionDenied,
    };
    // The one that has no kind of its own.
    let is_too_long = error.raw_os_error() == Some(Errno::EMSGSIZE as i32);
    match error.kind() {
        AddrNotAvailable | ConnectionRefused | ConnectionReset | HostUnreachable | NetworkDown
        | NetworkUnreachable | PermissionDenied => Ok(()),
        _ if is_too_long => Ok(()),
        _ => Err(error),
    }
}

fn tcp(to: SocketAddr) -> io::Result<Answers> {
    let mut answers = Answers::default();
    let mut open = Vec::new();
    for _ in 0..N_PACKETS {
        answers.n_sent += 1;
        match begin_tcp(to) {
            Ok(socket) => open.push(socket),
            Err(error) => {
                refused_by_kernel(error)?;
                answers.n_refused += 1;
            }
        }
        thread::sleep(PACE);
    }
    // The kernel sends a second time after one second (`TCP_TIMEOUT_INIT`): that is still waited for.
    let limit = Instant::now() + PATIENCE * 2;
    while !open.is_empty() && Instant::now() < limit {
        let descriptors: Vec<_> = open.iter().map(AsFd::as_fd).collect();
        wait_until(&descriptors, PollFlags::POLLOUT, limit)?;
        let mut waiting = Vec::new();
        for socket in open {
            if let Some(error) = socket.take_error()? {
                refused_by_kernel(error)?;
                answers.n_refused += 1;
            } else if socket.peer_addr().is_ok() {
                answers.n_answered += 1;
            } else {
                waiting.push(socket);
            }
        }
        open = waiting;
    }
    Ok(answers)
}

/// Begins a TCP connection and does not wait for it.
fn begin_tcp(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(socket),
    }
}
