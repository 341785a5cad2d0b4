//! The IP stack: packets come in, are forwarded, and leave.
//!
//! Sources: net/ipv4/{ip_input,ip_forward,ip_output}.c, net/ipv6/{ip6_input,ip6_output}.c (Linux 6.18).

use hopwise_netfilter::Hook;
use hopwise_snapshot::{Element, IfIndex, Link, Mac, Observed, SysctlKey};

use super::{
    Arrival, Complaining, Landing, PacketType, Skb, Station, Step, Walker,
    hooks::Devices,
    link::{Content, Frame},
    local::{Taken, TakenLocally},
    route::{InputRoute, NextHop, OutputQuestion},
    tracking::{Association, Direction},
};
use crate::{
    model::PlaceId,
    packet::{IcmpError, Packet},
    trace::BlockerKind,
};

impl Walker<'_> {
    /// Follows a packet until somebody takes it.
    pub(super) fn deliver(&mut self, mut landing: Landing) -> Step<Taken> {
        loop {
            let arrival = match landing {
                Landing::Outside(packet) => match self.outside(packet)? {
                    Ok(taken) => return Ok(taken),
                    Err(arrival) => arrival,
                },
                Landing::Stack(arrival) => *arrival,
            };
            self.step(arrival.place)?;
            match self.ip_input(arrival)? {
                Ok(taken) => return Ok(Taken::Local(taken)),
                Err(next) => landing = next,
            }
        }
    }

    /// Takes a packet in: for this host (`Ok`), or forwarded (`Err`).
    fn ip_input(&mut self, arrival: Arrival) -> Step<Result<Box<TakenLocally>, Landing>> {
        let Arrival { place, link: index, packet_type, mut skb, physical_input, is_prerouted, .. } = arrival;
        if packet_type == PacketType::OtherHost {
            return Err(self.wrong_station(place, index, arrival.destination_mac));
        }
        let link = self.link(place, index)?;
        let is_ipv6 = skb.packet.is_ipv6();
        if is_ipv6 {
            self.refuse_disabled(place, link)?;
        }
        let port = physical_input.map(|it| self.link(place, it)).transpose()?;
        let incoming = Devices { input: Some(link), physical_input: port, ..Devices::default() };
        let destination = skb.packet.destination;
        if !is_prerouted {
            self.ip_hook(place, Hook::Prerouting, &mut skb, incoming)?;
        }
        // A packet that never left this host keeps the route that it was sent by, unless its destination was
        // translated on the way in (`nf_nat_ipv4_pre_routing` drops the route then).
        let route = if link.is_loopback() && skb.packet.destination == destination {
            InputRoute::Local { source: None }
        } else {
            self.route_input(place, index, &skb)?
        };
        match route {
            InputRoute::Local { .. } => {
                self.ip_hook(place, Hook::Input, &mut skb, incoming)?;
                self.xfrm_arriving(place, "in", &skb)?;
                Ok(Ok(Box::new(TakenLocally { place, link: index, skb })))
            }
            InputRoute::Forward(hop) => {
                if packet_type != PacketType::Host {
                    return Err(self.wrong_station(place, index, arrival.destination_mac));
                }
                self.forward(place, link, port, skb, hop).map(Err)
            }
        }
    }

    /// An interface without IPv6 takes no IPv6 packet (`ip6_rcv_core`).
    fn refuse_disabled(&mut self, place: PlaceId, link: &Link) -> Step<()> {
        let key = SysctlKey::of_link(true, &link.name, "disable_ipv6");
        if self.switch(place, &key, 0, 0)? == 0 {
            return Ok(());
        }
        let element = Element::sysctl(self.place(place), &key);
        let stop = self.stop(place, element, BlockerKind::Switch { key, wanted: "0".to_owned() });
        self.past(stop)
    }

    fn forward(
        &mut self,
        place: PlaceId,
        link: &Link,
        port: Option<&Link>,
        mut skb: Skb,
        hop: NextHop,
    ) -> Step<Landing> {
        self.xfrm_arriving(place, "fwd", &skb)?;
        if skb.packet.ttl <= 1 {
            let element = Element::place(self.place(place));
            let stop = self.stop(place, element, BlockerKind::TimeToLive).looping();
            let answer = Complaining::Icmp(IcmpError::TimeExceeded);
            return Err(stop.complaining(place, answer, &skb));
        }
        // `xfrm4_route_forward` (`ip_forward`, net/ipv4/ip_forward.c, Linux 6.1): what is to leave, with the addresses
        // that it has now.
        self.xfrm(place, "out", &skb.packet)?;
        let output = self.link(place, hop.link)?;
        // `ip6_forward`, net/ipv6/ip6_output.c: but back out by the same interface it goes, with a redirect.
        if super::is_link_local(skb.packet.source) && output.index != link.index {
            let element = Element::link(self.place(place), &link.name);
            let kind = BlockerKind::Martian { link: link.name.clone(), address: skb.packet.source };
            let stop = self.stop(place, element, kind);
            let answer = Complaining::Icmp(IcmpError::NetUnreachable);
            self.past(stop.complaining(place, answer, &skb))?;
        }
        let mtu = hop.mtu.unwrap_or(output.mtu);
        if skb.packet.length > mtu && (skb.packet.dont_fragment || skb.packet.is_ipv6()) {
            let stop = self.refuse_size(place, output, mtu, &skb);
            self.past(stop)?;
        }
        skb.packet.ttl -= 1;
        let devices =
            Devices { input: Some(link), output: Some(output), physical_input: port, ..Devices::default() };
        self.ip_hook(place, Hook::Forward, &mut skb, devices)?;
        self.ip_output(place, skb, hop, port)
    }

    /// Sends a packet that was made here (`__ip_local_out`, `ip_output`).
    pub(super) fn local_output(&mut self, place: PlaceId, skb: &mut Skb, mut hop: NextHop) -> Step<Landing> {
        let (destination, source) = (skb.packet.destination, skb.packet.source);
        let (mark, tos) = (skb.packet.mark, skb.packet.tos);
        let output = self.link(place, hop.link)?;
        let devices = Devices { output: Some(output), ..Devices::default() };
        let routes_anew = self.ip_hook(place, Hook::Output, skb, devices)?;
        let packet = &skb.packet;
        let is_changed = packet.destination != destination
            || (routes_anew && (packet.mark != mark || packet.source != source || packet.tos != tos));
        if is_changed {
            // `ip_route_me_harder`, net/ipv4/netfilter.c.
            match self.route_of(place, packet)? {
                InputRoute::Forward(next) => hop = next,
                InputRoute::Local { .. } => hop = self.loopback_hop(place, packet)?,
            }
        }
        self.xfrm(place, "out", &skb.packet)?;
        let output = self.link(place, hop.link)?;
        let mtu = hop.mtu.unwrap_or(output.mtu);
        if skb.packet.length > mtu && skb.packet.dont_fragment && !output.is_loopback() {
            if skb.packet.is_fragmented_by_its_host() {
                skb.packet.length = mtu;
                return self.ip_output(place, skb.clone(), hop, None);
            }
            let stop = self.too_big(place, output, skb.packet.length);
            self.past(stop.refused(IcmpError::TooBig { mtu }))?;
        }
        self.ip_output(place, skb.clone(), hop, None)
    }

    /// The way of a packet that is made here and has its addresses.
    pub(super) fn route_of(&mut self, place: PlaceId, packet: &Packet) -> Step<InputRoute> {
        self.route_by(place, packet, None)
    }

    /// The same by one interface alone, where the sender names one.
    pub(super) fn route_by(
        &mut self,
        place: PlaceId,
        packet: &Packet,
        output: Option<IfIndex>,
    ) -> Step<InputRoute> {
        let question = OutputQuestion {
            destination: packet.destination,
            source: Some(packet.source),
            output,
            mark: packet.mark,
            tos: packet.tos,
            transport: (packet.protocol(), packet.ports().0, packet.ports().1),
        };
        self.route_output(place, &question)
    }

    /// The hop of a packet that stays on this host.
    pub(super) fn loopback_hop(&mut self, place: PlaceId, packet: &Packet) -> Step<NextHop> {
        let stack = self.stack(place)?;
        if let Observed::NotCollected(reason) = &stack.links {
            let element = Element::ruleset(self.place(place), "link");
            return Err(self.not_collected(place, element, reason.clone()));
        }
        let Some(loopback) = stack.loopback() else {
            let element = Element::link(self.place(place), "lo");
            return Err(self.stop(place, element, BlockerKind::LinkMissing { link: "lo".to_owned() }));
        };
        Ok(NextHop { link: loopback.index, next: packet.destination, mtu: None, source: None })
    }

    fn ip_output(
        &mut self,
        place: PlaceId,
        mut skb: Skb,
        hop: NextHop,
        port: Option<&Link>,
    ) -> Step<Landing> {
        let output = self.link(place, hop.link)?;
        let devices = Devices {
            output: Some(output),
            physical_input: port,
            next_hop: Some(hop.next),
            ..Devices::default()
        };
        self.ip_hook(place, Hook::Postrouting, &mut skb, devices)?;
        let source = skb.packet.source;
        let station = self.neighbour(place, hop.link, hop.next, Some(source))?;
        let destination = match station {
            Station::Mac(mac) => mac,
            Station::None | Station::Foreign => Mac::ZERO,
        };
        let is_to_foreign = station == Station::Foreign;
        let source = self.network.stack(place).ok().and_then(|it| it.mac_of(hop.link)).unwrap_or(Mac::ZERO);
        let frame = Frame { source, destination, content: Content::Ip(skb), is_to_foreign };
        let landings = self.send(place, hop.link, frame);
        self.one_landing(place, landings)
    }

    /// The policies for packets that arrive see the addresses from before translation (`nf_nat_decode_session`).
    fn xfrm_arriving(&mut self, place: PlaceId, direction: &str, skb: &Skb) -> Step<()> {
        let mut packet = skb.packet.clone();
        if let Some(Association { connection: Some(number), direction, .. }) = skb.association {
            let connection = self.tracking.connection(number);
            let tuple = match direction {
                Direction::Original => connection.original,
                Direction::Reply => connection.reply,
            };
            (packet.source, packet.destination) = (tuple.source, tuple.destination);
        }
        self.xfrm(place, direction, &packet)
    }

    /// An IPsec policy that blocks (`xfrm4_policy_check`, `xfrm_lookup`). One that transforms is not modelled.
    fn xfrm(&mut self, place: PlaceId, direction: &str, packet: &Packet) -> Step<()> {
        let stack = self.stack(place)?;
        let Some(policies) = stack.xfrm_policies.known() else { return Ok(()) };
        let mut matching: Vec<_> = policies
            .iter()
            .filter(|it| it.direction == direction)
            .filter(|it| it.source.contains(&packet.source) && it.destination.contains(&packet.destination))
            .filter(|it| it.protocol == 0 || it.protocol == packet.protocol())
            .collect();
        matching.sort_by_key(|it| (it.priority, it.index));
        let Some(policy) = matching.first() else { return Ok(()) };
        let element = Element::xfrm_policy(self.place(place), policy.index);
        if policy.blocks {
            let stop = self.stop(place, element, BlockerKind::Xfrm { index: policy.index });
            return self.past(stop);
        }
        if policy.n_templates > 0 {
            return Err(self.not_modelled(place, element, "IPsec transforms"));
        }
        Ok(())
    }
}
