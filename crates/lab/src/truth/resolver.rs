//! Resolving a name as the C library does (glibc 2.36, `resolv/res_query.c`, `resolv/res_send.c`), with shorter
//! patience.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{net::UdpSocket, time::timeout};

use super::{
    ProbeError,
    dns_question::{Said, addresses, is_answer, read_addresses},
    probe::{Outcome, connected_udp, plain_error, receive, send},
};
use crate::member::dns::nameservers;

/// How long a server may take, in two halves: the question is asked again in between.
const HALF_PATIENCE: Duration = Duration::from_millis(500);
/// As many servers are used (`MAXNS`).
const MOST_SERVERS: usize = 3;

/// A resolv.conf as the C library reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resolver {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    n_dots: usize,
}

impl Resolver {
    fn parse(text: &str) -> Self {
        let mut servers = nameservers(text);
        servers.truncate(MOST_SERVERS);
        if servers.is_empty() {
            // Without one, the machine itself is asked.
            servers.push(Ipv4Addr::LOCALHOST.into());
        }
        let (mut search, mut n_dots) = (Vec::new(), 1);
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("search" | "domain") => search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let found = words.filter_map(|it| it.strip_prefix("ndots:")).next_back();
                    // More than 15 count as 15 (`RES_MAXNDOTS`).
                    n_dots = found.and_then(|it| it.parse().ok()).map_or(n_dots, |it: usize| it.min(15));
                }
                _ => {}
            }
        }
        Self { servers, search, n_dots }
    }

    /// The names to ask for, in order.
    fn candidates(&self, name: &str) -> Vec<String> {
        let mut candidates: Vec<String> = self.search.iter().map(|it| format!("{name}.{it}")).collect();
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let n_dots = name.matches('.').count();
        candidates.insert(if n_dots >= self.n_dots { 0 } else { candidates.len() }, name.to_owned());
        candidates
    }
}

/// Resolves `name` to addresses of both families.
pub(super) async fn resolve(name: &str, resolv_conf: &str, ports: (u16, u16)) -> Outcome {
    let resolver = Resolver::parse(resolv_conf);
    let family = if resolver.servers[0].is_ipv6() { 6 } else { 4 };
    let mut failed = false;
    for candidate in resolver.candidates(name) {
        match ask_servers(&resolver, &candidate, ports).await {
            Ok(Said::Addresses(found)) if !found.is_empty() => {
                return Outcome { addresses: found, family: Some(family), ..Outcome::default() };
            }
            Ok(Said::Addresses(_) | Said::NoSuchName) => {}
            Ok(Said::Failed) => failed = true,
            // A server that does not answer ends the search.
            Err(error) => return Outcome { family: Some(family), ..Outcome::failed(error) },
        }
    }
    let error = if failed { ProbeError::Servfail } else { ProbeError::Nxdomain };
    Outcome { family: Some(family), ..Outcome::failed(error) }
}

/// Asks one server after the other until one answers. Errors with that of the last.
async fn ask_servers(resolver: &Resolver, name: &str, ports: (u16, u16)) -> Result<Said, ProbeError> {
    let mut last = Err(ProbeError::Timeout);
    for server in &resolver.servers {
        last = ask_server(*server, name, ports).await;
        if matches!(last, Ok(Said::Addresses(_) | Said::NoSuchName)) {
            return last;
        }
    }
    last
}

/// Asks for both families by one socket.
async fn ask_server(server: IpAddr, name: &str, ports: (u16, u16)) -> Result<Said, ProbeError> {
    let questions: Option<Vec<Vec<u8>>> =
        [false, true].map(|is_v6| addresses(name, is_v6)).into_iter().collect();
    let Some(questions) = questions else { return Ok(Said::NoSuchName) };
    let at = SocketAddr::new(server, 53);
    let socket = connected_udp(at, ports).map_err(|error| plain_error(&error))?;
    let mut answers = vec![None; questions.len()];
    for _ in 0..2 {
        for (question, _) in questions.iter().zip(&answers).filter(|(_, answer)| answer.is_none()) {
            send(&socket, question).await?;
        }
        match timeout(HALF_PATIENCE, take_answers(&socket, &questions, &mut answers)).await {
            Ok(Ok(())) => return Ok(together(&answers)),
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
    }
    Err(ProbeError::Timeout)
}

async fn take_answers(
    socket: &UdpSocket,
    questions: &[Vec<u8>],
    answers: &mut [Option<Said>],
) -> Result<(), ProbeError> {
    let mut buffer = vec![0; 4096];
    while answers.iter().any(Option::is_none) {
        let length = receive(socket, &mut buffer, |_| true).await?;
        for (question, answer) in questions.iter().zip(answers.iter_mut()) {
            if is_answer(&buffer[..length], question) {
                *answer = Some(read_addresses(&buffer[..length]));
            }
        }
    }
    Ok(())
}

/// Both answers as one: addresses win, then a failure, then a name that exists.
fn together(answers: &[Option<Said>]) -> Said {
    let mut found = Vec::new();
    let (mut failed, mut exists) = (false, false);
    for answer in answers.iter().flatten() {
        match answer {
            Said::Addresses(it) => {
                exists = true;
                found.extend(it);
            }
            Said::NoSuchName => {}
            Said::Failed => failed = true,
        }
    }
    if !found.is_empty() || (exists && !failed) {
        Said::Addresses(found)
    } else if failed {
        Said::Failed
    } else {
        Said::NoSuchName
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_searched_for_first_and_a_long_one_last() {
        let resolver = Resolver::parse("search a.b c.d\nnameserver 10.96.0.10\noptions ndots:2\n");
        assert_eq!(resolver.candidates("x.y"), ["x.y.a.b", "x.y.c.d", "x.y"]);
        assert_eq!(resolver.candidates("x.y.z"), ["x.y.z", "x.y.z.a.b", "x.y.z.c.d"]);
        assert_eq!(resolver.candidates("x."), ["x."]);
    }

    #[test]
    fn without_a_server_the_machine_itself_is_asked() {
        assert_eq!(Resolver::parse("").servers, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let many = "nameserver 1.1.1.1\n".repeat(5);
        assert_eq!(Resolver::parse(&many).servers.len(), 3);
    }

    #[test]
    fn addresses_of_one_family_are_enough() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let v4 = Some(Said::Addresses(vec![address]));
        assert_eq!(together(&[v4.clone(), Some(Said::Failed)]), Said::Addresses(vec![address]));
        assert_eq!(together(&[Some(Said::Addresses(vec![])), Some(Said::Failed)]), Said::Failed);
        assert_eq!(together(&[Some(Said::NoSuchName), Some(Said::NoSuchName)]), Said::NoSuchName);
    }
}
