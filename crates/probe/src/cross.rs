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

use hopwise_snapshot::{Crossing, Mac, Observation, Packet, Place, Seen};
use hopwise_sys::{
    NetNs,
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
pub type Sightings = BTreeSet<(u16, u16)>;

/// The most connections of others that a watch takes note of.
const MOST_PORTS: usize = 4096;

/// What has left a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Departures {
    /// The packets.
    pub packets: Sightings,
    /// The ports that connections come from, with the packet that each stands for.
    pub ports: BTreeMap<u16, (u16, u16)>,
    /// How often the sender asked for the recipient's Ethernet address.
    pub n_asked: u32,
}

/// What has arrived at a recipient.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// The packets that are known by their marks.
    pub packets: Sightings,
    /// The ports that connections come from: the sender knows which are its own.
    pub ports: BTreeSet<u16>,
    /// How often the recipient's Ethernet address was asked for.
    pub n_asked: u32,
}

impl Arrivals {
    /// The packets that have arrived of those that a sender put out.
    fn of(&self, departures: &Departures) -> Sightings {
        let connections = departures.ports.iter().filter(|(port, _)| self.ports.contains(port));
        self.packets.iter().chain(connections.map(|(_, packet)| packet)).copied().collect()
    }

    /// Has all arrived that left?
    pub fn has_all(&self, departures: &Departures) -> bool {
        departures.packets.is_subset(&self.of(departures))
    }
}

/// What was seen of a crossing, from what its two ends saw.
pub fn crossed(crossing: &Crossing, departures: &Departures, arrivals: &Arrivals) -> Observation {
    let count = |all: &Sightings, kind: u16| {
        u32::try_from(all.iter().filter(|(it, _)| *it == kind).count()).unwrap_or(u32::MAX)
    };
    let arrived = arrivals.of(departures);
    let seen = |kind| Seen { n_left: count(&departures.packets, kind), n_arrived: count(&arrived, kind) };
    Observation::Crossed {
        crossing: crossing.clone(),
        seen: (0..).take(crossing.packets.len()).map(seen).collect(),
        asked: Seen { n_left: departures.n_asked, n_arrived: arrivals.n_asked },
    }
}

/// Sends and watches from one process.
pub(crate) fn cross(crossing: &Crossing, from: &Site<'_>, to: &Site<'_>) -> Result<Observation, ProbeError> {
    let failed = |source| ProbeError::Kernel { step: SENDING, place: from.place.clone(), source };
    let probe = probe_number().map_err(failed)?;
    // A socket stays in the namespace in which it was made.
    let mut watch = to.run(WATCHING, || Watch::new(crossing, probe))?;
    let mut sending = from.run(SENDING, || Sending::new(crossing, probe))?;
    sending.send(Some(&mut watch)).map_err(failed)?;
    Ok(crossed(crossing, &sending.departures, &watch.arrivals))
}

const SENDING: &str = "send packets between nodes";
const WATCHING: &str = "watch packets";

/// The sender's half of a crossing: sends everything, and says what has left. `probe` is known to the recipient's
/// [`Watch`], which has begun.
pub fn depart(netns: &NetNs, crossing: &Crossing, probe: u64) -> Result<Departures, ProbeError> {
    let site = Site { place: Place::Node(crossing.from.clone()), netns };
    site.run(SENDING, || {
        let mut sending = Sending::new(crossing, probe)?;
        sending.send(None)?;
        Ok(sending.departures)
    })
}

/// The recipient's half of a crossing.
#[derive(Debug)]
pub struct Watch {
    packets: PacketWatch,
    probe: u64,
    to: IpAddr,
    arrivals: Arrivals,
}

impl Watch {
    /// Begins to watch a node's interfaces.
    pub fn begin(netns: &NetNs, crossing: &Crossing, probe: u64) -> Result<Self, ProbeError> {
        let site = Site { place: Place::Node(crossing.to.clone()), netns };
        site.run(WATCHING, || Self::new(crossing, probe))
    }

    fn new(crossing: &Crossing, probe: u64) -> io::Result<Self> {
        Ok(Self {
            packets: PacketWatch::new(crossing.source, crossing.destination)?,
            probe,
            to: crossing.destination,
            arrivals: Arrivals::default(),
        })
    }

    /// Waits for something to be seen, until a time, and takes note of all that was.
    pub fn look(&mut self, limit: Instant) -> io::Result<()> {
        wait_until(&[self.packets.as_fd()], PollFlags::POLLIN, limit)?;
        self.take()
    }

    /// What was seen so far.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn take(&mut self) -> io::Result<()> {
        let Self { packets, probe, to, arrivals } = self;
        take(packets, Direction::In, |sighted| match sighted {
            Sighted::Marked(mark) if mark.probe == *probe => {
                arrivals.packets.insert((mark.kind, mark.number));
            }
            Sighted::Syn { source_port } if arrivals.ports.len() < MOST_PORTS => {
                arrivals.ports.insert(source_port);
            }
            Sighted::Neighbour { asked_for } if asked_for == *to => arrivals.n_asked += 1,
            _ => {}
        })
    }
}

/// Tells of each packet that a watch has seen go one way.
fn take(watch: &PacketWatch, wanted: Direction, mut tell: impl FnMut(Sighted)) -> io::Result<()> {
    // Marks stand near a packet's beginning.
    let mut buffer = [0; 256];
    while let Some((length, direction)) = watch.next(&mut buffer)? {
        if direction == wanted
            && let Some(sighted) = wire::sighted(&buffer[..length.min(buffer.len())])
        {
            tell(sighted);
        }
    }
    Ok(())
}

/// What sends, and watches what leaves.
struct Sending {
    watch: PacketWatch,
    senders: Vec<Sender>,
    probe: u64,
    to: IpAddr,
    departures: Departures,
}

impl Sending {
    fn new(crossing: &Crossing, probe: u64) -> io::Result<Self> {
        let watch = PacketWatch::new(crossing.source, crossing.destination)?;
        let senders = crossing.packets.iter().map(|it| Sender::new(crossing, it));
        let senders = senders.collect::<io::Result<Vec<_>>>()?;
        let mut departures = Departures::default();
        for (kind, sender) in (0..).zip(&senders) {
            let ports = (0..).zip(sender.ports());
            departures.ports.extend(ports.map(|(number, port)| (port, (kind, number))));
        }
        Ok(Self { watch, senders, probe, to: crossing.destination, departures })
    }

    /// Sends everything, and waits until all that left has arrived, where somebody watches from here, else until
    /// everything has left.
    fn send(&mut self, mut arriving: Option<&mut Watch>) -> io::Result<()> {
        let start = Instant::now();
        for number in 0..N_PACKETS {
            for (kind, sender) in (0..).zip(&mut self.senders) {
                sender.send(Mark { probe: self.probe, kind, number });
            }
            self.look(arriving.as_deref_mut(), start + PACE * u32::from(number + 1))?;
        }
        let limit = Instant::now() + PATIENCE;
        while !self.is_complete(arriving.as_deref()) && Instant::now() < limit {
            self.look(arriving.as_deref_mut(), limit)?;
        }
        Ok(())
    }

    /// How much was seen at the far end, or where that is elsewhere, here.
    fn n_seen(&self, arriving: Option<&Watch>) -> usize {
        arriving
            .map_or(self.departures.packets.len(), |it| it.arrivals.packets.len() + it.arrivals.ports.len())
    }

    /// What waits for its neighbour has not left yet: the kernel asks again every second.
    fn is_complete(&self, arriving: Option<&Watch>) -> bool {
        let left = &self.departures.packets;
        match arriving {
            Some(watch) => !left.is_empty() && watch.arrivals.has_all(&self.departures),
            None => left.len() == self.senders.len() * usize::from(N_PACKETS),
        }
    }

    /// Waits for something to be seen, until a time, and takes note of all that was.
    fn look(&mut self, mut arriving: Option<&mut Watch>, limit: Instant) -> io::Result<()> {
        loop {
            let mut watched = vec![self.watch.as_fd()];
            watched.extend(arriving.as_ref().map(|it| it.packets.as_fd()));
            wait_until(&watched, PollFlags::POLLIN, limit)?;
            let n_before = self.n_seen(arriving.as_deref());
            self.take()?;
            if let Some(watch) = &mut arriving {
                watch.take()?;
            }
            let is_news = n_before < self.n_seen(arriving.as_deref());
            if (is_news && self.is_complete(arriving.as_deref())) || Instant::now() >= limit {
                return Ok(());
            }
        }
    }

    fn take(&mut self) -> io::Result<()> {
        let Self { watch, probe, to, departures, .. } = self;
        take(watch, Direction::Out, |sighted| match sighted {
            Sighted::Marked(mark) if mark.probe == *probe => {
                departures.packets.insert((mark.kind, mark.number));
            }
            Sighted::Syn { source_port } => departures.packets.extend(departures.ports.get(&source_port)),
            Sighted::Neighbour { asked_for } if asked_for == *to => departures.n_asked += 1,
            _ => {}
        })
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
