//! Sockets (`NETLINK_SOCK_DIAG`, `include/uapi/linux/inet_diag.h`).

use std::net::IpAddr;

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use super::{Family, Limits, NetlinkError, Socket};

const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// A protocol that sockets can be listed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiagProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Raw IP.
    Raw,
}

impl DiagProtocol {
    /// Number and the states in which a socket waits for packets (`TCP_*`, which the kernel uses for all).
    fn request(self) -> (u8, StateFlags) {
        match self {
            Self::Tcp => (6, StateFlags::LISTEN),
            Self::Udp => (17, StateFlags::CLOSE),
            Self::Raw => (255, StateFlags::CLOSE | StateFlags::ESTABLISHED),
        }
    }
}

/// A socket as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagSocket {
    /// Its protocol, as asked for.
    pub protocol: DiagProtocol,
    /// `TCP_ESTABLISHED` (1), `TCP_CLOSE` (7), `TCP_LISTEN` (10): the kernel uses them for all protocols.
    pub state: u8,
    /// Its local address.
    pub address: IpAddr,
    /// Its local port; of a raw socket the IP protocol number.
    pub port: u16,
    /// The interface that it is bound to.
    pub link: Option<u32>,
    /// A listener's connections, or the bytes, that wait to be taken.
    pub receive_queue: u32,
    /// A listener's limit of waiting connections; of others bytes that wait to be sent.
    pub send_queue: u32,
    /// The inode by which `/proc/PID/fd` shows it.
    pub inode: u32,
    /// Does it refuse IPv4? Told of listening and closed sockets of IPv6 (4.5).
    pub is_v6_only: bool,
}

/// A socket for asking about sockets.
#[derive(Debug)]
pub struct SockDiag(Socket);

impl SockDiag {
    /// A socket in the calling thread's network namespace. It sees the sockets of that namespace.
    pub fn open(limits: Limits) -> Result<Self, NetlinkError> {
        Socket::open(NETLINK_SOCK_DIAG, limits).map(Self)
    }

    /// The sockets of one family and protocol that wait for packets: TCP listeners, other sockets without a
    /// peer, and raw sockets with one too.
    ///
    /// Like ss(8) this may make the kernel load the module that answers (`udp_diag`, …).
    pub fn waiting(
        &mut self,
        family: Family,
        protocol: DiagProtocol,
    ) -> Result<Vec<DiagSocket>, NetlinkError> {
        let (number, states) = protocol.request();
        let socket_id = match family {
            Family::Ipv4 => SocketId::new_v4(),
            Family::Ipv6 => SocketId::new_v6(),
        };
        let request = InetRequest {
            family: family.number(),
            protocol: number,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id,
        };
        let mut body = vec![0; request.buffer_len()];
        request.emit(&mut body);
        let replies = self.0.dump(SOCK_DIAG_BY_FAMILY, &body)?;
        replies.iter().map(|(_, body)| DiagSocket::decode(protocol, body)).collect()
    }
}

impl DiagSocket {
    pub(super) fn decode(protocol: DiagProtocol, body: &[u8]) -> Result<Self, NetlinkError> {
        let InetResponse { header, nlas } = InetResponse::parse(body).map_err(NetlinkError::malformed)?;
        let id = header.socket_id;
        Ok(Self {
            protocol,
            state: header.state,
            address: id.source_address,
            port: id.source_port,
            link: (id.interface_id != 0).then_some(id.interface_id),
            receive_queue: header.recv_queue,
            send_queue: header.send_queue,
            inode: header.inode,
            is_v6_only: nlas.contains(&Nla::SkV6Only(true)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use proptest::prelude::*;

    use super::*;

    /// A listener on `[::]:8080` that takes no IPv4, bound to interface 3, `listen(fd, 17)`.
    const LISTENER: [u8; 116] = [
        0x0a, 0x0a, 0, 0, 0x1f, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x0d, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x11,
        0, 0, 0, 0, 0, 0, 0, 0x3d, 0x8f, 0, 0, 5, 0, 8, 0, 0, 0, 0, 0, 5, 0, 0x0b, 0, 1, 0, 0, 0, 8, 0, 0x0f,
        0, 0, 0, 0, 0, 0x0c, 0, 0x15, 0, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0x16, 0, 0x12, 0, 0, 0,
    ];

    #[test]
    fn a_captured_listener_is_read() {
        let wanted = DiagSocket {
            protocol: DiagProtocol::Tcp,
            state: 10,
            address: "::".parse().unwrap(),
            port: 8080,
            link: Some(3),
            receive_queue: 0,
            send_queue: 17,
            inode: 0x8f3d,
            is_v6_only: true,
        };
        assert_eq!(DiagSocket::decode(DiagProtocol::Tcp, &LISTENER).unwrap(), wanted);
    }

    #[test]
    fn the_own_sockets_are_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0")).unwrap();
        let mut sockets = SockDiag::open(Limits::default()).unwrap();
        let listeners = sockets.waiting(Family::Ipv4, DiagProtocol::Tcp).unwrap();
        assert!(listeners.iter().any(|it| it.port == tcp.local_addr().unwrap().port() && it.state == 10));
        let address = udp.local_addr().unwrap();
        let family = if address.is_ipv6() { Family::Ipv6 } else { Family::Ipv4 };
        let unconnected = sockets.waiting(family, DiagProtocol::Udp).unwrap();
        assert!(unconnected.iter().any(|it| it.port == address.port() && it.address == address.ip()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = DiagSocket::decode(DiagProtocol::Tcp, &body);
        }
    }
}
