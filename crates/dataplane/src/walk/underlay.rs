//! Between the nodes, and outside the cluster: assumed to work (see [`crate::model::underlay`]).

use std::net::{IpAddr, Ipv6Addr};

use hopwise_netfilter::Hook;
use hopwise_snapshot::{Element, IfIndex, Mac, tables};
use ipnet::IpNet;

use super::{
    Arrival, Landing, Skb, Station, Step, Stop, Walker,
    link::{Content, Frame, Landed, Landings, more_telling},
    local::Taken,
    neighbour::{group_mac, solicitation, solicited_node},
};
use crate::{
    model::PlaceId,
    packet::{Arp, Packet},
    trace::{BlockerKind, Stage, Unknown},
};

/// The station that hosts between the nodes ask and answer as.
const FOREIGN_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);

/// The link-local address that they ask from.
const FOREIGN_ADDRESS: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

impl Walker<'_> {
    /// Carries a frame from one uplink to the stations that it is for.
    pub(super) fn underlay_carries(&mut self, place: PlaceId, link: IfIndex, frame: Frame) -> Landings {
        self.note(place, Stage::Underlay, None, || "between the nodes".to_owned());
        self.left_by = Some(place);
        if frame.is_to_foreign {
            return vec![Ok(Landed::Foreign(frame))];
        }
        let network = self.network;
        let others = network.underlay.uplinks.iter().filter(|it| **it != (place, link));
        if frame.destination.is_multicast() {
            let mut landings: Landings = Vec::new();
            for &(there, uplink) in others {
                if self.may_answer(there, &frame) {
                    landings.extend(self.receive(there, uplink, frame.clone()));
                }
            }
            landings.push(Ok(Landed::Foreign(frame)));
            return landings;
        }
        let station = |there: PlaceId, uplink: IfIndex| {
            let stack = network.stack(there).ok()?;
            let device = stack.link(uplink)?;
            let bridge = device.master.and_then(|it| stack.link(it));
            Some(
                device.mac == Some(frame.destination)
                    || bridge.is_some_and(|it| it.mac == Some(frame.destination)),
            )
        };
        let mut holders = others.filter(|(there, uplink)| station(*there, *uplink) == Some(true));
        if let Some(&(there, uplink)) = holders.next() {
            if let Some(stop) = self.lost_between(place, there, &frame)
                && let Err(stop) = self.past(stop)
            {
                return vec![Err(stop)];
            }
            return self.receive(there, uplink, frame);
        }
        let is_own = self.link(place, link).is_ok_and(|it| it.mac == Some(frame.destination));
        if !is_own && network.underlay.is_station_mac(frame.destination) {
            return vec![Ok(Landed::Foreign(frame))];
        }
        // It may be the station of a node whose interfaces nobody read.
        let mut nodes = network.ids().filter(|it| network.place(*it).as_node().is_some());
        if let Some((node, (element, reason))) =
            nodes.find_map(|it| Some((it, network.unread_links(it).filter(|_| it != place)?)))
        {
            self.visited.insert(node);
            return vec![Err(self.not_collected(node, element, reason))];
        }
        vec![Err(self.no_such_station(place, link, frame.destination))]
    }

    /// Packets showed that this one gets lost between two nodes.
    fn lost_between(&self, from: PlaceId, to: PlaceId, frame: &Frame) -> Option<Box<Stop>> {
        let Content::Ip(skb) = &frame.content else { return None };
        let (from_node, to_node) = (self.network.place(from).as_node()?, self.network.place(to).as_node()?);
        let loss = self.network.underlay.loss(from_node, to_node, &skb.packet)?;
        let kind = BlockerKind::Lost { from: loss.from.clone(), to: loss.to.clone(), what: loss.what };
        let mut stop = self.stop(from, loss.element.clone(), kind);
        stop.blocker.place = None;
        Some(stop)
    }

    fn no_such_station(&self, place: PlaceId, link: IfIndex, mac: Mac) -> Box<Stop> {
        let element = Element::link(self.place(place), &self.link_name(place, link));
        self.stop(place, element, BlockerKind::WrongStation { mac })
    }

    /// Could a node have something to say to a frame for everyone? Following it to the others would tell
    /// nothing.
    fn may_answer(&mut self, place: PlaceId, frame: &Frame) -> bool {
        let Ok(stack) = self.network.stack(place) else { return false };
        let target = match &frame.content {
            Content::Arp(arp) => arp.target,
            Content::Ip(skb) => match skb.packet.transport {
                crate::packet::Transport::NeighbourSolicitation { target } => target,
                _ => return false,
            },
        };
        stack.holder_of(target).is_some() || !stack.proxied.is_empty() || stack.proxies_for_all()
    }

    /// What becomes of a packet that left the nodes for a host that is none of the cluster's: that host
    /// takes it (`Ok`), or the gateway sends it on to a node (`Err`).
    pub(super) fn outside(&mut self, packet: Packet) -> Step<Result<Taken, Arrival>> {
        let network = self.network;
        if let Some((place, link)) = network.face_of(packet.destination) {
            let mut packet = packet;
            packet.ttl = packet.ttl.saturating_sub(1);
            return self.to_node(place, link, packet).map(Err);
        }
        if let Some(range) = network.underlay.cluster_range_of(packet.destination) {
            let place = self.left_by.unwrap_or(PlaceId(0));
            return Err(self.leaked(place, range, packet.destination));
        }
        if !network.underlay.is_believed_outside(packet.destination) {
            let host = packet.destination.to_string();
            let what = format!("whether {host} outside answers");
            self.assume(Element::underlay([host]), Unknown::NotModelled(what));
        }
        self.listens_outside(&packet)?;
        Ok(Ok(Taken::Outside(packet)))
    }

    /// A host that is known to be there is asked on a port that a rule chose, and that it is not known to serve.
    fn listens_outside(&self, packet: &Packet) -> Step<()> {
        let Some(rule) = self.translations.iter().rev().find(|it| it.is_destination) else { return Ok(()) };
        let port = packet.ports().1;
        let serves = self.network.underlay.serves(packet.destination, packet.protocol(), port);
        if port == 0 || serves != Some(false) {
            return Ok(());
        }
        let place = self.network.id(&rule.place).unwrap_or(PlaceId(0));
        let protocol = if packet.protocol() == 6 { "tcp" } else { "udp" };
        Err(self.stop(place, rule.element.clone(), BlockerKind::NobodyListens { protocol, port }))
    }

    /// A packet for the cluster's own addresses went to the gateway, which knows no way to them: the node
    /// that sent it there lacks the route.
    fn leaked(&self, place: PlaceId, range: IpNet, destination: IpAddr) -> Box<Stop> {
        let element = Element::route(self.place(place), tables::MAIN, &range, 0);
        self.stop(place, element, BlockerKind::NoRoute { destination })
    }

    /// A packet from outside, or from another node by way of the gateway, comes to a node.
    #[expect(clippy::wrong_self_convention, reason = "`to` is where a packet goes")]
    pub(super) fn to_node(&mut self, place: PlaceId, link: IfIndex, packet: Packet) -> Step<Arrival> {
        let mac = self.resolve_from_outside(place, link, packet.destination)?;
        let frame = Frame {
            source: FOREIGN_MAC,
            destination: mac,
            content: Content::Ip(Skb::new(packet)),
            is_to_foreign: false,
        };
        let landings = self.receive(place, link, frame);
        match self.one_landing(place, landings)? {
            Landing::Stack(arrival) => Ok(*arrival),
            Landing::Outside(_) => Err(self.no_such_station(place, link, mac)),
        }
    }

    /// The gateway asks for a node's address.
    fn resolve_from_outside(&mut self, place: PlaceId, link: IfIndex, address: IpAddr) -> Step<Mac> {
        let stack = self.stack(place)?;
        if let IpAddr::V6(wanted) = address {
            return self.in_silence(|it| it.advertised_to_outside(place, link, wanted));
        }
        let sender = stack.gateway(link).unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let question = Arp { is_reply: false, sender, sender_mac: FOREIGN_MAC, target: address };
        let frame = Frame {
            source: FOREIGN_MAC,
            destination: Mac::BROADCAST,
            content: Content::Arp(question),
            is_to_foreign: false,
        };
        self.in_silence(|it| it.answered_from_outside(place, link, &question, frame))
    }

    /// The same for IPv6.
    fn advertised_to_outside(&mut self, place: PlaceId, link: IfIndex, wanted: Ipv6Addr) -> Step<Mac> {
        let asker = IpAddr::V6(FOREIGN_ADDRESS);
        let question = Skb::new(solicitation(asker, wanted));
        let frame = Frame {
            source: FOREIGN_MAC,
            destination: group_mac(solicited_node(wanted)),
            content: Content::Ip(question),
            is_to_foreign: false,
        };
        let mut lost = None;
        for landed in self.receive(place, link, frame) {
            let answered = match landed {
                Ok(Landed::Ip(Landing::Stack(arrival))) if arrival.place == place => {
                    self.advertise(*arrival, IpAddr::V6(wanted), asker, None)
                }
                Ok(_) => Ok(None),
                Err(stop) => Err(stop),
            };
            match answered {
                Ok(Some(Station::Mac(mac))) => return Ok(mac),
                Ok(_) => {}
                Err(stop) => lost = Some(more_telling(lost, stop)),
            }
        }
        Err(lost.unwrap_or_else(|| self.nobody_has(place, link, IpAddr::V6(wanted))))
    }

    fn nobody_has(&self, place: PlaceId, link: IfIndex, address: IpAddr) -> Box<Stop> {
        let name = self.link_name(place, link);
        let element = Element::link(self.place(place), &name);
        self.stop(place, element, BlockerKind::NoNeighbour { link: name, address })
    }

    fn answered_from_outside(
        &mut self,
        place: PlaceId,
        link: IfIndex,
        question: &Arp,
        frame: Frame,
    ) -> Step<Mac> {
        let mut lost = None;
        for landed in self.receive(place, link, frame) {
            match landed {
                Ok(Landed::Arp { place: there, link: by, .. }) if there == place => {
                    let device = self.link(there, by)?;
                    self.arp_hook(there, Hook::Input, Some(device), None, question, Mac::BROADCAST)?;
                    if self.answers(there, device, question)? {
                        let mac = device.mac.unwrap_or(Mac::ZERO);
                        let answer = Arp {
                            is_reply: true,
                            sender: question.target,
                            sender_mac: mac,
                            target: question.sender,
                        };
                        self.arp_hook(there, Hook::Output, None, Some(device), &answer, FOREIGN_MAC)?;
                        let frame = Frame {
                            source: mac,
                            destination: FOREIGN_MAC,
                            content: Content::Arp(answer),
                            is_to_foreign: true,
                        };
                        let mut back = self.send(there, by, frame).into_iter();
                        if let Some(Err(stop)) = back.next() {
                            return Err(stop);
                        }
                        return Ok(mac);
                    }
                }
                Ok(_) => {}
                Err(stop) => lost = Some(more_telling(lost, stop)),
            }
        }
        Err(lost.unwrap_or_else(|| self.nobody_has(place, link, question.target)))
    }
}
