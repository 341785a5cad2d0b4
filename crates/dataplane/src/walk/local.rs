//! Sockets: who takes a packet that is for this host, and what it answers.

use std::net::IpAddr;

use hopwise_snapshot::{Element, IfIndex, Link, Observed, Socket, SocketProtocol, SocketState, SysctlKey};

use super::{
    Complaining, Skb, Step, Stop, Walker,
    route::{InputRoute, OutputQuestion},
};
use crate::{
    model::PlaceId,
    packet::{IcmpError, Packet, TcpStep, Transport},
    trace::{BlockerKind, Stage, Unknown},
};

/// Who took a packet.
#[derive(Clone, Debug)]
pub(super) enum Taken {
    /// The stack of a place, for one of its sockets or itself.
    Local(Box<TakenLocally>),
    /// A host that is none of the cluster's.
    Outside(Packet),
}

/// A packet that a place's stack took for itself.
#[derive(Clone, Debug)]
pub(super) struct TakenLocally {
    pub(super) place: PlaceId,
    /// The interface that it came in by.
    pub(super) link: IfIndex,
    pub(super) skb: Skb,
}

impl<'n> Walker<'n> {
    /// Gives a first packet to the socket that waits for it, and says what is answered.
    pub(super) fn accept(&mut self, taken: &TakenLocally) -> Step<Transport> {
        let place = taken.place;
        match taken.skb.packet.transport {
            Transport::Tcp { source_port, destination_port, .. } => {
                self.listener(taken, SocketProtocol::Tcp, destination_port)?;
                Ok(Transport::Tcp {
                    source_port: destination_port,
                    destination_port: source_port,
                    step: TcpStep::SynAck,
                })
            }
            Transport::Udp { source_port, destination_port } => {
                let socket = self.listener(taken, SocketProtocol::Udp, destination_port)?;
                if socket.is_some_and(|it| it.address.is_unspecified()) {
                    self.refuse_another_source(taken, destination_port, source_port)?;
                }
                Ok(Transport::Udp { source_port: destination_port, destination_port: source_port })
            }
            Transport::EchoRequest { id } => {
                self.refuse_ignored_echo(place, taken.skb.packet.is_ipv6())?;
                self.note(place, Stage::Deliver, None, || "the kernel answers the echo".to_owned());
                Ok(Transport::EchoReply { id })
            }
            _ => {
                let element = Element::place(self.place(place));
                Err(self.stop(place, element, BlockerKind::Unknown))
            }
        }
    }

    fn refuse_ignored_echo(&mut self, place: PlaceId, is_ipv6: bool) -> Step<()> {
        let key = SysctlKey::from_path(if is_ipv6 {
            "net/ipv6/icmp/echo_ignore_all"
        } else {
            "net/ipv4/icmp_echo_ignore_all"
        });
        if self.switch(place, &key, 0, 0)? == 0 {
            return Ok(());
        }
        let element = Element::sysctl(self.place(place), &key);
        let stop = self.stop(place, element, BlockerKind::Switch { key, wanted: "0".to_owned() });
        self.past(stop)
    }

    /// Stops where the answer of a UDP socket for any address could come from another address than was asked.
    ///
    /// The kernel then chooses the source by the way back, unless the program names the address that it was
    /// asked at (`IP_PKTINFO`, ip(7)); no state of the kernel shows whether a program does.
    fn refuse_another_source(&mut self, taken: &TakenLocally, port: u16, asking_port: u16) -> Step<()> {
        let Packet { source, destination, .. } = taken.skb.packet;
        let question = OutputQuestion {
            destination: source,
            source: None,
            output: super::is_link_local(source).then_some(taken.link),
            mark: 0,
            tos: 0,
            transport: (taken.skb.packet.protocol(), port, asking_port),
        };
        let chosen = match self.in_silence(|walker| walker.route_output(taken.place, &question)) {
            Ok(InputRoute::Local { source }) => source,
            Ok(InputRoute::Forward(hop)) => hop.source,
            // The answer itself will meet what stops it.
            Err(_) => None,
        };
        let Some(chosen) = chosen.filter(|it| *it != destination) else { return Ok(()) };
        let element = Element::socket(self.place(taken.place), "udp", port);
        let why = format!("an answer from {chosen}, where the program does not name {destination} itself");
        self.assume(element.clone(), Unknown::NotModelled(why));
        Err(self.stop(taken.place, element, BlockerKind::Unknown).unknown())
    }

    /// The socket that takes new packets of this protocol and port, where sockets are known; if there is none,
    /// the sender is told.
    fn listener(
        &mut self,
        taken: &TakenLocally,
        protocol: SocketProtocol,
        port: u16,
    ) -> Step<Option<&'n Socket>> {
        let place = taken.place;
        let word = if protocol == SocketProtocol::Tcp { "tcp" } else { "udp" };
        let element = Element::socket(self.place(place), word, port);
        let stack = self.stack(place)?;
        let sockets = match &stack.sockets {
            Observed::Known(sockets) => sockets.as_slice(),
            Observed::Absent => &[],
            Observed::NotCollected(reason) => {
                self.assume(element.clone(), Unknown::NotCollected(reason.clone()));
                self.note(place, Stage::Deliver, Some(element), || {
                    format!("{word} {port}, taken to be open")
                });
                return Ok(None);
            }
        };
        let link = self.link(place, taken.link)?;
        let destination = taken.skb.packet.destination;
        let waiting = sockets.iter().find(|it| {
            it.protocol == protocol
                && it.port == port
                && it.state != SocketState::Connected
                && takes(it, destination, link)
        });
        if let Some(socket) = waiting {
            let program = socket.program.clone().unwrap_or_default();
            self.note(place, Stage::Deliver, Some(element), || {
                format!("{word} {port} {program}").trim_end().to_owned()
            });
            return Ok(Some(socket));
        }
        let answer = match protocol {
            SocketProtocol::Tcp => Complaining::Reset,
            SocketProtocol::Udp | SocketProtocol::Raw => Complaining::Icmp(IcmpError::PortUnreachable),
        };
        let stop = self.stop(place, element, BlockerKind::NobodyListens { protocol: word, port });
        self.past(stop.complaining(place, answer, &taken.skb))?;
        Ok(None)
    }

    /// Nobody at this place waits for such an answer.
    pub(super) fn unexpected(
        &self,
        place: PlaceId,
        seen: &Packet,
        expected: crate::packet::Tuple,
    ) -> Box<Stop> {
        let element = Element::place(self.place(place));
        self.stop(place, element, BlockerKind::UnexpectedAnswer { seen: seen.tuple(), expected })
    }
}

/// Does a socket take packets for this address that come in by this interface?
fn takes(socket: &Socket, destination: IpAddr, link: &Link) -> bool {
    if socket.link.is_some_and(|it| it != link.index) {
        return false;
    }
    match (socket.address, destination) {
        (IpAddr::V4(own), IpAddr::V4(to)) => own.is_unspecified() || own == to,
        (IpAddr::V6(own), IpAddr::V6(to)) => own.is_unspecified() || own == to,
        // An IPv6 socket takes IPv4 unless it was told not to; its address is then `::` or a mapped one.
        (IpAddr::V6(own), IpAddr::V4(to)) => {
            !socket.is_v6_only && (own.is_unspecified() || own.to_ipv4_mapped() == Some(to))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}
