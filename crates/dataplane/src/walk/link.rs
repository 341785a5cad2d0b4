//! Interfaces: a frame is put out on one and taken in on another.

use hopwise_snapshot::{Element, IfIndex, Link, LinkDetail, Mac};

use super::{
    Arrival, Landing, PacketType, Skb, Step, Stop, Walker, hooks::NetdevHook, traffic_control::Side,
};
use crate::{
    model::{Peer, PlaceId},
    packet::{Arp, IcmpError, ethertype},
    trace::{BlockerKind, Stage},
};

/// What the tracer's frames carry.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// An IP packet.
    Ip(Skb),
    /// An ARP message.
    Arp(Arp),
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) source: Mac,
    pub(super) destination: Mac,
    pub(super) content: Content,
    /// Is it for a station between the nodes whose Ethernet address nobody knows?
    pub(super) is_to_foreign: bool,
}

impl Frame {
    pub(super) fn ethertype(&self) -> u16 {
        match &self.content {
            Content::Arp(_) => ethertype::ARP,
            Content::Ip(skb) if skb.packet.is_ipv6() => ethertype::IPV6,
            Content::Ip(_) => ethertype::IPV4,
        }
    }

    /// Bytes without the Ethernet header.
    pub(super) fn length(&self) -> u32 {
        match &self.content {
            Content::Ip(skb) => skb.packet.length,
            Content::Arp(_) => 28,
        }
    }

    fn scrubbed(mut self) -> Self {
        if let Content::Ip(skb) = self.content {
            self.content = Content::Ip(skb.scrubbed());
        }
        self
    }
}

/// What becomes of a frame: it turns up at IP stacks or ARP handlers, or it is lost.
pub(super) type Landings = Vec<Step<Landed>>;

/// A frame at the door of a stack.
#[derive(Clone, Debug)]
pub(super) enum Landed {
    /// An IP packet.
    Ip(Landing),
    /// An ARP message.
    Arp { place: PlaceId, link: IfIndex, packet_type: PacketType, arp: Arp },
    /// A frame for a station between the nodes that is no node's.
    Foreign(Frame),
}

impl<'n> Walker<'n> {
    /// Puts a frame out on an interface (`__dev_queue_xmit`, net/core/dev.c).
    pub(super) fn send(&mut self, place: PlaceId, link: IfIndex, frame: Frame) -> Landings {
        match self.send_checked(place, link, frame) {
            Ok(landings) => landings,
            Err(stop) => vec![Err(stop)],
        }
    }

    fn send_checked(&mut self, place: PlaceId, index: IfIndex, mut frame: Frame) -> Step<Landings> {
        self.step(place)?;
        let link = self.link(place, index)?;
        let name = &link.name;
        self.note_by(place, Stage::Send, |it| Element::link(it, name), || name.clone());
        if !link.is_up() {
            let stop = self.link_down(place, link);
            self.past(stop)?;
        }
        self.netdev_hook(place, NetdevHook::Egress, link, &mut frame)?;
        self.traffic_control(place, link, Side::Egress, &frame)?;
        if !link.is_loopback() && !link.has_carrier() {
            let stop = self.no_carrier(place, link);
            self.past(stop)?;
        }
        self.queue(place, link, &frame)?;
        if link.is_loopback() {
            return Ok(vec![self.loop_back(place, link, frame)]);
        }
        match &link.detail {
            LinkDetail::Bridge(bridge) => return Ok(self.bridge_output(place, link, bridge, frame)),
            LinkDetail::Vxlan(vxlan) => return self.encapsulate(place, link, vxlan, frame),
            LinkDetail::Other => {}
            LinkDetail::Vlan { .. } | LinkDetail::Macvlan { .. } | LinkDetail::Vrf { .. } | _ => {
                return Err(self.unknown_device(place, link));
            }
        }
        match self.network.peer(place, link) {
            Peer::Link(peer, peer_index) => {
                let frame = if peer == place { frame } else { frame.scrubbed() };
                Ok(self.receive(peer, peer_index, frame))
            }
            Peer::Underlay => Ok(self.underlay_carries(place, index, frame.scrubbed())),
            Peer::NotCollected => Err(self.peer_not_collected(place, link)),
            Peer::Nowhere if link.kind == "veth" => {
                let element = Element::link(self.place(place), name);
                Err(self.stop(place, element, BlockerKind::LinkMissing { link: name.clone() }))
            }
            Peer::Nowhere => Err(self.unknown_device(place, link)),
        }
    }

    fn peer_not_collected(&mut self, place: PlaceId, link: &Link) -> Box<Stop> {
        let element = Element::link(self.place(place), &link.name);
        let what = format!("the other end of {} is in a namespace that was not read", link.name);
        self.not_modelled(place, element, what)
    }

    fn unknown_device(&mut self, place: PlaceId, link: &Link) -> Box<Stop> {
        let element = Element::link(self.place(place), &link.name);
        let kind = if link.kind.is_empty() { "hardware" } else { &link.kind };
        self.not_modelled(place, element, format!("interfaces of kind {kind}"))
    }

    pub(super) fn link_down(&self, place: PlaceId, link: &Link) -> Box<Stop> {
        let element = Element::link_aspect(self.place(place), &link.name, "up");
        self.stop(place, element, BlockerKind::LinkDown { link: link.name.clone() })
    }

    /// No carrier means that the other end is down or gone: that is what stands in the way.
    fn no_carrier(&mut self, place: PlaceId, link: &Link) -> Box<Stop> {
        if let Peer::Link(peer, peer_index) = self.network.peer(place, link)
            && let Ok(stack) = self.network.stack(peer)
            && let Some(peer_link) = stack.link(peer_index)
            && !peer_link.is_up()
        {
            self.visited.insert(peer);
            return self.link_down(peer, peer_link);
        }
        if matches!(link.detail, LinkDetail::Bridge(_)) {
            let ports = self.network.stack(place).ok().into_iter().flat_map(|it| it.ports_of(link.index));
            let has_ports = ports.count() > 0;
            let element = Element::link(self.place(place), &link.name);
            if !has_ports {
                return self.stop(place, element, BlockerKind::NoCarrier { link: link.name.clone() });
            }
        }
        let element = Element::link_aspect(self.place(place), &link.name, "carrier");
        self.stop(place, element, BlockerKind::NoCarrier { link: link.name.clone() })
    }

    /// The interface with this index; a missing one cannot take or give anything.
    pub(super) fn link(&mut self, place: PlaceId, index: IfIndex) -> Step<&'n Link> {
        let stack = self.stack(place)?;
        match (&stack.links, stack.link(index)) {
            (_, Some(link)) => Ok(link),
            (hopwise_snapshot::Observed::NotCollected(reason), _) => {
                let element = Element::link(self.place(place), &index.to_string());
                Err(self.not_collected(place, element, reason.clone()))
            }
            _ => {
                let link = index.to_string();
                let element = Element::link(self.place(place), &link);
                Err(self.stop(place, element, BlockerKind::LinkMissing { link }))
            }
        }
    }

    fn loop_back(&mut self, place: PlaceId, link: &Link, frame: Frame) -> Step<Landed> {
        let Frame { source, destination, content: Content::Ip(skb), .. } = frame else {
            let element = Element::link(self.place(place), &link.name);
            return Err(self.not_modelled(place, element, "ARP on the loopback interface"));
        };
        // `loopback_xmit` keeps the mark and the connection (drivers/net/loopback.c).
        Ok(Landed::Ip(Landing::Stack(Box::new(Arrival {
            place,
            link: link.index,
            packet_type: PacketType::Host,
            source_mac: source,
            destination_mac: destination,
            skb,
            physical_input: None,
            is_prerouted: false,
        }))))
    }

    /// Takes a frame in on an interface (`__netif_receive_skb_core`, net/core/dev.c).
    pub(super) fn receive(&mut self, place: PlaceId, index: IfIndex, frame: Frame) -> Landings {
        match self.receive_checked(place, index, frame) {
            Ok(landings) => landings,
            Err(stop) => vec![Err(stop)],
        }
    }

    fn receive_checked(&mut self, place: PlaceId, index: IfIndex, mut frame: Frame) -> Step<Landings> {
        self.step(place)?;
        let link = self.link(place, index)?;
        let name = &link.name;
        self.note_by(place, Stage::Receive, |it| Element::link(it, name), || name.clone());
        if !link.is_up() {
            let stop = self.link_down(place, link);
            self.past(stop)?;
        }
        // `is_skb_forwardable`, net/core/dev.c: four bytes of grace for a VLAN tag.
        if !matches!(link.detail, LinkDetail::Vxlan(_)) && frame.length() > link.mtu + 4 {
            let stop = self.too_big(place, link, frame.length());
            self.past(stop)?;
        }
        if let Some(xdp) = &link.xdp {
            let what = format!("XDP program {} ({})", xdp.program, xdp.mode);
            let element = Element::xdp(self.place(place), name);
            self.assume(element, crate::trace::Unknown::NotModelled(what));
        }
        self.traffic_control(place, link, Side::Ingress, &frame)?;
        self.netdev_hook(place, NetdevHook::Ingress, link, &mut frame)?;
        if let Some(master) = link.master {
            let master = self.link(place, master)?;
            if let LinkDetail::Bridge(bridge) = &master.detail {
                return Ok(self.bridge_input(place, master, bridge, link, frame));
            }
            return Err(self.unknown_device(place, master));
        }
        let packet_type = packet_type(frame.destination, link.mac);
        Ok(vec![Ok(land(place, index, packet_type, frame, None, false))])
    }

    pub(super) fn too_big(&self, place: PlaceId, link: &Link, size: u32) -> Box<Stop> {
        let element = Element::link_aspect(self.place(place), &link.name, "mtu");
        let kind = BlockerKind::TooBig { link: link.name.clone(), mtu: link.mtu, size };
        self.stop(place, element, kind)
    }

    /// The one place where an IP packet turns up, out of everywhere that its frame went.
    ///
    /// A frame that was flooded turns up at the one station that it is for; what the others did with it does
    /// not matter. Where none takes it, the most telling loss counts: one that says more than "not for me".
    pub(super) fn one_landing(&mut self, place: PlaceId, landings: Landings) -> Step<Landing> {
        let mut lost: Option<Box<Stop>> = None;
        for landing in landings {
            match landing {
                Ok(Landed::Ip(Landing::Stack(arrival))) if arrival.packet_type == PacketType::OtherHost => {
                    let stop = self.wrong_station(arrival.place, arrival.link, arrival.destination_mac);
                    lost = Some(more_telling(lost, stop));
                }
                Ok(Landed::Ip(landing)) => return Ok(landing),
                Ok(Landed::Foreign(Frame { content: Content::Ip(skb), .. })) => {
                    return Ok(Landing::Outside(skb.packet));
                }
                Ok(Landed::Arp { .. } | Landed::Foreign(_)) => {}
                Err(stop) => lost = Some(more_telling(lost, stop)),
            }
        }
        Err(lost.unwrap_or_else(|| {
            let element = Element::place(self.place(place));
            self.stop(place, element, BlockerKind::WrongStation { mac: Mac::ZERO })
        }))
    }

    /// A frame that reached a station that it is not for.
    pub(super) fn wrong_station(&self, place: PlaceId, link: IfIndex, mac: Mac) -> Box<Stop> {
        let element = Element::link_aspect(self.place(place), &self.link_name(place, link), "mac");
        self.stop(place, element, BlockerKind::WrongStation { mac })
    }

    /// Refuses a packet that is larger than the interface takes, and tells its sender.
    pub(super) fn refuse_size(&self, place: PlaceId, link: &Link, mtu: u32, skb: &Skb) -> Box<Stop> {
        let element = Element::link_aspect(self.place(place), &link.name, "mtu");
        let kind = BlockerKind::TooBig { link: link.name.clone(), mtu, size: skb.packet.length };
        let answer = super::Complaining::Icmp(IcmpError::TooBig { mtu });
        self.stop(place, element, kind).complaining(place, answer, skb)
    }
}

/// Which of two losses says more about why a frame did not arrive.
pub(super) fn more_telling(first: Option<Box<Stop>>, second: Box<Stop>) -> Box<Stop> {
    match first {
        Some(first) if !matches!(first.blocker.kind, BlockerKind::WrongStation { .. }) => first,
        _ => second,
    }
}

/// Whom a destination names, seen from an interface with this address (`eth_type_trans`, net/ethernet/eth.c).
pub(super) fn packet_type(destination: Mac, own: Option<Mac>) -> PacketType {
    if destination == Mac::BROADCAST {
        PacketType::Broadcast
    } else if destination.is_multicast() {
        PacketType::Multicast
    } else if Some(destination) == own {
        PacketType::Host
    } else {
        PacketType::OtherHost
    }
}

/// A frame at the door of the stack that its content is for.
pub(super) fn land(
    place: PlaceId,
    link: IfIndex,
    packet_type: PacketType,
    frame: Frame,
    physical_input: Option<IfIndex>,
    is_prerouted: bool,
) -> Landed {
    match frame.content {
        Content::Arp(arp) => Landed::Arp { place, link, packet_type, arp },
        Content::Ip(skb) => Landed::Ip(Landing::Stack(Box::new(Arrival {
            place,
            link,
            packet_type,
            source_mac: frame.source,
            destination_mac: frame.destination,
            skb: Skb { ether: Some((frame.source, frame.destination)), ..skb },
            physical_input,
            is_prerouted,
        }))),
    }
}
