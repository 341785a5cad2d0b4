//! Connection tracking and what translation remembers, per place, for the length of one trace.

use crate::{
    model::PlaceId,
    packet::{Packet, TcpStep, Transport, Tuple},
};

/// The direction of a packet in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// As the first packet.
    Original,
    /// Against it.
    Reply,
}

/// What connection tracking says of a packet (`enum ip_conntrack_info`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Begins a connection, or continues one that was never answered.
    New,
    /// Belongs to a connection with packets both ways.
    Established,
    /// Is about a connection: an ICMP error, a reset that a filter made.
    Related,
    /// Fits nothing.
    Invalid,
    /// Is exempt.
    Untracked,
}

/// The connection that a packet belongs to, while it is in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Association {
    /// The connection, by its number in [`Tracking`]; none if invalid or untracked.
    pub(crate) connection: Option<usize>,
    /// The packet's direction.
    pub(crate) direction: Direction,
    /// The packet's state.
    pub(crate) state: State,
}

/// A tracked connection (`struct nf_conn`).
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    place: PlaceId,
    /// The zone that keeps it apart from others.
    pub(crate) zone: u16,
    /// As the first packet came in.
    pub(crate) original: Tuple,
    /// As answers are expected.
    pub(crate) reply: Tuple,
    /// Has an answer been seen?
    pub(crate) is_replied: bool,
    /// Did it begin with a SYN, so that data counts only behind the answer to that?
    began_with_syn: bool,
    /// Did its first packet leave the place, so that others can find it?
    pub(crate) is_confirmed: bool,
    /// Has a source translation, or that there is none, been settled?
    pub(crate) has_source: bool,
    /// Has a destination translation, or that there is none, been settled?
    pub(crate) has_destination: bool,
    /// The connection's mark.
    pub(crate) mark: u32,
}

impl Connection {
    /// Is its source translated?
    pub(crate) fn is_source_translated(&self) -> bool {
        self.reply.destination != self.original.source
            || self.reply.destination_port != self.original.source_port
    }

    /// Is its destination translated?
    pub(crate) fn is_destination_translated(&self) -> bool {
        self.reply.source != self.original.destination
            || self.reply.source_port != self.original.destination_port
    }
}

/// All connections of one trace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracking {
    connections: Vec<Connection>,
}

impl Tracking {
    /// The connection with this number.
    pub(crate) fn connection(&self, number: usize) -> &Connection {
        &self.connections[number]
    }

    /// The connection with this number, for changing it.
    pub(crate) fn connection_mut(&mut self, number: usize) -> &mut Connection {
        &mut self.connections[number]
    }

    /// What a packet that enters a place belongs to; a new connection where it may begin one.
    ///
    /// Source: `nf_conntrack_in`, `resolve_normal_ct`, `nf_conntrack_inet_error` (Linux 6.18).
    pub(crate) fn associate(&mut self, place: PlaceId, zone: u16, packet: &Packet) -> Association {
        if let Transport::Error { about, .. } = packet.transport {
            return self.associate_error(place, zone, about);
        }
        if matches!(
            packet.transport,
            Transport::NeighbourSolicitation { .. } | Transport::NeighbourAdvertisement { .. }
        ) {
            // Neighbour discovery is exempt (`icmpv6_error`, nf_conntrack_proto_icmpv6.c).
            return Association { connection: None, direction: Direction::Original, state: State::Untracked };
        }
        let tuple = packet.tuple();
        if let Some((number, direction)) = self.find(place, zone, tuple) {
            let connection = &mut self.connections[number];
            if direction == Direction::Reply {
                connection.is_replied = true;
            } else if connection.began_with_syn && !connection.is_replied && !is_syn(&packet.transport) {
                // State SYN_SENT: an ACK is invalid, and the packet then belongs to nothing
                // (`tcp_conntracks`, nf_conntrack_proto_tcp.c).
                return Association { connection: None, direction, state: State::Invalid };
            }
            let state = if connection.is_replied { State::Established } else { State::New };
            return Association { connection: Some(number), direction, state };
        }
        if !begins_connection(&packet.transport) {
            return Association { connection: None, direction: Direction::Original, state: State::Invalid };
        }
        self.connections.push(Connection {
            place,
            zone,
            original: tuple,
            reply: tuple.inverted(),
            is_replied: false,
            began_with_syn: is_syn(&packet.transport),
            is_confirmed: false,
            has_source: false,
            has_destination: false,
            mark: 0,
        });
        let connection = Some(self.connections.len() - 1);
        Association { connection, direction: Direction::Original, state: State::New }
    }

    /// An error is about the connection whose tuple is that of the packet in it, turned round.
    fn associate_error(&self, place: PlaceId, zone: u16, about: Tuple) -> Association {
        match self.find(place, zone, about.inverted()) {
            Some((number, direction)) => {
                Association { connection: Some(number), direction, state: State::Related }
            }
            None => Association { connection: None, direction: Direction::Original, state: State::Invalid },
        }
    }

    fn find(&self, place: PlaceId, zone: u16, tuple: Tuple) -> Option<(usize, Direction)> {
        let known = self.connections.iter().enumerate().rev();
        let mut here = known.filter(|(_, it)| it.place == place && it.zone == zone && it.is_confirmed);
        here.find_map(|(number, it)| {
            if it.original == tuple {
                Some((number, Direction::Original))
            } else if it.reply == tuple {
                Some((number, Direction::Reply))
            } else {
                None
            }
        })
    }

    /// Is there a translated connection at this place that a packet with this tuple answers?
    pub(crate) fn translated_reply(&self, place: PlaceId, tuple: Tuple) -> Option<&Connection> {
        let mut here = self.connections.iter().filter(|it| it.place == place && it.is_confirmed);
        here.find(|it| it.reply == tuple && (it.is_source_translated() || it.is_destination_translated()))
    }
}

fn is_syn(transport: &Transport) -> bool {
    matches!(transport, Transport::Tcp { step: TcpStep::Syn, .. })
}

/// May this packet be the first that is seen of a connection?
///
/// TCP: anything but SYN,ACK and RST, since `nf_conntrack_tcp_loose` is on by default and picks a
/// connection up in the middle (`tcp_new`, nf_conntrack_proto_tcp.c). ICMP: requests only (`icmp_new`).
fn begins_connection(transport: &Transport) -> bool {
    match transport {
        Transport::Tcp { step, .. } => matches!(step, TcpStep::Syn | TcpStep::Data),
        Transport::Udp { .. } | Transport::EchoRequest { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(from: &str, to: &str, transport: Transport) -> Packet {
        Packet {
            source: from.parse().unwrap(),
            destination: to.parse().unwrap(),
            ttl: 64,
            tos: 0,
            length: 60,
            dont_fragment: true,
            transport,
            mark: 0,
        }
    }

    fn tcp(source_port: u16, destination_port: u16, step: TcpStep) -> Transport {
        Transport::Tcp { source_port, destination_port, step }
    }

    #[test]
    fn an_answer_belongs_to_the_confirmed_connection_of_its_place_only() {
        let mut tracking = Tracking::default();
        let (here, there) = (PlaceId(0), PlaceId(1));
        let first = tracking.associate(here, 0, &packet("10.0.0.1", "10.0.0.2", tcp(1000, 80, TcpStep::Syn)));
        assert_eq!(first.state, State::New);
        let answer = packet("10.0.0.2", "10.0.0.1", tcp(80, 1000, TcpStep::SynAck));
        assert_eq!(tracking.associate(here, 0, &answer).state, State::Invalid, "not confirmed yet");
        tracking.connection_mut(first.connection.unwrap()).is_confirmed = true;
        assert_eq!(tracking.associate(there, 0, &answer).state, State::Invalid);
        let reply = tracking.associate(here, 0, &answer);
        assert_eq!((reply.state, reply.direction), (State::Established, Direction::Reply));
    }

    #[test]
    fn an_acknowledgement_of_an_answer_that_was_not_seen_is_invalid() {
        let mut tracking = Tracking::default();
        let here = PlaceId(0);
        let first = tracking.associate(here, 0, &packet("10.0.0.1", "10.0.0.2", tcp(1000, 80, TcpStep::Syn)));
        tracking.connection_mut(first.connection.unwrap()).is_confirmed = true;
        let data = packet("10.0.0.1", "10.0.0.2", tcp(1000, 80, TcpStep::Data));
        assert_eq!(tracking.associate(here, 0, &data).state, State::Invalid);
        tracking.associate(here, 0, &packet("10.0.0.2", "10.0.0.1", tcp(80, 1000, TcpStep::SynAck)));
        assert_eq!(tracking.associate(here, 0, &data).state, State::Established);
    }

    #[test]
    fn a_udp_answer_without_a_connection_begins_one() {
        let mut tracking = Tracking::default();
        let answer = packet("10.0.0.2", "10.0.0.1", Transport::Udp { source_port: 53, destination_port: 9 });
        assert_eq!(tracking.associate(PlaceId(0), 0, &answer).state, State::New);
    }

    #[test]
    fn an_error_is_related_to_the_connection_that_it_is_about() {
        let mut tracking = Tracking::default();
        let first = packet("10.0.0.1", "10.0.0.2", tcp(1000, 80, TcpStep::Syn));
        let begun = tracking.associate(PlaceId(0), 0, &first);
        tracking.connection_mut(begun.connection.unwrap()).is_confirmed = true;
        let kind = crate::packet::IcmpError::HostUnreachable;
        let error = packet("10.0.0.9", "10.0.0.1", Transport::Error { kind, about: first.tuple() });
        let related = tracking.associate(PlaceId(0), 0, &error);
        assert_eq!((related.state, related.direction), (State::Related, Direction::Reply));
    }
}
