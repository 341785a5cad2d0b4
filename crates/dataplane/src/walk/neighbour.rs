//! Neighbours: which Ethernet address an IP address on a link has.
//!
//! Entries that the kernel would use are used as they are. Where it would have to ask, the question and its
//! answer are followed as the frames that they are, through every bridge and filter.
//! Sources: net/ipv4/arp.c, net/ipv6/ndisc.c, net/core/neighbour.c (Linux 6.18).

use std::net::{IpAddr, Ipv6Addr};

use hopwise_netfilter::Hook;
use hopwise_snapshot::{Element, IfIndex, Link, LinkFlags, Mac, Neighbour, SysctlKey};

use super::{
    Arrival, Landing, PacketType, Skb, Station, Step, Stop, Walker,
    hooks::Devices,
    link::{Content, Frame, Landed, more_telling},
    route::{InputRoute, OutputQuestion},
};
use crate::{
    model::{Peer, PlaceId, stack::Stack},
    packet::{Arp, Packet, Transport},
    trace::{BlockerKind, Stage, Unknown},
};

impl Walker<'_> {
    /// The station of `address` on `link`, for a packet from `source`.
    pub(super) fn neighbour(
        &mut self,
        place: PlaceId,
        link: IfIndex,
        address: IpAddr,
        source: Option<IpAddr>,
    ) -> Step<Station> {
        let stack = self.stack(place)?;
        let device = self.link(place, link)?;
        if device.flags.intersects(LinkFlags::LOOPBACK | LinkFlags::POINTOPOINT) {
            return Ok(Station::None);
        }
        if device.flags.contains(LinkFlags::NOARP) {
            // `arp_constructor` gives such neighbours the device's own address.
            return Ok(device.mac.map_or(Station::None, Station::Mac));
        }
        if let hopwise_snapshot::Observed::NotCollected(reason) = &stack.neighbours {
            let element = Element::neighbour(self.place(place), &device.name, address);
            self.assume(element, Unknown::NotCollected(reason.clone()));
        }
        let entry = stack.neighbours.known().and_then(|it| it.get(&(link, address)));
        if let Some(Neighbour { state, mac: Some(mac), .. }) = entry
            && state.is_valid()
        {
            let name = &device.name;
            self.note_by(
                place,
                Stage::Neighbour,
                |it| Element::neighbour(it, name, address),
                || format!("{address} is {mac} ({})", state.word()),
            );
            return Ok(Station::Mac(*mac));
        }
        let local = source.filter(|it| stack.holder_of(*it).is_some());
        let question = (place, link, address, local);
        if let Some(known) = self.resolved.get(&question) {
            return known.clone();
        }
        let answer = match (self.resolve(place, device, address, local), &stack.neighbours) {
            // There may be an entry that makes the question needless.
            (Err(_), hopwise_snapshot::Observed::NotCollected(reason)) => {
                let element = Element::neighbour(self.place(place), &device.name, address);
                Err(self.not_collected(place, element, reason.clone()))
            }
            (answer, _) => answer,
        };
        self.resolved.insert(question, answer.clone());
        answer
    }

    /// Asks for an address, as the kernel would.
    fn resolve(
        &mut self,
        place: PlaceId,
        link: &Link,
        address: IpAddr,
        source: Option<IpAddr>,
    ) -> Step<Station> {
        let depth = self.depth;
        // The packets of the question are not those of the flow: only their outcome is written down.
        let answer = self.in_silence(|it| {
            if address.is_ipv6() {
                it.solicit(place, link, address, source)
            } else {
                it.ask(place, link, address, source)
            }
        });
        self.depth = depth;
        let name = &link.name;
        let text = match &answer {
            Ok(Station::Mac(mac)) => format!("{address} answers as {mac}"),
            Ok(_) => format!("{address} is taken to answer"),
            Err(stop) => format!("no answer for {address}: {}", stop.blocker.note()),
        };
        self.note_by(place, Stage::Neighbour, |it| Element::neighbour(it, name, address), || text);
        answer
    }

    /// `arp_solicit`, and what comes of it.
    fn ask(&mut self, place: PlaceId, link: &Link, target: IpAddr, source: Option<IpAddr>) -> Step<Station> {
        let stack = self.stack(place)?;
        let sender = self.announced(place, stack, link, target, source)?;
        let sender_mac = link.mac.unwrap_or(Mac::ZERO);
        let question = Arp { is_reply: false, sender, sender_mac, target };
        self.arp_hook(place, Hook::Output, None, Some(link), &question, Mac::BROADCAST)?;
        let frame = Frame {
            source: sender_mac,
            destination: Mac::BROADCAST,
            content: Content::Arp(question),
            is_to_foreign: false,
        };
        let mut lost = None;
        for landed in self.send(place, link.index, frame) {
            let answered = match landed {
                Ok(Landed::Arp { place: there, link: device, packet_type, arp }) => {
                    self.arp_answer(there, device, packet_type, &arp, (place, link))
                }
                Ok(Landed::Foreign(_)) => Ok(self.foreign_station(target)),
                Ok(Landed::Ip(_)) => Ok(None),
                Err(stop) => Err(stop),
            };
            match answered {
                Ok(Some(station)) => return Ok(station),
                Ok(None) => {}
                Err(stop) => lost = Some(more_telling(lost, stop)),
            }
        }
        Err(lost.unwrap_or_else(|| self.nobody_answers(place, link, target)))
    }

    /// The sender address of an ARP question (`arp_announce`).
    fn announced(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        link: &Link,
        target: IpAddr,
        source: Option<IpAddr>,
    ) -> Step<IpAddr> {
        let mode = self.largest(place, &link.name, "arp_announce")?.0;
        let is_on_link = |it: &IpAddr| {
            stack
                .addresses_of(link.index, false)
                .any(|own| own.address.contains(it) && own.address.contains(&target))
        };
        let kept = match mode {
            0 => source,
            1 => source.filter(is_on_link),
            _ => None,
        };
        let chosen = kept.or_else(|| stack.select_ipv4(link.index, Some(target), 253));
        Ok(chosen.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)))
    }

    /// What a host makes of an ARP question (`arp_process`), and whether its answer gets back.
    fn arp_answer(
        &mut self,
        place: PlaceId,
        link: IfIndex,
        packet_type: PacketType,
        question: &Arp,
        asker: (PlaceId, &Link),
    ) -> Step<Option<Station>> {
        let device = self.link(place, link)?;
        if device.flags.contains(LinkFlags::NOARP) || packet_type == PacketType::OtherHost {
            return Ok(None);
        }
        self.arp_hook(place, Hook::Input, Some(device), None, question, Mac::BROADCAST)?;
        if !self.answers(place, device, question)? {
            return Ok(None);
        }
        let mac = device.mac.unwrap_or(Mac::ZERO);
        let answer =
            Arp { is_reply: true, sender: question.target, sender_mac: mac, target: question.sender };
        self.arp_hook(place, Hook::Output, None, Some(device), &answer, question.sender_mac)?;
        let frame = Frame {
            source: mac,
            destination: question.sender_mac,
            content: Content::Arp(answer),
            is_to_foreign: false,
        };
        let mut lost = None;
        for landed in self.send(place, link, frame) {
            match landed {
                Ok(Landed::Arp { place: back, link: by, packet_type, .. })
                    if back == asker.0 && by == asker.1.index && packet_type != PacketType::OtherHost =>
                {
                    self.arp_hook(back, Hook::Input, Some(asker.1), None, &answer, question.sender_mac)?;
                    return Ok(Some(Station::Mac(mac)));
                }
                Ok(_) => {}
                Err(stop) => lost = Some(more_telling(lost, stop)),
            }
        }
        Err(lost.unwrap_or_else(|| self.wrong_station(asker.0, asker.1.index, question.sender_mac)))
    }

    /// Does this host answer for the target?
    pub(super) fn answers(&mut self, place: PlaceId, link: &Link, question: &Arp) -> Step<bool> {
        let skb = Skb::new(Packet {
            source: question.sender,
            destination: question.target,
            ttl: 64,
            tos: 0,
            length: 28,
            dont_fragment: false,
            // The lookup of ARP knows no ports; the protocol number of nothing else than ICMP comes closest.
            transport: Transport::EchoRequest { id: 0 },
            mark: 0,
        });
        let stack = self.stack(place)?;
        if question.sender.is_unspecified() {
            return Ok(stack.holder_of(question.target).is_some());
        }
        let route = match self.route_input(place, link.index, &skb) {
            Ok(route) => route,
            // A host that holds the address and refuses the question says so; another has nothing to do
            // with it.
            Err(stop) if stack.holder_of(question.target).is_some() => return Err(stop),
            Err(_) => return Ok(false),
        };
        match route {
            InputRoute::Local { .. } => {
                self.refuse_ignored(place, stack, link, question)?;
                self.refuse_filtered(place, link, question)?;
                Ok(true)
            }
            InputRoute::Forward(hop) => {
                let proxies = self.largest(place, &link.name, "proxy_arp")?.0 != 0;
                let is_proxied = stack.proxied.contains(&(link.index, question.target));
                Ok(hop.link != link.index && (proxies || is_proxied))
            }
        }
    }

    /// `arp_ignore`, net/ipv4/arp.c.
    fn refuse_ignored(&mut self, place: PlaceId, stack: &Stack, link: &Link, question: &Arp) -> Step<()> {
        let (mode, key) = self.largest(place, &link.name, "arp_ignore")?;
        let mut own = stack.addresses_of(link.index, false).filter(|it| it.address.addr() == question.target);
        let held = own.next();
        let ignores = match mode {
            1 => held.is_none(),
            2 => held.is_none_or(|it| !it.address.contains(&question.sender)),
            3 => stack.holder_of(question.target).is_some_and(|it| it.scope >= 254),
            8 => true,
            _ => false,
        };
        if !ignores {
            return Ok(());
        }
        let element = Element::sysctl(self.place(place), &key);
        Err(self.stop(place, element, BlockerKind::Switch { key, wanted: "0".to_owned() }))
    }

    /// `arp_filter`, net/ipv4/arp.c: answer only on the interface that leads back to the asker.
    fn refuse_filtered(&mut self, place: PlaceId, link: &Link, question: &Arp) -> Step<()> {
        let (mode, key) = self.largest(place, &link.name, "arp_filter")?;
        if mode == 0 {
            return Ok(());
        }
        let back = OutputQuestion {
            destination: question.sender,
            source: Some(question.target),
            output: None,
            mark: 0,
            tos: 0,
            transport: (0, 0, 0),
        };
        if matches!(self.route_output(place, &back), Ok(InputRoute::Forward(hop)) if hop.link == link.index) {
            return Ok(());
        }
        let element = Element::sysctl(self.place(place), &key);
        Err(self.stop(place, element, BlockerKind::Switch { key, wanted: "0".to_owned() }))
    }

    /// A station between the nodes that is no node's, if one is believed to hold this address.
    fn foreign_station(&self, target: IpAddr) -> Option<Station> {
        let underlay = &self.network.underlay;
        underlay
            .has_station(target)
            .then(|| underlay.station_mac(target).map_or(Station::Foreign, Station::Mac))
    }

    /// `ndisc_solicit`, and what comes of it.
    fn solicit(
        &mut self,
        place: PlaceId,
        link: &Link,
        target: IpAddr,
        source: Option<IpAddr>,
    ) -> Step<Station> {
        let IpAddr::V6(wanted) = target else { return Ok(Station::None) };
        let stack = self.stack(place)?;
        let on_link = |it: &IpAddr| stack.addresses_of(link.index, true).any(|own| own.address.addr() == *it);
        let link_local = || {
            let mut own = stack.addresses_of(link.index, true).filter(|it| it.scope == 253 && it.is_usable());
            own.next().map(|it| it.address.addr())
        };
        let Some(sender) = source.filter(on_link).or_else(link_local) else {
            let element = Element::link(self.place(place), &link.name);
            return Err(self.no_source(place, element, link.name.clone()));
        };
        let group = solicited_node(wanted);
        let mut skb = Skb::new(solicitation(sender, wanted));
        let outgoing = Devices { output: Some(link), ..Devices::default() };
        self.ip_hook(place, Hook::Output, &mut skb, outgoing)?;
        self.ip_hook(place, Hook::Postrouting, &mut skb, outgoing)?;
        let sender_mac = link.mac.unwrap_or(Mac::ZERO);
        let frame = Frame {
            source: sender_mac,
            destination: group_mac(group),
            content: Content::Ip(skb),
            is_to_foreign: false,
        };
        let mut lost = None;
        for landed in self.send(place, link.index, frame) {
            let answered = match landed {
                Ok(Landed::Ip(Landing::Stack(arrival))) => {
                    self.advertise(*arrival, target, sender, Some((place, link)))
                }
                Ok(Landed::Foreign(_)) => Ok(self.foreign_station(target)),
                Ok(_) => Ok(None),
                Err(stop) => Err(stop),
            };
            match answered {
                Ok(Some(station)) => return Ok(station),
                Ok(None) => {}
                Err(stop) => lost = Some(more_telling(lost, stop)),
            }
        }
        Err(lost.unwrap_or_else(|| self.nobody_answers(place, link, target)))
    }

    /// What a host makes of a neighbour solicitation (`ndisc_recv_ns`), and whether its answer gets back.
    ///
    /// `back` is who asked; none for a host that is none of the cluster's.
    pub(super) fn advertise(
        &mut self,
        arrival: Arrival,
        target: IpAddr,
        asker: IpAddr,
        back: Option<(PlaceId, &Link)>,
    ) -> Step<Option<Station>> {
        let Arrival { place, link: index, mut skb, source_mac, is_prerouted, .. } = arrival;
        let stack = self.stack(place)?;
        let link = self.link(place, index)?;
        let holds = stack.addresses_of(index, true).any(|it| it.address.addr() == target && it.is_usable());
        let proxies = stack.proxied.contains(&(index, target))
            && self.switch(place, &SysctlKey::of_link(true, &link.name, "proxy_ndp"), 0, 0)? != 0;
        if !holds && !proxies {
            return Ok(None);
        }
        let incoming = Devices { input: Some(link), ..Devices::default() };
        if !is_prerouted {
            self.ip_hook(place, Hook::Prerouting, &mut skb, incoming)?;
        }
        self.ip_hook(place, Hook::Input, &mut skb, incoming)?;
        let mac = link.mac.unwrap_or(Mac::ZERO);
        let mut answer = Skb::new(Packet {
            source: target,
            destination: asker,
            ttl: 255,
            tos: 0,
            length: 72,
            dont_fragment: true,
            transport: Transport::NeighbourAdvertisement { target },
            mark: 0,
        });
        let outgoing = Devices { output: Some(link), ..Devices::default() };
        self.ip_hook(place, Hook::Output, &mut answer, outgoing)?;
        self.ip_hook(place, Hook::Postrouting, &mut answer, outgoing)?;
        let frame = Frame {
            source: mac,
            destination: source_mac,
            content: Content::Ip(answer),
            is_to_foreign: back.is_none(),
        };
        let landings = self.send(place, index, frame);
        let landing = self.one_landing(place, landings)?;
        let (Landing::Stack(arrival), Some(back)) = (landing, back) else {
            return Ok(Some(Station::Mac(mac)));
        };
        let Arrival { place: there, mut skb, is_prerouted, .. } = *arrival;
        if there != back.0 {
            return Err(self.wrong_station(back.0, back.1.index, source_mac));
        }
        let incoming = Devices { input: Some(back.1), ..Devices::default() };
        if !is_prerouted {
            self.ip_hook(there, Hook::Prerouting, &mut skb, incoming)?;
        }
        self.ip_hook(there, Hook::Input, &mut skb, incoming)?;
        Ok(Some(Station::Mac(mac)))
    }

    /// Nobody answers. If a place that the address belongs to can be told, what keeps it from answering is
    /// what stands in the way.
    fn nobody_answers(&mut self, place: PlaceId, link: &Link, address: IpAddr) -> Box<Stop> {
        if let Some((owner, element, reason)) = self.network.unread_holder(place, address) {
            self.visited.insert(owner);
            return self.not_collected(owner, element, reason);
        }
        if let Some(stop) = self.why_silent(place, link, address) {
            return stop;
        }
        let element = Element::neighbour(self.place(place), &link.name, address);
        self.stop(place, element, BlockerKind::NoNeighbour { link: link.name.clone(), address })
    }

    fn why_silent(&mut self, place: PlaceId, link: &Link, address: IpAddr) -> Option<Box<Stop>> {
        let network = self.network;
        let holder = network.stacks().find_map(|(id, stack)| {
            let held = stack.holder_of(address)?;
            (id != place).then(|| (id, stack.link(held.link)))
        });
        let Some((id, held_by)) = holder else {
            let (owner, owner_link) = network.claimed(address)?;
            self.visited.insert(owner);
            let stack = network.stack(owner).ok()?;
            let Some(device) = stack.link_named(&owner_link) else {
                let element = Element::link(&stack.place, &owner_link);
                return Some(self.stop(owner, element, BlockerKind::LinkMissing { link: owner_link }));
            };
            if !device.is_up() {
                return Some(self.link_down(owner, device));
            }
            let prefix = ipnet::IpNet::from(address);
            let element = Element::address(&stack.place, &owner_link, &prefix);
            return Some(self.stop(
                owner,
                element,
                BlockerKind::AddressMissing { link: owner_link, address },
            ));
        };
        self.visited.insert(id);
        let device = held_by?;
        if !device.is_up() {
            return Some(self.link_down(id, device));
        }
        if let Peer::Link(other, index) = network.peer(id, device)
            && let Ok(stack) = network.stack(other)
            && let Some(port) = stack.link(index)
        {
            if !port.is_up() {
                return Some(self.link_down(other, port));
            }
            if other == place && port.master.is_none() && link.kind == "bridge" {
                let element = Element::link_aspect(&stack.place, &port.name, "master");
                return Some(self.stop(other, element, BlockerKind::Detached { link: port.name.clone() }));
            }
        }
        None
    }
}

/// The question for the holder of an address (RFC 4861).
pub(super) fn solicitation(sender: IpAddr, wanted: Ipv6Addr) -> Packet {
    Packet {
        source: sender,
        destination: IpAddr::V6(solicited_node(wanted)),
        ttl: 255,
        tos: 0,
        length: 72,
        dont_fragment: true,
        transport: Transport::NeighbourSolicitation { target: IpAddr::V6(wanted) },
        mark: 0,
    }
}

/// The group that the holder of an address listens to (RFC 4291 §2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let low = u128::from(address) & 0xff_ffff;
    Ipv6Addr::from(0xff02_0000_0000_0000_0000_0001_ff00_0000_u128 | low)
}

/// The Ethernet address of an IPv6 group (RFC 2464 §7).
pub(super) fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_an_address_is_made_of_its_low_bits() {
        let group = solicited_node("fd00:10:244::1:5".parse().unwrap());
        assert_eq!(group.to_string(), "ff02::1:ff01:5");
        assert_eq!(group_mac(group).to_string(), "33:33:ff:01:00:05");
    }
}
