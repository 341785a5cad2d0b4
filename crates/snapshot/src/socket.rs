//! Sockets that wait for packets.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The protocol of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SocketProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Raw IP, of the protocol that [`Socket::port`] holds.
    Raw,
}

/// The state of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SocketState {
    /// A TCP listener.
    Listening,
    /// Bound, and takes packets from anyone.
    Unconnected,
    /// Connected to one peer.
    Connected,
}

/// A socket (`NETLINK_SOCK_DIAG`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Socket {
    /// The protocol.
    pub protocol: SocketProtocol,
    /// Its local address; `0.0.0.0` and `::` mean every address.
    pub address: IpAddr,
    /// Its local port.
    pub port: u16,
    /// Its state.
    pub state: SocketState,
    /// Is it an IPv6 socket that takes no IPv4?
    pub is_v6_only: bool,
    /// The interface that it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<crate::IfIndex>,
    /// Connections (TCP listener) or bytes that wait to be taken.
    #[serde(default)]
    pub receive_queue: u32,
    /// TCP listener: how many connections may wait.
    #[serde(default)]
    pub backlog: u32,
    /// The program that holds it, where that could be found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}
