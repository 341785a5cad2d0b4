//! Asking: one question, its answer or the reason why there was none.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::Duration,
};

use hopwise_sys::socket::{
    PacketError, choose_port_from, forbid_fragments, interface_mtu, interface_of, keep_errors, take_error,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

use super::{
    ProbeError,
    dns_question::{is_answer, read_who, who},
    echo_request::{LEAST, Mark},
    plan::{By, Question},
    resolver::resolve,
};
use crate::member::Answer;

/// How long an answer may take before the question is sent again.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a question is sent: silence may be a packet lost in the crowd of probes.
///
/// Always from the same port, so that a Service gives it to the same endpoint. For TCP the kernel itself does so, one
/// second after the first try (`TCP_TIMEOUT_INIT`).
const N_TIMES: u32 = 3;

/// The ports from which a run of probes asks Services, and those from which it asks directly.
///
/// Each run has its own: what a fault has left half open in servers and in connection tracking would be met again by
/// a connection from the same port, and its answer dropped as invalid. Services and others are apart, as two
/// connections of one source could become alike once one of them is translated.
fn ports(run: u64, by: By) -> (u16, u16) {
    const FIRST: u16 = 32768;
    const N_A_RUN: u16 = 256;
    const N_RUNS: u16 = 55;
    let first_of_kind = if by == By::Service { FIRST } else { FIRST + N_RUNS * N_A_RUN };
    let slot = u16::try_from(run % u64::from(N_RUNS)).unwrap_or(0);
    let first = first_of_kind + slot * N_A_RUN;
    (first, first + N_A_RUN - 1)
}

/// What came of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) answered_by: Option<String>,
    pub(super) source_seen: Option<IpAddr>,
    pub(super) error: Option<ProbeError>,
    pub(super) size: Option<u32>,
    pub(super) addresses: Vec<IpAddr>,
    /// Where it is known only when asking.
    pub(super) family: Option<u8>,
}

impl Outcome {
    pub(super) fn failed(error: ProbeError) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    fn answered(answer: Answer) -> Self {
        Self { answered_by: Some(answer.answered_by), source_seen: Some(answer.source), ..Self::default() }
    }
}

/// Asks from the calling thread's network namespace.
pub(super) async fn ask(question: &Question, mark: Mark) -> Outcome {
    let asked = match question {
        Question::Tcp(to, by) => within(tcp(*to, ports(mark.run, *by))).await,
        Question::DnsTcp(to, by) => within(dns_tcp(*to, ports(mark.run, *by))).await,
        Question::Udp(to, by) => udp(*to, ports(mark.run, *by)).await,
        Question::DnsUdp(to, by) => dns_udp(*to, ports(mark.run, *by)).await,
        Question::Echo { to, is_full } => return echo(*to, *is_full, mark).await,
        Question::Name { name, resolv_conf } => {
            return resolve(name, resolv_conf, ports(mark.run, By::Service)).await;
        }
    };
    asked.unwrap_or_else(Outcome::failed)
}

async fn within(asked: impl Future<Output = Result<Outcome, ProbeError>>) -> Result<Outcome, ProbeError> {
    timeout(PATIENCE * N_TIMES, asked).await.unwrap_or(Err(ProbeError::Timeout))
}

/// Sends a message, and again when nothing came; takes the first for which `read` gives something.
async fn exchange<T>(
    socket: &UdpSocket,
    message: &[u8],
    is_ours: impl Fn(&[u8]) -> bool,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, ProbeError> {
    let mut buffer = vec![0; 64 << 10];
    for _ in 0..N_TIMES {
        send(socket, message).await?;
        let answer = async {
            loop {
                let length = receive(socket, &mut buffer, &is_ours).await?;
                if let Some(answer) = read(&buffer[..length]) {
                    return Ok(answer);
                }
            }
        };
        if let Ok(answer) = timeout(PATIENCE, answer).await {
            return answer;
        }
    }
    Err(ProbeError::Timeout)
}

async fn tcp(to: SocketAddr, ports: (u16, u16)) -> Result<Outcome, ProbeError> {
    let mut stream = connected_tcp(to, ports).await?;
    let asked = async {
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        io::Result::Ok(text)
    };
    let text = asked.await.map_err(|error| error_of(&error, &stream))?;
    let line = text.rsplit("\r\n\r\n").next().unwrap_or_default();
    // Something that does not say who it is has answered all the same.
    Ok(serde_json::from_str(line).map_or_else(|_| Outcome::default(), Outcome::answered))
}

async fn dns_tcp(to: SocketAddr, ports: (u16, u16)) -> Result<Outcome, ProbeError> {
    let mut stream = connected_tcp(to, ports).await?;
    let question = who();
    let asked = async {
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), question.as_slice()].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = asked.await.map_err(|error| error_of(&error, &stream))?;
    let (answered_by, source_seen) = read_who(&answer);
    Ok(Outcome { answered_by, source_seen, ..Outcome::default() })
}

async fn connected_tcp(to: SocketAddr, ports: (u16, u16)) -> Result<TcpStream, ProbeError> {
    let made = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        prepare(&socket, to, ports)?;
        // A second handle: the queue of errors is to be read when connecting has failed and the first is gone.
        io::Result::Ok((TcpSocket::from_std_stream(socket.try_clone()?.into()), socket))
    };
    let (first, second) = made().map_err(|error| plain_error(&error))?;
    first.connect(to).await.map_err(|error| error_of(&error, &second))
}

async fn udp(to: SocketAddr, ports: (u16, u16)) -> Result<Outcome, ProbeError> {
    let socket = connected_udp(to, ports).map_err(|error| plain_error(&error))?;
    // Something that does not say who it is has answered all the same.
    let read =
        |it: &[u8]| Some(serde_json::from_slice(it).map_or_else(|_| Outcome::default(), Outcome::answered));
    exchange(&socket, b"?\n", |_| true, read).await
}

async fn dns_udp(to: SocketAddr, ports: (u16, u16)) -> Result<Outcome, ProbeError> {
    let socket = connected_udp(to, ports).map_err(|error| plain_error(&error))?;
    let question = who();
    let read = |it: &[u8]| is_answer(it, &question).then(|| read_who(it));
    let (answered_by, source_seen) = exchange(&socket, &question, |_| true, read).await?;
    Ok(Outcome { answered_by, source_seen, ..Outcome::default() })
}

/// Sends a message by a connected socket.
pub(super) async fn send(socket: &UdpSocket, message: &[u8]) -> Result<(), ProbeError> {
    socket.send(message).await.map(drop).map_err(|error| error_of(&error, socket))
}

/// A UDP socket that takes datagrams from `to` alone, and keeps ICMP's errors.
pub(super) fn connected_udp(to: SocketAddr, ports: (u16, u16)) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    prepare(&socket, to, ports)?;
    socket.connect(&to.into())?;
    UdpSocket::from_std(socket.into())
}

fn prepare(socket: &Socket, to: SocketAddr, (first, last): (u16, u16)) -> io::Result<()> {
    // An older kernel chooses from all.
    drop(choose_port_from(socket, first, last));
    socket.set_nonblocking(true)?;
    keep_errors(socket, to.is_ipv6())
}

async fn echo(to: IpAddr, is_full: bool, mark: Mark) -> Outcome {
    let mut size = None;
    let asked = async {
        let (socket, length) = echo_socket(to, is_full, &mut size).map_err(|error| plain_error(&error))?;
        let read = |it: &[u8]| (Mark::of_reply(it, to.is_ipv6()) == Some(mark)).then_some(());
        // A raw socket gets the errors of all requests to its peer.
        let is_ours = |quoted: &[u8]| Mark::of_quoted(quoted).is_none_or(|it| it == mark);
        let identifier = mark.identifier(is_full);
        exchange(&socket, &mark.request(to.is_ipv6(), identifier, length), is_ours, read).await
    };
    let outcome = match asked.await {
        Ok(()) => Outcome::default(),
        Err(error) => Outcome::failed(error),
    };
    Outcome { size, ..outcome }
}

/// Takes the next message, or the error that ICMP brought: that alone does not make a socket readable.
///
/// Errors about packets of which `is_ours` says no are none.
pub(super) async fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    is_ours: impl Fn(&[u8]) -> bool,
) -> Result<usize, ProbeError> {
    loop {
        let ready = socket.ready(Interest::READABLE | Interest::ERROR).await;
        let is_error = ready.map_err(|error| plain_error(&error))?.is_error();
        if is_error {
            match take_error(socket).ok().flatten() {
                Some(told) if is_ours(&told.packet) => return Err(classify(None, Some(&told))),
                Some(_) => continue,
                None => {}
            }
            if let Some(error) = socket.take_error().ok().flatten() {
                return Err(plain_error(&error));
            }
        }
        match socket.try_recv(buffer) {
            // The runtime remembers an error that was taken before; it must not spin on it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_error => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The error of another's packet, which came between: its place in the queue is looked at next.
            Err(_) if has_strange_error(socket, &is_ours) => {}
            received => return received.map_err(|error| error_of(&error, socket)),
        }
    }
}

/// Takes the next error from the queue, where it is about a packet that is not ours.
fn has_strange_error(socket: &UdpSocket, is_ours: impl Fn(&[u8]) -> bool) -> bool {
    take_error(socket).ok().flatten().is_some_and(|it| !is_ours(&it.packet))
}

/// A raw socket for echo requests to one address, and the length of the ICMP message to send by it.
///
/// `size` becomes the total length of the packet where it is to be as large as can be.
fn echo_socket(to: IpAddr, is_full: bool, size: &mut Option<u32>) -> io::Result<(UdpSocket, usize)> {
    let (domain, protocol, ip_header) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 20),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 40),
    };
    let at = SocketAddr::new(to, 0);
    if is_full {
        *size = mtu_towards(at)?;
    }
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    keep_errors(&socket, to.is_ipv6())?;
    socket.connect(&at.into())?;
    let length = match *size {
        Some(size) => {
            forbid_fragments(&socket, to.is_ipv6())?;
            usize::try_from(size).map_err(io::Error::other)?.saturating_sub(ip_header)
        }
        None => LEAST,
    };
    // What the runtime can do with a datagram socket it can do with a raw one.
    Ok((UdpSocket::from_std(socket.into())?, length))
}

/// The MTU of the interface whose address the kernel takes as the source towards `to`.
fn mtu_towards(to: SocketAddr) -> io::Result<Option<u32>> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.connect(&SocketAddr::new(to.ip(), 9).into())?;
    let local = socket.local_addr()?.as_socket();
    let Some(interface) = local.map(|it| interface_of(it.ip())).transpose()?.flatten() else {
        return Ok(None);
    };
    // Of an address of one's own the kernel takes loopback's MTU; that of the interface is what matters.
    interface_mtu(&interface).map(Some)
}

/// Why a system call failed: with what ICMP said about the socket's packets, where it said something.
fn error_of(error: &io::Error, socket: &impl AsFd) -> ProbeError {
    classify(error.raw_os_error(), take_error(socket).ok().flatten().as_ref())
}

/// Why a system call failed, by its error number alone.
pub(super) fn plain_error(error: &io::Error) -> ProbeError {
    classify(error.raw_os_error(), None)
}

fn classify(errno: Option<i32>, told: Option<&PacketError>) -> ProbeError {
    if let Some(PacketError { icmp: Some((kind, code)), .. }) = told {
        // ICMP (RFC 792, RFC 1812): net, host, communication administratively prohibited. ICMPv6 (RFC 4443):
        // prohibited, source address failed policy, reject route.
        match (*kind, *code) {
            (3, 9 | 10 | 13) | (1, 1 | 5 | 6) => return ProbeError::Prohibited,
            (3, 3) | (1, 4) => return ProbeError::Refused,
            (1..=3, _) => return ProbeError::Unreachable,
            _ => {}
        }
    }
    match told.map(|it| it.errno).or(errno) {
        // Without a number: a connection that was closed before it said anything.
        None | Some(libc_errno::ECONNREFUSED | libc_errno::ECONNRESET | libc_errno::EPIPE) => {
            ProbeError::Refused
        }
        Some(libc_errno::EACCES | libc_errno::EPERM) => ProbeError::Prohibited,
        Some(libc_errno::ETIMEDOUT) => ProbeError::Timeout,
        Some(_) => ProbeError::Unreachable,
    }
}

/// Numbers of errors on Linux (`include/uapi/asm-generic/errno.h`).
mod libc_errno {
    pub(super) const EPERM: i32 = 1;
    pub(super) const EACCES: i32 = 13;
    pub(super) const EPIPE: i32 = 32;
    pub(super) const ECONNRESET: i32 = 104;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const ECONNREFUSED: i32 = 111;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(icmp: (u8, u8), errno: i32) -> PacketError {
        PacketError { errno, icmp: Some(icmp), reporter: None, packet: Vec::new() }
    }

    #[test]
    fn runs_in_a_row_have_ports_of_their_own() {
        let mut all: Vec<(u16, u16)> =
            (0..55).flat_map(|run| [ports(run, By::Service), ports(run, By::Directly)]).collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|it| it[0].1 < it[1].0));
        // Within the kernel's own range (`ip_local_port_range`).
        assert!(all[0].0 == 32768 && all[109].1 < 60999);
    }

    #[test]
    fn icmp_tells_prohibited_from_unreachable_where_the_error_number_does_not() {
        const EHOSTUNREACH: i32 = 113;
        assert_eq!(classify(Some(EHOSTUNREACH), Some(&told((3, 1), EHOSTUNREACH))), ProbeError::Unreachable);
        assert_eq!(classify(Some(EHOSTUNREACH), Some(&told((3, 13), EHOSTUNREACH))), ProbeError::Prohibited);
        assert_eq!(
            classify(Some(libc_errno::EACCES), Some(&told((1, 1), libc_errno::EACCES))),
            ProbeError::Prohibited
        );
        assert_eq!(classify(Some(EHOSTUNREACH), None), ProbeError::Unreachable);
        assert_eq!(classify(Some(libc_errno::ECONNREFUSED), None), ProbeError::Refused);
    }
}
