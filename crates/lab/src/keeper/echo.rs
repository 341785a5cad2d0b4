//! Who got which echo request: a raw socket in every member sees what the kernel there answers.
//!
//! A raw socket gets a copy of each ICMP message behind the input hooks, where the kernel's own answer is made too
//! (`net/ipv4/ip_input.c`, `ip_protocol_deliver_rcu`). So the truth about who answered costs no packet.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    LabError,
    control::Echo,
    network::inside,
    truth::echo_request::{Mark, parse_v4, parse_v6},
};

/// How long the requests of a run are remembered.
const MEMORY: Duration = Duration::from_mins(2);

/// The sockets, and what they saw.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    sockets: Vec<Ear>,
    runs: BTreeMap<u64, (Instant, Vec<Echo>)>,
    n_runs: u64,
}

#[derive(Debug)]
struct Ear {
    /// The member's name among members.
    member: String,
    is_v6: bool,
    socket: Socket,
}

impl Recorder {
    /// Begins to listen in these members, each by the number of a process in it; sockets in members of these names
    /// that were there before are closed.
    pub(super) fn listen_in<'a>(
        &mut self,
        members: impl Iterator<Item = (&'a str, u32)>,
    ) -> Result<(), LabError> {
        for (member, pid) in members {
            self.sockets.retain(|it| it.member != member);
            let sockets = inside(member, pid, || Ok([false, true].map(|is_v6| (is_v6, open(is_v6)))))?;
            for (is_v6, socket) in sockets {
                match socket {
                    Ok(socket) => self.sockets.push(Ear { member: member.to_owned(), is_v6, socket }),
                    // A kernel without IPv6 has nothing to hear there.
                    Err(_) if is_v6 => {}
                    Err(source) => {
                        let step = "listen for echo requests in the network namespace";
                        return Err(LabError::Kernel { step, member: member.to_owned(), source });
                    }
                }
            }
        }
        Ok(())
    }

    /// What to wait for.
    pub(super) fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(|it| it.socket.as_fd())
    }

    /// Takes all that was heard so far.
    pub(super) fn hear(&mut self) {
        self.runs.retain(|_, (since, _)| since.elapsed() < MEMORY);
        let mut buffer = vec![0; 64 << 10];
        for ear in &self.sockets {
            while let Some((mark, source)) = ear.next(&mut buffer) {
                let run = self.runs.entry(mark.run).or_insert_with(|| (Instant::now(), Vec::new()));
                run.1.push(Echo { probe: mark.probe, member: spelled(&ear.member), source });
            }
        }
    }

    /// The number of a new run.
    pub(super) fn begin_run(&mut self) -> u64 {
        self.n_runs += 1;
        self.n_runs
    }

    /// The requests of a run, each once.
    pub(super) fn run(&mut self, run: u64) -> Vec<Echo> {
        self.hear();
        let mut echoes = self.runs.get(&run).map(|(_, it)| it.clone()).unwrap_or_default();
        echoes.sort_by(|a, b| (a.probe, &a.member).cmp(&(b.probe, &b.member)));
        echoes.dedup();
        echoes
    }
}

impl Ear {
    /// The next echo request of ours, if there is one.
    fn next(&self, buffer: &mut [u8]) -> Option<(Mark, IpAddr)> {
        loop {
            if self.is_v6 {
                let (length, source) = hopwise_sys::socket::receive_from(&self.socket, buffer).ok()?;
                if let Some(mark) = parse_v6(&buffer[..length]) {
                    return Some((mark, source));
                }
            } else {
                let length = (&self.socket).read(buffer).ok()?;
                if let Some(found) = parse_v4(&buffer[..length]) {
                    return Some(found);
                }
            }
        }
    }
}

fn open(is_v6: bool) -> io::Result<Socket> {
    let (domain, protocol) =
        if is_v6 { (Domain::IPV6, Protocol::ICMPV6) } else { (Domain::IPV4, Protocol::ICMPV4) };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // All pods may ask one member at the same time. Cut to net.core.rmem_max where that is less.
    socket.set_recv_buffer_size(2 << 20)?;
    Ok(socket)
}

/// A member's name as answers spell it.
fn spelled(member: &str) -> String {
    if member.starts_with("pod/") || matches!(member, "fab" | "outside") {
        member.to_owned()
    } else {
        format!("node/{member}")
    }
}
