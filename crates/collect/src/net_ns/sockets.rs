//! Sockets that wait for packets.

use std::{fs, io, net::IpAddr};

use hopwise_snapshot::{IfIndex, Reason, Socket, SocketProtocol, SocketState};
use hopwise_sys::netlink::{DiagProtocol, DiagSocket, Family, Limits, NetlinkError, SockDiag};

use crate::reason;

/// `sock_diag` answers this where nobody answers for a protocol.
const ENOENT: i32 = 2;

/// The waiting sockets of the calling thread's namespace, each with the inode that `/proc/PID/fd` shows.
pub(super) fn sockets(limits: Limits) -> Result<Vec<(u32, Socket)>, Reason> {
    let of_netlink = |error: NetlinkError| reason::of_netlink(&error, "sockets");
    let mut diag = SockDiag::open(limits).map_err(of_netlink)?;
    let mut sockets = Vec::new();
    for protocol in [DiagProtocol::Tcp, DiagProtocol::Udp, DiagProtocol::Raw] {
        for family in Family::ALL {
            match diag.waiting(family, protocol) {
                Ok(found) => sockets.extend(found.iter().map(|it| (it.inode, socket(it)))),
                // `CONFIG_INET_RAW_DIAG` is off more often than on.
                Err(error) if error.errno() == Some(ENOENT) && protocol == DiagProtocol::Raw => {
                    sockets.extend(raw_sockets(family)?);
                }
                Err(error) => return Err(of_netlink(error)),
            }
        }
    }
    sockets.sort_by(|(_, a), (_, b)| a.cmp(b));
    Ok(sockets)
}

fn socket(found: &DiagSocket) -> Socket {
    let is_listener = found.state == 10;
    Socket {
        protocol: match found.protocol {
            DiagProtocol::Tcp => SocketProtocol::Tcp,
            DiagProtocol::Udp => SocketProtocol::Udp,
            DiagProtocol::Raw => SocketProtocol::Raw,
        },
        address: found.address,
        port: found.port,
        state: match found.state {
            10 => SocketState::Listening,
            1 => SocketState::Connected,
            _ => SocketState::Unconnected,
        },
        is_v6_only: found.is_v6_only,
        link: found.link.map(IfIndex),
        receive_queue: found.receive_queue,
        backlog: if is_listener { found.send_queue } else { 0 },
        program: None,
    }
}

fn raw_sockets(family: Family) -> Result<Vec<(u32, Socket)>, Reason> {
    let path = match family {
        Family::Ipv4 => "/proc/thread-self/net/raw",
        Family::Ipv6 => "/proc/thread-self/net/raw6",
    };
    match fs::read_to_string(path) {
        // The first line names the columns.
        Ok(text) => {
            text.lines().skip(1).map(|it| raw_socket(it).ok_or_else(|| not_understood(path, it))).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(reason::of_io(&error, &format!("reading {path}"))),
    }
}

fn not_understood(path: &str, line: &str) -> Reason {
    Reason::Failed(format!("{path}: not understood: `{line}`"))
}

/// `SL: ADDRESS:PROTOCOL PEER:0 STATE SEND:RECEIVE TIMER:WHEN RETRANSMITS UID TIMEOUT INODE …`, numbers
/// hexadecimal up to the timer. It does not tell the interface that a socket is bound to.
fn raw_socket(line: &str) -> Option<(u32, Socket)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, queues, _, _, _, _, inode, ..] = words.as_slice() else { return None };
    let (address, protocol) = local.split_once(':')?;
    let socket = Socket {
        protocol: SocketProtocol::Raw,
        address: proc_address(address)?,
        port: u16::from_str_radix(protocol, 16).ok()?,
        state: if *state == "01" { SocketState::Connected } else { SocketState::Unconnected },
        is_v6_only: false,
        link: None,
        receive_queue: u32::from_str_radix(queues.split_once(':')?.1, 16).ok()?,
        backlog: 0,
        program: None,
    };
    Some((inode.parse().ok()?, socket))
}

/// An address in 32-bit words, each printed as a number of the machine's byte order.
fn proc_address(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    }
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sockets_are_read_from_text() {
        // `/proc/net/raw` and `/proc/net/raw6` with a socket for ICMP each.
        let line = "   1: 0100007F:0001 00000000:0000 07 00000000:00000340 00:00000000 00000000     0        0 36669 2 0000000000000000 0";
        let (inode, socket) = raw_socket(line).unwrap();
        assert_eq!((inode, socket.port, socket.receive_queue), (36669, 1, 0x340));
        assert_eq!(socket.address, IpAddr::from(u32::from_ne_bytes([0x7f, 0, 0, 1]).to_ne_bytes()));
        assert_eq!(socket.state, SocketState::Unconnected);
        let line = "  58: 00000000000000000000000001000000:003A 00000000000000000000000000000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 36670 2 0000000000000000 0";
        let (_, socket) = raw_socket(line).unwrap();
        assert_eq!((socket.address, socket.port), ("::1".parse::<IpAddr>().unwrap(), 58));
        assert_eq!(socket.state, SocketState::Connected);
        for line in ["", "1: x", "1: 0100007F:0001 0:0 07 0 0 0 0 0 1 2", "1: 7F:0001 0:0 07 0:0 0 0 0 0 1 2"]
        {
            assert_eq!(raw_socket(line), None, "{line}");
        }
    }
}
