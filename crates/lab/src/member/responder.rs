//! What answers in pods, on nodes and outside: who it is, and whom it saw.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::spawn_local,
    time::timeout,
};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// The member that answers: `pod/default/a`, `node/w1`, `outside`.
    pub(crate) answered_by: String,
    /// The address that the question came from.
    pub(crate) source: IpAddr,
    /// Its port.
    pub(crate) port: u16,
}

impl Answer {
    fn to(who: &str, source: SocketAddr) -> Self {
        Self { answered_by: who.to_owned(), source: source.ip().to_canonical(), port: source.port() }
    }

    fn line(&self) -> String {
        let mut line = serde_json::to_string(self).expect("an answer has only string keys");
        line.push('\n');
        line
    }
}

/// How long a client may take to ask.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers on every TCP connection that `listener` accepts, for ever. To be run in a local task set.
///
/// It speaks HTTP/1 with those who do, so that curl works too; others get the answer as a line.
pub(crate) async fn serve_tcp(listener: TcpListener, who: Rc<str>) {
    loop {
        match listener.accept().await {
            Ok((stream, source)) => drop(spawn_local(answer_tcp(stream, source, who.clone()))),
            // Too many open files, or a connection that was reset before it was accepted.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn answer_tcp(mut stream: TcpStream, source: SocketAddr, who: Rc<str>) {
    let line = Answer::to(&who, source).line();
    let mut question = [0; 1024];
    let length = match timeout(PATIENCE, stream.read(&mut question)).await {
        Ok(Ok(length)) => length,
        Ok(Err(_)) => return,
        Err(_) => 0,
    };
    let is_http = [&b"GET "[..], b"HEAD ", b"POST "].iter().any(|it| question[..length].starts_with(it));
    let text = if is_http {
        let length = line.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{line}"
        )
    } else {
        line
    };
    drop(stream.write_all(text.as_bytes()).await);
    drop(stream.shutdown().await);
}

/// Answers every datagram, for ever.
pub(crate) async fn serve_udp(socket: UdpSocket, who: Rc<str>) {
    let mut question = [0; 2048];
    loop {
        // An error here is an ICMP message about an earlier answer: the next question may still be good.
        let Ok((_, source)) = socket.recv_from(&mut question).await else { continue };
        drop(socket.send_to(Answer::to(&who, source).line().as_bytes(), source).await);
    }
}

/// Listens on a TCP port of all addresses of both families with one socket, as programs in Go do.
pub(crate) fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    let socket = everywhere(Type::STREAM, Protocol::TCP, port)?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Listens on a TCP port of one address.
pub(crate) fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Takes datagrams for a UDP port of all addresses of both families with one socket.
pub(crate) fn datagrams_everywhere(port: u16) -> io::Result<UdpSocket> {
    UdpSocket::from_std(everywhere(Type::DGRAM, Protocol::UDP, port)?.into())
}

/// Takes datagrams for a UDP port of one address.
pub(crate) fn datagrams_at(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

fn everywhere(kind: Type, protocol: Protocol, port: u16) -> io::Result<Socket> {
    let (domain, address): (_, IpAddr) = match Socket::new(Domain::IPV6, kind, Some(protocol)) {
        Ok(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        // A kernel without IPv6.
        Err(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
    };
    let socket = Socket::new(domain, kind, Some(protocol))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(address, port).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_who_and_whom_in_the_plain_form_of_the_address() {
        let source = "[::ffff:10.244.1.2]:4711".parse().unwrap();
        assert_eq!(
            Answer::to("pod/default/a", source).line(),
            "{\"answeredBy\":\"pod/default/a\",\"source\":\"10.244.1.2\",\"port\":4711}\n"
        );
    }
}
