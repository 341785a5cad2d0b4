//! Bridges, and the IP packet filter that looks at what they bridge (`br_netfilter`).
//!
//! Sources: net/bridge/{br_input,br_forward,br_fdb,br_netfilter_hooks,br_netfilter_ipv6}.c (Linux 6.18).

use hopwise_netfilter::Hook;
use hopwise_snapshot::{Bridge, Element, FdbEntry, FdbState, IfIndex, Link, Mac, PortState, SysctlKey};

use super::{
    PacketType, Skb, Step, Stop, Walker,
    hooks::{Devices, NetdevHook},
    link::{Content, Frame, Landed, Landings, land, packet_type},
    route::InputRoute,
    traffic_control::Side,
};
use crate::{
    model::{Peer, PlaceId},
    packet::Packet,
    trace::{BlockerKind, Stage},
};

/// A frame inside a bridge.
#[derive(Clone, Copy)]
struct Inside<'a> {
    place: PlaceId,
    bridge: &'a Link,
    settings: &'a Bridge,
    /// The port that it came in by; none for what the bridge's own stack sends.
    port: Option<&'a Link>,
    /// Did it pass the IP prerouting hooks, so that the later ones look at it too?
    is_filtered: bool,
}

impl Walker<'_> {
    /// What the bridge's own IP stack sends (`br_dev_xmit`).
    pub(super) fn bridge_output(
        &mut self,
        place: PlaceId,
        bridge: &Link,
        settings: &Bridge,
        frame: Frame,
    ) -> Landings {
        let inside = Inside { place, bridge, settings, port: None, is_filtered: false };
        if let Err(stop) = self.refuse_vlan_filtering(inside) {
            return vec![Err(stop)];
        }
        self.bridge_forward(inside, frame)
    }

    /// What comes in by a port (`br_handle_frame`).
    pub(super) fn bridge_input(
        &mut self,
        place: PlaceId,
        bridge: &Link,
        settings: &Bridge,
        port: &Link,
        frame: Frame,
    ) -> Landings {
        match self.bridge_input_checked(place, bridge, settings, port, frame) {
            Ok(landings) => landings,
            Err(stop) => vec![Err(stop)],
        }
    }

    fn bridge_input_checked(
        &mut self,
        place: PlaceId,
        bridge: &Link,
        settings: &Bridge,
        port: &Link,
        mut frame: Frame,
    ) -> Step<Landings> {
        let mut inside = Inside { place, bridge, settings, port: Some(port), is_filtered: false };
        self.refuse_vlan_filtering(inside)?;
        if !bridge.is_up() {
            return Err(self.link_down(place, bridge));
        }
        let setting = port.port.clone().unwrap_or_default();
        if setting.state != PortState::Forwarding {
            return Err(self.port_blocks(inside, port, "state"));
        }
        if setting.locked && !self.is_station_on(inside, port, frame.source) {
            return Err(self.port_blocks(inside, port, "locked"));
        }
        self.bridge_hook(place, Hook::Prerouting, Some(port), None, bridge, &mut frame)?;
        if let Content::Ip(skb) = &mut frame.content
            && self.passes_ip_hooks(place, settings, skb.packet.is_ipv6())?
        {
            inside.is_filtered = true;
            let before = skb.packet.destination;
            self.ip_hook(place, Hook::Prerouting, skb, bridged(bridge, Some(port), None))?;
            if skb.packet.destination != before {
                return self.after_translation(inside, frame);
            }
        }
        Ok(self.bridge_forward(inside, frame))
    }

    /// A bridged packet with a new destination is routed if its way leads elsewhere, and bridged to the new
    /// destination's station if it leads back to the bridge (`br_nf_pre_routing_finish`).
    fn after_translation(&mut self, inside: Inside<'_>, mut frame: Frame) -> Step<Landings> {
        let Content::Ip(skb) = &frame.content else { return Ok(Vec::new()) };
        let (place, bridge) = (inside.place, inside.bridge);
        let next = match self.unforced(|it| it.route_input(place, bridge.index, skb)) {
            Ok(InputRoute::Forward(hop)) if hop.link == bridge.index => hop.next,
            Ok(_) => {
                frame.destination = bridge.mac.unwrap_or(Mac::ZERO);
                return Ok(vec![self.pass_up(inside, frame, PacketType::Host)]);
            }
            Err(stop) => {
                // "Bridged-and-DNAT'ed traffic doesn't require ip_forwarding" (br_netfilter_hooks.c), IPv4.
                let forwards =
                    matches!(stop.blocker.kind, BlockerKind::Switch { .. }) && !skb.packet.is_ipv6();
                match forwards.then(|| self.route_back(place, bridge.index, skb)).transpose()? {
                    Some(Some(next)) => next,
                    _ => return Err(stop),
                }
            }
        };
        let source = frame.packet().map(|it| it.source);
        match self.neighbour(place, bridge.index, next, source)? {
            super::Station::Mac(mac) => frame.destination = mac,
            _ => return Err(self.wrong_station(place, bridge.index, frame.destination)),
        }
        Ok(self.bridge_forward(inside, frame))
    }

    /// Decides where a frame goes (`br_handle_frame_finish`, `br_dev_xmit`).
    fn bridge_forward(&mut self, inside: Inside<'_>, frame: Frame) -> Landings {
        let destination = frame.destination;
        if destination.is_multicast() {
            let mut landings = self.flood(inside, &frame, destination == Mac::BROADCAST);
            if inside.port.is_some() {
                let kind = packet_type(destination, inside.bridge.mac);
                landings.push(self.pass_up(inside, frame, kind));
            }
            return landings;
        }
        match self.look_up_station(inside, destination) {
            Err(stop) => vec![Err(stop)],
            Ok(Some(entry)) if entry.state == FdbState::Permanent || entry.link == inside.bridge.index => {
                if inside.port.is_none() {
                    return vec![Err(self.wrong_station(inside.place, inside.bridge.index, destination))];
                }
                let kind = Self::kind_for_stack(inside, destination);
                vec![self.pass_up(inside, frame, kind)]
            }
            Ok(Some(entry)) => {
                let element = Element::fdb(self.place(inside.place), &inside.bridge.name, destination);
                self.forward_to_port(inside, entry.link, frame, Some(element))
            }
            Ok(None) if inside.port.is_some() && inside.bridge.mac == Some(destination) => {
                vec![self.pass_up(inside, frame, PacketType::Host)]
            }
            Ok(None) => self.flood(inside, &frame, false),
        }
    }

    /// The forwarding database's entry for a station.
    fn look_up_station(&mut self, inside: Inside<'_>, mac: Mac) -> Step<Option<FdbEntry>> {
        let stack = self.stack(inside.place)?;
        let Some(fdb) = stack.fdb.known() else { return Ok(None) };
        let is_port =
            |link: IfIndex| stack.link(link).is_some_and(|it| it.master == Some(inside.bridge.index));
        let of_bridge = |it: &&FdbEntry| {
            it.mac == mac && !it.on_device && (it.link == inside.bridge.index || is_port(it.link))
        };
        let Some(entry) = fdb.iter().find(of_bridge) else { return Ok(None) };
        // An entry that somebody set follows its station to the port that it sends by (`br_fdb_update`).
        let follows = entry.state == FdbState::Static && !entry.sticky;
        let port = stack.link(entry.link);
        if follows && port.is_some_and(|it| !self.may_be_station(inside.place, it, mac)) {
            let mut elsewhere = stack
                .ports_of(inside.bridge.index)
                .filter(|it| it.port.as_ref().is_none_or(|it| it.learning) && it.index != entry.link);
            if elsewhere.any(|it| self.may_be_station(inside.place, it, mac)) {
                return Ok(None);
            }
        }
        Ok(Some(entry.clone()))
    }

    fn is_station_on(&mut self, inside: Inside<'_>, port: &Link, mac: Mac) -> bool {
        let entry = self.look_up_station(inside, mac).ok().flatten();
        entry.is_some_and(|it| it.link == port.index)
    }

    /// Sends a frame to every port that gets such frames (`br_flood`).
    fn flood(&mut self, inside: Inside<'_>, frame: &Frame, is_broadcast: bool) -> Landings {
        let Ok(stack) = self.stack(inside.place) else { return Vec::new() };
        let is_group = frame.destination.is_multicast();
        let mut landings = Vec::new();
        let mut closed = None;
        for port in stack.ports_of(inside.bridge.index) {
            let setting = port.port.clone().unwrap_or_default();
            // What the bridge itself sends as broadcast or multicast reaches every port.
            let attribute = match (is_group, is_broadcast) {
                (true, _) if inside.port.is_none() => None,
                (true, true) if !setting.broadcast_flood => Some("bcast_flood"),
                (true, false) if !setting.multicast_flood => Some("mcast_flood"),
                (false, _) if !setting.flood => Some("flood"),
                _ => None,
            };
            if inside.port.is_some_and(|it| it.index == port.index && !setting.hairpin) {
                continue;
            }
            if !is_group && !self.may_be_station(inside.place, port, frame.destination) {
                continue;
            }
            if let Some(attribute) = attribute {
                closed = Some(self.port_blocks(inside, port, attribute));
                continue;
            }
            // What stops a copy for another station stops no packet on its way.
            landings.extend(self.unforced(|it| it.forward_to_port(inside, port.index, frame.clone(), None)));
        }
        if landings.is_empty() && !is_group {
            let lost = closed.unwrap_or_else(|| self.no_station(inside, frame.destination));
            landings.push(Err(lost));
        } else if let Some(closed) = closed {
            landings.push(Err(closed));
        }
        landings
    }

    /// Could the station at the other end of a port be the one with this address?
    ///
    /// A unicast frame that is flooded is looked at by every station and taken by one; following it to the
    /// others would tell nothing.
    fn may_be_station(&mut self, place: PlaceId, port: &Link, mac: Mac) -> bool {
        match self.network.peer(place, port) {
            Peer::Link(peer, index) => {
                self.visited.insert(peer);
                let Ok(stack) = self.network.stack(peer) else { return true };
                stack.link(index).is_some_and(|it| it.mac == Some(mac) || it.master.is_some())
            }
            Peer::Underlay | Peer::NotCollected => true,
            Peer::Nowhere => false,
        }
    }

    fn no_station(&self, inside: Inside<'_>, mac: Mac) -> Box<Stop> {
        let element = Element::link(self.place(inside.place), &inside.bridge.name);
        self.stop(inside.place, element, BlockerKind::WrongStation { mac })
    }

    /// Sends a frame out by one port (`__br_forward`, `br_dev_queue_push_xmit`).
    fn forward_to_port(
        &mut self,
        inside: Inside<'_>,
        port: IfIndex,
        frame: Frame,
        entry: Option<Element>,
    ) -> Landings {
        match self.forward_to_port_checked(inside, port, frame, entry) {
            Ok(landings) => landings,
            Err(stop) => vec![Err(stop)],
        }
    }

    fn forward_to_port_checked(
        &mut self,
        inside: Inside<'_>,
        port: IfIndex,
        mut frame: Frame,
        entry: Option<Element>,
    ) -> Step<Landings> {
        let (place, bridge) = (inside.place, inside.bridge);
        let output = self.link(place, port)?;
        self.note(place, Stage::Bridge, entry, || format!("{} → {}", bridge.name, output.name));
        let setting = output.port.clone().unwrap_or_default();
        if inside.port.is_some_and(|it| it.index == port) && !setting.hairpin {
            return Err(self.port_blocks(inside, output, "hairpin"));
        }
        if setting.state != PortState::Forwarding {
            let stop = self.port_blocks(inside, output, "state");
            self.past(stop)?;
        }
        if setting.isolated && inside.port.and_then(|it| it.port.as_ref()).is_some_and(|it| it.isolated) {
            let stop = self.port_blocks(inside, output, "isolated");
            self.past(stop)?;
        }
        let hook = if inside.port.is_some() { Hook::Forward } else { Hook::Output };
        self.bridge_hook(place, hook, inside.port, Some(output), bridge, &mut frame)?;
        if let Content::Ip(skb) = &mut frame.content {
            if inside.is_filtered {
                let devices = bridged(bridge, inside.port, Some(output));
                self.ip_hook(place, Hook::Forward, skb, devices)?;
                self.ip_hook(place, Hook::Postrouting, skb, Devices { input: None, ..devices })?;
            } else if inside.port.is_some() {
                self.refuse_untranslated_answer(inside, skb)?;
            }
        }
        self.bridge_hook(place, Hook::Postrouting, None, Some(output), bridge, &mut frame)?;
        if frame.length() > output.mtu + 4 {
            let stop = self.too_big(place, output, frame.length());
            self.past(stop)?;
        }
        Ok(self.send(place, port, frame))
    }

    /// Hands a frame to the bridge's own IP stack (`br_pass_frame_up`).
    fn pass_up(&mut self, inside: Inside<'_>, mut frame: Frame, kind: PacketType) -> Step<Landed> {
        self.bridge_hook(inside.place, Hook::Input, inside.port, None, inside.bridge, &mut frame)?;
        let bridge = inside.bridge;
        self.note_by(
            inside.place,
            Stage::Receive,
            |it| Element::link(it, &bridge.name),
            || bridge.name.clone(),
        );
        // `br_netif_receive_skb`: the bridge takes it in as any device does.
        self.traffic_control(inside.place, bridge, Side::Ingress, &frame)?;
        self.netdev_hook(inside.place, NetdevHook::Ingress, bridge, &mut frame)?;
        let physical_input = inside.port.map(|it| it.index);
        Ok(land(inside.place, bridge.index, kind, frame, physical_input, inside.is_filtered))
    }

    /// A frame for the bridge's own address is for this host; one for the address of another port is not.
    fn kind_for_stack(inside: Inside<'_>, mac: Mac) -> PacketType {
        let own = [inside.bridge.mac, inside.port.and_then(|it| it.mac)];
        if own.contains(&Some(mac)) { PacketType::Host } else { PacketType::OtherHost }
    }

    /// Do bridged packets of this family pass the hooks of IP?
    fn passes_ip_hooks(&mut self, place: PlaceId, settings: &Bridge, is_ipv6: bool) -> Step<bool> {
        if if is_ipv6 { settings.nf_call_ip6tables } else { settings.nf_call_iptables } {
            return Ok(true);
        }
        Ok(self.switch(place, &call_switch(is_ipv6), 0, 1)? != 0)
    }

    /// An answer that is bridged past connection tracking keeps an address that its recipient does not
    /// expect: the switch that would have translated it back is what stands in the way.
    fn refuse_untranslated_answer(&mut self, inside: Inside<'_>, skb: &Skb) -> Step<()> {
        let answers = self.tracking.translated_reply(inside.place, skb.packet.tuple()).is_some();
        if !answers {
            return Ok(());
        }
        let key = call_switch(skb.packet.is_ipv6());
        let element = Element::sysctl(self.place(inside.place), &key);
        let stop = self.stop(inside.place, element, BlockerKind::Switch { key, wanted: "1".to_owned() });
        self.past(stop)
    }

    fn refuse_vlan_filtering(&mut self, inside: Inside<'_>) -> Step<()> {
        if !inside.settings.vlan_filtering {
            return Ok(());
        }
        let element = Element::link(self.place(inside.place), &inside.bridge.name);
        Err(self.not_modelled(inside.place, element, "bridges that tell VLANs apart"))
    }

    fn port_blocks(&self, inside: Inside<'_>, port: &Link, attribute: &str) -> Box<Stop> {
        let element =
            Element::bridge_port(self.place(inside.place), &inside.bridge.name, &port.name, attribute);
        let kind = BlockerKind::BridgePort {
            bridge: inside.bridge.name.clone(),
            port: port.name.clone(),
            attribute: attribute.to_owned(),
        };
        self.stop(inside.place, element, kind)
    }
}

impl Frame {
    fn packet(&self) -> Option<&Packet> {
        match &self.content {
            Content::Ip(skb) => Some(&skb.packet),
            Content::Arp(_) => None,
        }
    }
}

/// The switch that makes bridged packets pass the hooks of a family.
fn call_switch(is_ipv6: bool) -> SysctlKey {
    SysctlKey::from_path(if is_ipv6 {
        "net/bridge/bridge-nf-call-ip6tables"
    } else {
        "net/bridge/bridge-nf-call-iptables"
    })
}

/// What the IP hooks see of a bridged packet's devices: the bridge in both directions, the ports beside it.
fn bridged<'a>(bridge: &'a Link, input: Option<&'a Link>, output: Option<&'a Link>) -> Devices<'a> {
    Devices {
        input: Some(bridge),
        output: output.map(|_| bridge),
        physical_input: input,
        physical_output: output,
        next_hop: None,
    }
}
