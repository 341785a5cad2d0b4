//! Crossing: packets from one node to another, watched where they leave and where they arrive.
//!
//! The recipient's kernel may own the port (it does so for VXLAN), and may drop what it gets: both do not matter to who
//! watches its interfaces. What left and did not arrive was lost in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    time::Instant,
};

use hopwise_snapshot::{Crossing, Mac, Packet, Seen};
use hopwise_sys::{
    packet::{Direction, PacketWatch},
    socket::allow_fragments,
};
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    N_PACKETS, PACE, PATIENCE, ProbeError, Site,
    ask::{echo_socket, probe_number, wait_until},
    wire::{self, ICMP_HEADER, MARK_LENGTH, Mark, Sighted, UDP_HEADER},
};

/// Which packets were seen: kind and number of each.
type Sightings = BTreeSet<(u16, u16)>;

/// What was seen of a crossing: of each kind of packet, and of the sender's asking for the recipient.
pub(crate) fn cross(
    crossing: &Crossing,
    from: &Site<'_>,
    to: &Site<'_>,
) -> Result<(Vec<Seen>, Seen), ProbeError> {
    let watch = || PacketWatch::new(crossing.source, crossing.destination);
    // A socket stays in the namespace in which it was made.
    let arriving = to.run("watch packets", watch)?;
    let (leaving, mut senders) = from.run("send packets between nodes", || {
        let senders = crossing.packets.iter().map(|it| Sender::new(crossing, it));
        Ok((watch()?, senders.collect::<io::Result<Vec<_>>>()?))
    })?;
    let sent = send(&mut senders, crossing.destination, &leaving, &arriving);
    sent.map_err(|source| ProbeError::Kernel {
        step: "send packets between nodes",
        place: from.place.clone(),
        source,
    })
}

/// Sends everything, and counts what left and what arrived.
fn send(
    senders: &mut [Sender],
    to: IpAddr,
    leaving: &PacketWatch,
    arriving: &PacketWatch,
) -> io::Result<(Vec<Seen>, Seen)> {
    let mut crossed = Crossed {
        probe: probe_number()?,
        to,
        ports: BTreeMap::new(),
        left: Sightings::new(),
        arrived: Sightings::new(),
        asked: Seen::default(),
    };
    for (kind, sender) in (0..).zip(&*senders) {
        let ports = (0..).zip(sender.ports());
        crossed.ports.extend(ports.map(|(number, port)| (port, (kind, number))));
    }
    let start = Instant::now();
    for number in 0..N_PACKETS {
        for (kind, sender) in (0..).zip(&mut *senders) {
            sender.send(Mark { probe: crossed.probe, kind, number });
        }
        crossed.look(leaving, arriving, start + PACE * u32::from(number + 1))?;
    }
    let limit = Instant::now() + PATIENCE;
    while !crossed.is_complete() && Instant::now() < limit {
        crossed.look(leaving, arriving, limit)?;
    }
    let count = |all: &Sightings, kind: u16| {
        u32::try_from(all.iter().filter(|(it, _)| *it == kind).count()).unwrap_or(u32::MAX)
    };
    let seen = |kind| Seen { n_left: count(&crossed.left, kind), n_arrived: count(&crossed.arrived, kind) };
    Ok(((0..).take(senders.len()).map(seen).collect(), crossed.asked))
}

/// What was seen so far.
struct Crossed {
    probe: u64,
    to: IpAddr,
    /// The ports of connections, with what they stand for.
    ports: BTreeMap<u16, (u16, u16)>,
    left: Sightings,
    arrived: Sightings,
    asked: Seen,
}

impl Crossed {
    /// Has all arrived that left? What waits for its neighbour has not left yet: the sender asks again every second.
    fn is_complete(&self) -> bool {
        !self.left.is_empty() && self.left.is_subset(&self.arrived)
    }

    /// Waits for something to be seen, until a time, and takes note of all that was.
    fn look(&mut self, leaving: &PacketWatch, arriving: &PacketWatch, limit: Instant) -> io::Result<()> {
        loop {
            wait_until(&[leaving.as_fd(), arriving.as_fd()], PollFlags::POLLIN, limit)?;
            let n_arrived = self.arrived.len();
            self.take(leaving, Direction::Out)?;
            self.take(arriving, Direction::In)?;
            let is_news = n_arrived < self.arrived.len();
            if (is_news && self.is_complete()) || Instant::now() >= limit {
                return Ok(());
            }
        }
    }

    fn take(&mut self, watch: &PacketWatch, wanted: Direction) -> io::Result<()> {
        // Marks stand near a packet's beginning.
        let mut buffer = [0; 256];
        while let Some((length, direction)) = watch.next(&mut buffer)? {
            if direction != wanted {
                continue;
            }
            let (seen, n_asked) = match wanted {
                Direction::Out => (&mut self.left, &mut self.asked.n_left),
                Direction::In => (&mut self.arrived, &mut self.asked.n_arrived),
            };
            match wire::sighted(&buffer[..length.min(buffer.len())]) {
                Some(Sighted::Marked(mark)) if mark.probe == self.probe => {
                    seen.insert((mark.kind, mark.number));
                }
                Some(Sighted::Syn { source_port }) => seen.extend(self.ports.get(&source_port)),
                Some(Sighted::Neighbour { asked_for }) if asked_for == self.to => *n_asked += 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What sends packets of one kind. That the kernel refuses to send is no failure: nothing leaves then.
enum Sender {
    Datagrams { socket: Socket, to: SockAddr, tunnel: Option<(u32, Mac)>, length: usize },
    Echo { socket: Socket, is_ipv6: bool },
    Tcp { sockets: Vec<Socket>, to: SocketAddr },
}

impl Sender {
    fn new(crossing: &Crossing, packet: &Packet) -> io::Result<Self> {
        let (source, to) = (crossing.source, crossing.destination);
        match *packet {
            Packet::Vxlan { port, vni, station, size } => {
                let (socket, at) = datagrams(source, SocketAddr::new(to, port))?;
                let headers = UDP_HEADER + if to.is_ipv6() { 40 } else { 20 };
                let length = usize::try_from(size.unwrap_or(0)).unwrap_or(0).saturating_sub(headers);
                Ok(Self::Datagrams { socket, to: at, tunnel: Some((vni, station)), length })
            }
            Packet::Udp { port } => {
                let (socket, at) = datagrams(source, SocketAddr::new(to, port))?;
                Ok(Self::Datagrams { socket, to: at, tunnel: None, length: MARK_LENGTH })
            }
            Packet::Echo => {
                let socket = echo_socket(to)?;
                socket.bind(&SocketAddr::new(source, 0).into())?;
                drop(socket.connect(&SocketAddr::new(to, 0).into()));
                Ok(Self::Echo { socket, is_ipv6: to.is_ipv6() })
            }
            Packet::Tcp { port } => {
                let to = SocketAddr::new(to, port);
                let socket = || {
                    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
                    socket.set_nonblocking(true)?;
                    socket.bind(&SocketAddr::new(source, 0).into())?;
                    Ok(socket)
                };
                let sockets = (0..N_PACKETS).map(|_| socket()).collect::<io::Result<_>>()?;
                Ok(Self::Tcp { sockets, to })
            }
        }
    }

    /// The ports that its packets come from, in order, where these alone tell whose they are.
    fn ports(&self) -> Vec<u16> {
        let Self::Tcp { sockets, .. } = self else { return Vec::new() };
        let port = |it: &Socket| it.local_addr().ok()?.as_socket().map(|it| it.port());
        sockets.iter().map(|it| port(it).unwrap_or(0)).collect()
    }

    fn send(&mut self, mark: Mark) {
        match self {
            Self::Datagrams { socket, to, tunnel, length } => {
                let message = match tunnel {
                    Some((vni, station)) => wire::vxlan(mark, *vni, *station, *length),
                    None => mark.padded(*length),
                };
                drop(socket.send_to(&message, to));
            }
            Self::Echo { socket, is_ipv6 } => {
                drop(socket.send(&wire::echo_request(mark, *is_ipv6, ICMP_HEADER + MARK_LENGTH)));
            }
            Self::Tcp { sockets, to } => {
                if let Some(socket) = sockets.get(usize::from(mark.number)) {
                    drop(socket.connect(&(*to).into()));
                }
            }
        }
    }
}

/// A UDP socket that sends as a tunnel does: routers may split its packets. It is not connected, so that what ICMP says
/// about one packet does not keep the next from being sent.
fn datagrams(source: IpAddr, to: SocketAddr) -> io::Result<(Socket, SockAddr)> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    allow_fragments(&socket, to.is_ipv6())?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok((socket, to.into()))
}
