//! A flow from its first packet to its last answer.

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_snapshot::{Element, IPV6_MIN_MTU, IfIndex};

use super::{
    Choices, Complaining, Complaint, Landing, Skb, Step, Stop, Walker,
    local::{Taken, TakenLocally},
    route::{InputRoute, OutputQuestion},
    tracking::{Association, Direction, State},
};
use crate::{
    model::{Network, PlaceId},
    packet::{FlowProtocol, IcmpError, Packet, TcpStep, Transport, Tuple},
    trace::{Blocker, BlockerKind, Disposition, Flow, Recipient, Rejection, Size, Stage, Trace},
};

/// The port that the tracer's clients send from. No rule of a cluster names it.
const CLIENT_PORT: u16 = 40_001;
/// The identifier of the tracer's echo requests.
const ECHO_ID: u16 = 4_001;
/// Sizes of packets on the wire: a SYN, a small datagram, an echo request of `ping`.
const SMALL: (u32, u32, u32) = (60, 60, 84);

/// How a flow is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To the first that stops it; only the outcome counts.
    Plain,
    /// The same, and every hop is written down.
    Recording,
    /// On past whatever can be passed, to find all that would stop it.
    Forced,
}

/// One walk of a flow.
pub(crate) struct Walked {
    pub(crate) trace: Trace,
    /// What it was forced past.
    pub(crate) passed: BTreeSet<Blocker>,
    /// The places that had a say.
    pub(crate) visited: BTreeSet<PlaceId>,
    /// Did it go between the nodes?
    pub(crate) touches_underlay: bool,
    /// Did something unknown decide which way it went?
    pub(crate) is_guess: bool,
}

/// Follows a flow once, by the decisions of `choices`.
pub(crate) fn trace_once(network: &Network, flow: &Flow, choices: &mut Choices, mode: Mode) -> Walked {
    let mut walker = Walker::new(network, choices, mode == Mode::Recording);
    walker.passed = (mode == Mode::Forced).then(BTreeSet::new);
    let result = walker.converse(flow);
    let (disposition, blocker) = match result {
        Ok((by, source_seen)) => (Disposition::Delivered { by, source_seen }, None),
        Err((stop, disposition)) => {
            if let Some(place) = &stop.blocker.place
                && let Some(id) = network.id(place)
            {
                let element = stop.blocker.element.clone();
                walker.note(id, Stage::Drop, Some(element), || stop.blocker.note());
            }
            (disposition, Some(stop.blocker))
        }
    };
    let touches_underlay = walker.left_by.is_some();
    let Walker { hops, assumptions, translations, visited, passed, .. } = walker;
    let (probability, is_guess) = (choices.probability(), choices.has_unknown());
    let assumptions = assumptions.into_iter().collect();
    let trace = Trace { hops, disposition, blocker, translations, probability, assumptions };
    Walked { trace, passed: passed.unwrap_or_default(), visited, touches_underlay, is_guess }
}

type Ended = (Box<Stop>, Disposition);

impl Walker<'_> {
    /// The whole conversation. The recipient and the source address that it saw, or what stopped it.
    fn converse(&mut self, flow: &Flow) -> Result<(Recipient, IpAddr), Ended> {
        let Some(origin) = self.network.id(&flow.from) else {
            let element = Element::place(&flow.from);
            let blocker = Blocker { element, place: None, kind: BlockerKind::Unknown };
            let stop = Box::new(Stop { blocker, how: super::How::Unknown, complaint: None });
            return Err((stop, Disposition::Unknown));
        };
        let (first, landing) = match self.originate(origin, flow) {
            Ok(sent) => sent,
            Err(stop) => return Err(self.ended(stop, origin, None)),
        };
        let asked = first.tuple();
        let taken = match self.deliver_first(landing) {
            Ok(taken) => taken,
            Err(stop) => return Err(self.ended(stop, origin, Some(asked))),
        };
        let (recipient, seen) = self.recipient(&taken);
        match self.finish(origin, &taken, asked, flow) {
            Ok(()) => Ok((recipient, seen)),
            Err(stop) => {
                let disposition = stop.disposition();
                // A complaint about an answer goes to the one who answered; the one who asked hears nothing.
                let disposition = match disposition {
                    Disposition::Rejected(_) => Disposition::Dropped,
                    other => other,
                };
                Err((stop, disposition))
            }
        }
    }

    /// How long the packets of a flow are that does not leave that open, when they come from this address.
    fn length(&self, flow: &Flow, source: IpAddr) -> Option<u32> {
        match flow.size {
            Size::Small => None,
            Size::Bytes(size) => Some(size),
            Size::Full => self.network.mtu_of(&flow.from, source),
        }
    }

    fn recipient(&self, taken: &Taken) -> (Recipient, IpAddr) {
        match taken {
            Taken::Local(taken) => {
                (Recipient::Place(self.place(taken.place).clone()), taken.skb.packet.source)
            }
            Taken::Outside(packet) => (Recipient::Outside(packet.destination), packet.source),
        }
    }

    /// Sends the first packet: chooses its source address and way (`ip_route_connect`, net/ipv4/route.c).
    fn originate(&mut self, origin: PlaceId, flow: &Flow) -> Step<(Packet, Landing)> {
        let transport = match flow.protocol {
            FlowProtocol::Tcp(port) => {
                Transport::Tcp { source_port: CLIENT_PORT, destination_port: port, step: TcpStep::Syn }
            }
            FlowProtocol::Udp(port) => Transport::Udp { source_port: CLIENT_PORT, destination_port: port },
            FlowProtocol::Icmp => Transport::EchoRequest { id: ECHO_ID },
        };
        let small = match flow.protocol {
            FlowProtocol::Tcp(_) => SMALL.0,
            FlowProtocol::Udp(_) => SMALL.1,
            FlowProtocol::Icmp => SMALL.2,
        };
        let mut packet = Packet {
            source: flow.to,
            destination: flow.to,
            ttl: self.default_ttl(origin, flow.is_ipv6())?,
            tos: 0,
            length: small + if flow.is_ipv6() { 20 } else { 0 },
            dont_fragment: flow.size != Size::Small || matches!(flow.protocol, FlowProtocol::Tcp(_)),
            transport,
            mark: 0,
        };
        let question = OutputQuestion {
            destination: flow.to,
            source: None,
            output: None,
            mark: 0,
            tos: 0,
            transport: (packet.protocol(), 0, packet.ports().1),
        };
        let source = match self.route_output(origin, &question)? {
            InputRoute::Local { source } => source,
            InputRoute::Forward(hop) => hop.source,
        };
        let Some(source) = source else {
            return Err(self.no_source(origin, Element::place(self.place(origin)), String::new()));
        };
        packet.source = source;
        packet.length = self.length(flow, source).unwrap_or(packet.length);
        let text = packet.to_string();
        self.note(origin, Stage::Socket, None, || text);
        let landing = self.send_local(origin, packet.clone(), None)?;
        Ok((packet, landing))
    }

    fn default_ttl(&mut self, place: PlaceId, is_ipv6: bool) -> Step<u8> {
        let path = if is_ipv6 { "net/ipv6/conf/all/hop_limit" } else { "net/ipv4/ip_default_ttl" };
        let ttl = self.switch(place, &hopwise_snapshot::SysctlKey::from_path(path), 64, 64)?;
        Ok(u8::try_from(ttl).unwrap_or(64))
    }

    /// Sends a packet that has its addresses.
    fn send_local(
        &mut self,
        place: PlaceId,
        packet: Packet,
        association: Option<Association>,
    ) -> Step<Landing> {
        self.send_by(place, packet, association, None)
    }

    /// The same by one interface alone, where the sender names one.
    fn send_by(
        &mut self,
        place: PlaceId,
        packet: Packet,
        association: Option<Association>,
        output: Option<IfIndex>,
    ) -> Step<Landing> {
        let hop = match self.route_by(place, &packet, output)? {
            InputRoute::Forward(hop) => hop,
            InputRoute::Local { .. } => self.loopback_hop(place, &packet)?,
        };
        let mut skb = Skb::new(packet);
        skb.association = association;
        self.local_output(place, &mut skb, hop)
    }

    fn deliver_first(&mut self, landing: Landing) -> Step<Taken> {
        let taken = self.deliver(landing)?;
        if let Taken::Outside(packet) = &taken {
            let to = packet.destination;
            if self.is_recording
                && let Some(place) = self.left_by
            {
                self.note(place, Stage::Deliver, None, || format!("{to} outside the cluster"));
            }
        }
        Ok(taken)
    }

    /// The answer, and for TCP a round of data.
    fn finish(&mut self, origin: PlaceId, taken: &Taken, asked: Tuple, flow: &Flow) -> Step<()> {
        let answering = match taken {
            Taken::Local(taken) => self.accept(taken)?,
            Taken::Outside(packet) => answer_of(&packet.transport),
        };
        self.leg = 1;
        let answer = self.answer_packet(taken, answering, flow)?;
        self.answer(origin, taken, answer, asked)?;
        let FlowProtocol::Tcp(_) = flow.protocol else { return Ok(()) };
        self.leg = 2;
        let data = Packet {
            source: asked.source,
            destination: asked.destination,
            ttl: 64,
            tos: 0,
            length: self.length(flow, asked.source).unwrap_or(SMALL.0),
            dont_fragment: true,
            transport: Transport::Tcp {
                source_port: asked.source_port,
                destination_port: asked.destination_port,
                step: TcpStep::Data,
            },
            mark: 0,
        };
        let landing = self.send_local(origin, data, None)?;
        let again = self.deliver(landing)?;
        self.leg = 3;
        let answering = answer_of(match &again {
            Taken::Local(taken) => &taken.skb.packet.transport,
            Taken::Outside(packet) => &packet.transport,
        });
        let answer = self.answer_packet(&again, answering, flow)?;
        self.back_and_check(origin, &again, answer, asked)
    }

    fn answer_packet(&mut self, taken: &Taken, transport: Transport, flow: &Flow) -> Step<Packet> {
        let (received, ttl) = match taken {
            Taken::Local(taken) => {
                let packet = taken.skb.packet.clone();
                let ttl = self.default_ttl(taken.place, packet.is_ipv6())?;
                (packet, ttl)
            }
            Taken::Outside(packet) => (packet.clone(), 64),
        };
        // An echo reply is as long as its request, and may be fragmented (`icmp_sk_init`: pmtudisc "dont").
        let is_echo = matches!(transport, Transport::EchoReply { .. });
        Ok(Packet {
            source: received.destination,
            destination: received.source,
            ttl,
            tos: 0,
            length: if is_echo { received.length } else { SMALL.0 },
            dont_fragment: flow.is_ipv6() || matches!(transport, Transport::Tcp { .. }),
            transport,
            mark: 0,
        })
    }

    /// Sends an answer back, again in fragments when the host that answers hears that it was too big.
    fn answer(&mut self, origin: PlaceId, taken: &Taken, mut answer: Packet, asked: Tuple) -> Step<()> {
        loop {
            let Err(stop) = self.back_and_check(origin, taken, answer.clone(), asked) else { return Ok(()) };
            match self.learned_length(taken, &answer, &stop) {
                Some(length) if length < answer.length => answer.length = length,
                _ => return Err(stop),
            }
        }
    }

    /// The length of the fragments in which a host sends an answer once a complaint about its size reached it
    /// (`rt6_update_pmtu`, net/ipv6/route.c).
    fn learned_length(&mut self, taken: &Taken, answer: &Packet, stop: &Stop) -> Option<u32> {
        let (Taken::Local(taken), Some(complaint)) = (taken, &stop.complaint) else { return None };
        let Complaining::Icmp(IcmpError::TooBig { mtu }) = complaint.answer else { return None };
        if !answer.is_fragmented_by_its_host() {
            return None;
        }
        self.complain(taken.place, complaint, answer.tuple())?;
        Some(mtu.max(IPV6_MIN_MTU))
    }

    /// Sends an answer back, and checks that it is the one that was waited for.
    fn back_and_check(&mut self, origin: PlaceId, taken: &Taken, answer: Packet, asked: Tuple) -> Step<()> {
        let landing = match taken {
            Taken::Local(taken) => {
                let text = answer.to_string();
                self.note(taken.place, Stage::Answer, None, || text);
                // A link-local address means nothing without its interface (RFC 4007).
                let output = super::is_link_local(answer.destination).then_some(taken.link);
                self.send_by(taken.place, answer, None, output)?
            }
            Taken::Outside(_) => Landing::Stack(Box::new(self.answer_from_outside(answer)?)),
        };
        let back = match self.deliver(landing)? {
            Taken::Local(back) => back,
            Taken::Outside(packet) => return Err(self.unexpected(origin, &packet, asked.inverted())),
        };
        let TakenLocally { place, skb, .. } = *back;
        if place != origin || skb.packet.tuple() != asked.inverted() {
            return Err(self.unexpected(place, &skb.packet, asked.inverted()));
        }
        Ok(())
    }

    fn answer_from_outside(&mut self, answer: Packet) -> Step<super::Arrival> {
        let to = answer.destination;
        if let Some((place, link)) = self.network.face_of(to) {
            return self.to_node(place, link, answer);
        }
        let place = self.left_by.unwrap_or(PlaceId(0));
        let is_ipv6 = to.is_ipv6();
        let tool = if is_ipv6 { "ip6tables-nft" } else { "iptables-nft" };
        let element = Element::iptables_chain(self.place(place), tool, "nat", "POSTROUTING");
        Err(self.stop(place, element, BlockerKind::NoWayBack { source: to }))
    }

    /// How a flow ends that was stopped on its way: rejected if a complaint reaches the sender.
    fn ended(&mut self, mut stop: Box<Stop>, origin: PlaceId, asked: Option<Tuple>) -> Ended {
        let disposition = stop.disposition();
        let Some(complaint) = stop.complaint.take() else { return (stop, disposition) };
        let Some(asked) = asked else { return (stop, disposition) };
        self.leg = 1;
        match self.complain(origin, &complaint, asked) {
            Some(rejection) => (stop, Disposition::Rejected(rejection)),
            None if matches!(disposition, Disposition::Rejected(_)) => (stop, Disposition::Dropped),
            None => (stop, disposition),
        }
    }

    /// Sends a complaint, and says how the sender hears of it.
    fn complain(&mut self, origin: PlaceId, complaint: &Complaint, asked: Tuple) -> Option<Rejection> {
        let about = &complaint.about;
        match complaint.answer {
            Complaining::Icmp(kind) => {
                let packet = self.error_packet(complaint, kind)?;
                let landing = self.send_local(complaint.place, packet, None).ok()?;
                let Ok(Taken::Local(heard)) = self.deliver(landing) else { return None };
                match heard.skb.packet.transport {
                    Transport::Error { kind, about } if heard.place == origin && about == asked => {
                        Some(Rejection::Icmp(kind))
                    }
                    _ => None,
                }
            }
            Complaining::Reset => {
                let (source_port, destination_port) = about.packet.ports();
                let packet = Packet {
                    source: about.packet.destination,
                    destination: about.packet.source,
                    ttl: 64,
                    tos: 0,
                    length: 40,
                    dont_fragment: true,
                    transport: Transport::Tcp {
                        source_port: destination_port,
                        destination_port: source_port,
                        step: TcpStep::Reset,
                    },
                    mark: 0,
                };
                // A filter's reset belongs to the connection that it ends (`nf_ct_attach`); a socket's is an
                // answer like any other.
                let association =
                    about.association.filter(|it| it.connection.is_some()).map(|it| Association {
                        direction: match it.direction {
                            Direction::Original => Direction::Reply,
                            Direction::Reply => Direction::Original,
                        },
                        state: State::Related,
                        ..it
                    });
                let landing = self.send_local(complaint.place, packet, association).ok()?;
                let Ok(Taken::Local(heard)) = self.deliver(landing) else { return None };
                (heard.place == origin && heard.skb.packet.tuple() == asked.inverted())
                    .then_some(Rejection::Reset)
            }
        }
    }

    /// An ICMP error about a packet (`__icmp_send`, net/ipv4/icmp.c; `icmp6_send`, net/ipv6/icmp.c).
    fn error_packet(&mut self, complaint: &Complaint, kind: IcmpError) -> Option<Packet> {
        let about = &complaint.about.packet;
        let network = self.network;
        let stack = network.stack(complaint.place).ok()?;
        let to = about.source;
        let source = if stack.holder_of(about.destination).is_some() {
            about.destination
        } else {
            let question = OutputQuestion {
                destination: to,
                source: None,
                output: None,
                mark: 0,
                tos: 0,
                transport: (1, 0, 0),
            };
            match self.route_output(complaint.place, &question).ok()? {
                InputRoute::Forward(hop) => hop.source?,
                InputRoute::Local { source } => source?,
            }
        };
        Some(Packet {
            source,
            destination: to,
            ttl: 64,
            tos: 0xc0,
            length: 96,
            dont_fragment: to.is_ipv6(),
            transport: Transport::Error { kind, about: about.tuple() },
            mark: 0,
        })
    }
}

/// What a host outside answers.
fn answer_of(transport: &Transport) -> Transport {
    match *transport {
        Transport::Tcp { source_port, destination_port, step } => Transport::Tcp {
            source_port: destination_port,
            destination_port: source_port,
            step: if step == TcpStep::Syn { TcpStep::SynAck } else { TcpStep::Data },
        },
        Transport::Udp { source_port, destination_port } => {
            Transport::Udp { source_port: destination_port, destination_port: source_port }
        }
        Transport::EchoRequest { id } => Transport::EchoReply { id },
        ref other => other.clone(),
    }
}
