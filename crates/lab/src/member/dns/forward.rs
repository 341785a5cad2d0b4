//! Passing questions on, as CoreDNS's `forward . /etc/resolv.conf`.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::zone::ZoneAnswer;

/// How long an upstream may take (CoreDNS, `plugin/pkg/proxy`, `readTimeout`).
const READ: Duration = Duration::from_secs(2);
/// How long one question may take with all its upstreams (`plugin/forward`, `defaultTimeout`).
const QUESTION: Duration = Duration::from_secs(5);

/// The upstreams of a server, as its `/etc/resolv.conf` named them when it started.
#[derive(Debug)]
pub(crate) struct Forward {
    upstreams: Vec<SocketAddr>,
    next: AtomicUsize,
}

/// Why a server cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ForwardError {
    /// The file names nobody.
    #[error("plugin/forward: no nameservers found")]
    NoNameservers,
}

/// Why an upstream did not answer, in the words of Go's net package.
#[derive(Debug)]
pub(crate) struct Unanswered {
    protocol: &'static str,
    from: SocketAddr,
    to: SocketAddr,
    error: io::Error,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, from, to, error } = self;
        write!(f, "read {protocol} {from}->{to}: ")?;
        match error.kind() {
            io::ErrorKind::TimedOut => f.write_str("i/o timeout"),
            io::ErrorKind::ConnectionRefused => f.write_str("read: connection refused"),
            io::ErrorKind::HostUnreachable => f.write_str("read: no route to host"),
            io::ErrorKind::NetworkUnreachable => f.write_str("connect: network is unreachable"),
            _ => error.fmt(f),
        }
    }
}

impl Forward {
    /// The upstreams that the text of a resolv.conf names.
    pub(crate) fn from_resolv_conf(text: &str) -> Result<Self, ForwardError> {
        let upstreams: Vec<SocketAddr> =
            nameservers(text).into_iter().map(|it| SocketAddr::new(it, 53)).collect();
        if upstreams.is_empty() {
            return Err(ForwardError::NoNameservers);
        }
        Ok(Self { upstreams, next: AtomicUsize::new(0) })
    }

    /// The answer of an upstream. Another is tried while there is time and the last one did not answer.
    pub(crate) async fn ask(
        &self,
        name: &Name,
        kind: RecordType,
        by_tcp: bool,
    ) -> Result<ZoneAnswer, Unanswered> {
        let deadline = Instant::now() + QUESTION;
        let mut n_tries = 0;
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let upstream = self.upstreams[next % self.upstreams.len()];
            let until = deadline.min(Instant::now() + READ);
            n_tries += 1;
            let error = match ask_one(upstream, name, kind, by_tcp, until).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // A refusal comes at once and again at once; one more round over all is enough.
            let is_quick = error.error.kind() != io::ErrorKind::TimedOut;
            if Instant::now() >= deadline || (is_quick && n_tries > self.upstreams.len()) {
                return Err(error);
            }
        }
    }
}

async fn ask_one(
    upstream: SocketAddr,
    name: &Name,
    kind: RecordType,
    by_tcp: bool,
    until: Instant,
) -> Result<ZoneAnswer, Unanswered> {
    let mut from = SocketAddr::new(
        if upstream.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() },
        0,
    );
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name.clone(), kind));
    let asked = async {
        let question = message.to_vec().map_err(io::Error::other)?;
        let answer = if by_tcp {
            exchange_tcp(upstream, &question, &mut from).await?
        } else {
            exchange_udp(upstream, &question, &mut from).await?
        };
        Message::from_vec(&answer).map_err(io::Error::other)
    };
    let answer = match timeout_at(until, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let protocol = if by_tcp { "tcp" } else { "udp" };
    let answer = answer.map_err(|error| Unanswered { protocol, from, to: upstream, error })?;
    Ok(ZoneAnswer {
        code: answer.metadata.response_code,
        authority: match answer.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => answer.authorities.first().cloned(),
            _ => None,
        },
        records: answer.answers,
    })
}

async fn exchange_udp(to: SocketAddr, question: &[u8], from: &mut SocketAddr) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind(*from).await?;
    socket.connect(to).await?;
    *from = socket.local_addr()?;
    socket.send(question).await?;
    let mut answer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut answer).await?;
        // The answer to another question is a late one, or a lie.
        if answer[..length].get(..2) == question.get(..2) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

async fn exchange_tcp(to: SocketAddr, question: &[u8], from: &mut SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(to).await?;
    *from = stream.local_addr()?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The addresses behind `nameserver` in a resolv.conf, as the Go library that CoreDNS uses reads them.
pub(crate) fn nameservers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|it| it.split(['#', ';']).next().unwrap_or_default());
    let words = lines.filter_map(|it| {
        let mut words = it.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()).flatten()
    });
    words.filter_map(|it| it.split('%').next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_nameservers_keeps_the_server_from_starting() {
        for text in ["", "search a\n", "# nameserver 1.2.3.4\n", "nameserver\n", "nameserver x\n"] {
            let error = Forward::from_resolv_conf(text).unwrap_err();
            assert_eq!(error.to_string(), "plugin/forward: no nameservers found");
        }
    }

    #[test]
    fn nameservers_are_read_in_order() {
        let text = "search x\nnameserver 192.0.2.1 # first\nnameserver\tfe80::1%eth0\n";
        assert_eq!(nameservers(text), ["192.0.2.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
    }

    #[test]
    fn a_lost_question_is_told_as_coredns_tells_it() {
        let error = Unanswered {
            protocol: "udp",
            from: "10.244.2.146:46963".parse().unwrap(),
            to: "8.8.4.4:53".parse().unwrap(),
            error: io::ErrorKind::TimedOut.into(),
        };
        assert_eq!(error.to_string(), "read udp 10.244.2.146:46963->8.8.4.4:53: i/o timeout");
    }
}
