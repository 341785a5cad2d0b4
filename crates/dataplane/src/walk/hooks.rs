//! The hooks of the packet filter, with connection tracking and translation between them.
//!
//! Sources: net/netfilter/{nf_conntrack_core,nf_nat_core,nf_nat_proto,nf_nat_masquerade,nf_nat_redirect}.c,
//! include/uapi/linux/netfilter_ipv4.h for the priorities (Linux 6.18).

use hopwise_netfilter::{
    ArpHeader, Connection, ConnectionState, ConnectionStatus, Device, Effect, Ether, Hook, HookEntry,
    IpHeader, Kind, Layer, Outcome, Owner, RejectWith, RuleRef, Tcp, TcpFlags, Verdict, View,
};
use hopwise_snapshot::{ConntrackTuple, Element, Link, Mac, Observed};

use super::{
    Complaining, Skb, Step, Stop, Walker,
    link::{Content, Frame},
    tracking::{Association, Direction, State},
};
use crate::{
    around::Around,
    model::{PlaceId, stack::Stack},
    packet::{Arp, IcmpError, Packet, TcpStep, Transport, Tuple},
    trace::{BlockerKind, FilterDrop, Stage, Unknown},
};

/// Connection tracking looks at a packet before hooks of a higher priority.
const PRIORITY_CONNTRACK: i32 = -200;
/// Destinations are translated here.
const PRIORITY_DESTINATION: i32 = -100;
/// Sources are translated here.
const PRIORITY_SOURCE: i32 = 100;

/// What a hook sees of a packet's devices.
#[derive(Clone, Copy, Default)]
pub(super) struct Devices<'a> {
    pub(super) input: Option<&'a Link>,
    pub(super) output: Option<&'a Link>,
    pub(super) physical_input: Option<&'a Link>,
    pub(super) physical_output: Option<&'a Link>,
    /// The next hop, for masquerading.
    pub(super) next_hop: Option<std::net::IpAddr>,
}

/// The hooks of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetdevHook {
    Ingress,
    Egress,
}

impl Walker<'_> {
    /// Takes an IP packet through a hook. True if a chain that looks at output asks for the packet to be
    /// routed anew when it was changed.
    pub(super) fn ip_hook(
        &mut self,
        place: PlaceId,
        hook: Hook,
        skb: &mut Skb,
        devices: Devices<'_>,
    ) -> Step<bool> {
        let stack = self.stack(place)?;
        let layer = if skb.packet.is_ipv6() { Layer::Ip6 } else { Layer::Ip4 };
        self.assume_missing(stack, layer, hook);
        let entries = stack.ruleset.hooks(layer, hook, None);
        let tracks = matches!(hook, Hook::Prerouting | Hook::Output);
        let translates = match hook {
            Hook::Prerouting | Hook::Output => Some(PRIORITY_DESTINATION),
            Hook::Input | Hook::Postrouting => Some(PRIORITY_SOURCE),
            _ => None,
        };
        let (mut is_tracked, mut is_translated) = (!tracks, translates.is_none());
        let mut routes_anew = false;
        for entry in &entries {
            if !is_tracked && entry.priority > PRIORITY_CONNTRACK {
                self.track(place, stack, skb)?;
                is_tracked = true;
            }
            if !is_translated && (entry.kind == Kind::Nat || translates.is_some_and(|it| entry.priority > it))
            {
                self.translate(place, stack, hook, &entries, skb, devices)?;
                is_translated = true;
            }
            if entry.kind == Kind::Nat {
                continue;
            }
            routes_anew |=
                hook == Hook::Output && (entry.kind == Kind::Route || entry.table.name == "mangle");
            let outcome = self.run(place, stack, entry, skb, devices);
            self.decide(place, stack, entry, hook, &outcome, skb, devices)?;
        }
        if !is_tracked {
            self.track(place, stack, skb)?;
        }
        if !is_translated {
            self.translate(place, stack, hook, &entries, skb, devices)?;
        }
        if matches!(hook, Hook::Input | Hook::Postrouting) {
            self.confirm(skb);
        }
        Ok(routes_anew)
    }

    /// What of the rules was not read, and could have a say here.
    fn assume_missing(&mut self, stack: &Stack, layer: Layer, hook: Hook) {
        for missing in stack.ruleset.missing_at(layer, hook) {
            let element = Element::ruleset(&stack.place, missing.source.tool());
            self.assume(element, Unknown::NotCollected(missing.reason.clone()));
        }
    }

    /// Finds the packet's connection, or begins one.
    fn track(&mut self, place: PlaceId, stack: &Stack, skb: &mut Skb) -> Step<()> {
        if skb.association.is_some() {
            return Ok(());
        }
        if skb.is_untracked {
            skb.association = Some(Association {
                connection: None,
                direction: Direction::Original,
                state: State::Untracked,
            });
            return Ok(());
        }
        let association = self.tracking.associate(place, skb.zone, &skb.packet);
        let is_first = association.state == State::New && association.direction == Direction::Original;
        if is_first
            && let (Observed::Known(count), Observed::Known(max)) =
                (&stack.conntrack.count, &stack.conntrack.max)
            && *max > 0
            && count >= max
        {
            let element = Element::conntrack_max(self.place(place));
            let stop = self.stop(place, element, BlockerKind::ConntrackFull);
            self.past(stop)?;
        }
        skb.association = Some(association);
        Ok(())
    }

    /// The packet leaves the place or reached its socket: others may now find its connection.
    fn confirm(&mut self, skb: &Skb) {
        if let Some(number) = skb.association.and_then(|it| it.connection) {
            self.tracking.connection_mut(number).is_confirmed = true;
        }
    }

    /// Runs one base chain over the packet, and takes over what it changed.
    pub(super) fn run(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        entry: &HookEntry<'_>,
        skb: &mut Skb,
        devices: Devices<'_>,
    ) -> Outcome {
        let mut view = self.view(skb, devices);
        let mut around = Around {
            stack,
            choices: &mut *self.choices,
            assumptions: &mut self.assumptions,
            place: &stack.place,
        };
        let outcome = stack.ruleset.run(entry, &mut view, &mut around);
        take_over(&view, &outcome, skb);
        if let Some(number) = skb.association.and_then(|it| it.connection)
            && let Some(connection) = &view.connection
        {
            self.tracking.connection_mut(number).mark = connection.mark;
        }
        self.note_rules(place, stack, &outcome);
        outcome
    }

    /// Writes down which rules held.
    fn note_rules(&mut self, place: PlaceId, stack: &Stack, outcome: &Outcome) {
        if !self.is_recording {
            return;
        }
        for visited in &outcome.path {
            let element = stack.ruleset.element(visited.rule, &stack.place);
            let acts =
                outcome.effects.iter().any(|(by, _)| *by == visited.rule) || visited.rule == outcome.by;
            let stage = match (&outcome.verdict, acts) {
                (Verdict::Nat(_), true) => Stage::Translate,
                (_, true) => Stage::Filter,
                (_, false) => Stage::Match,
            };
            let text = stack.ruleset.describe(visited.rule);
            self.note(place, stage, element, || text);
        }
    }

    /// What a base chain's verdict means for the packet.
    #[expect(clippy::too_many_arguments, reason = "a verdict is about all of them")]
    fn decide(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        entry: &HookEntry<'_>,
        hook: Hook,
        outcome: &Outcome,
        skb: &Skb,
        devices: Devices<'_>,
    ) -> Step<()> {
        let answer = match &outcome.verdict {
            Verdict::Accept | Verdict::Nat(_) => return Ok(()),
            Verdict::Drop | Verdict::Stolen(_) => None,
            Verdict::Reject(RejectWith::TcpReset) => Some(Complaining::Reset),
            Verdict::Reject(RejectWith::Icmp { kind, code }) => {
                IcmpError::from_type_and_code(*kind, *code, skb.packet.is_ipv6()).map(Complaining::Icmp)
            }
            Verdict::Queue(_) => {
                return Err(self.undecided(place, stack, outcome.by, "a program decides (queue)"));
            }
            Verdict::Tproxy { .. } => {
                return Err(self.undecided(place, stack, outcome.by, "transparent proxying"));
            }
            Verdict::Unknown(why) => return Err(self.undecided(place, stack, outcome.by, why)),
        };
        let drop = filter_drop(stack, entry, outcome.by, skb.packet.tuple(), devices);
        let element = stack.ruleset.element(outcome.by, &stack.place);
        let element = element.unwrap_or_else(|| Element::place(&stack.place));
        let stop = self.stop(place, element, BlockerKind::Filter(drop));
        let stop = match answer {
            Some(answer) => stop.complaining(place, answer, skb),
            // The sender's own kernel says "not permitted", but a TCP connection goes on trying.
            None if self.is_sent_here(hook, devices)
                && !matches!(skb.packet.transport, Transport::Tcp { .. }) =>
            {
                stop.refused(IcmpError::Prohibited)
            }
            None => stop,
        };
        self.past(stop)
    }

    fn is_sent_here(&self, hook: Hook, devices: Devices<'_>) -> bool {
        self.depth == 0 && devices.input.is_none() && matches!(hook, Hook::Output | Hook::Postrouting)
    }

    fn undecided(&mut self, place: PlaceId, stack: &Stack, by: RuleRef, why: &str) -> Box<Stop> {
        let element = stack.ruleset.element(by, &stack.place).unwrap_or_else(|| Element::place(&stack.place));
        self.not_modelled(place, element, why)
    }

    /// Takes an ARP message through a hook.
    pub(super) fn arp_hook(
        &mut self,
        place: PlaceId,
        hook: Hook,
        input: Option<&Link>,
        output: Option<&Link>,
        arp: &Arp,
        destination: Mac,
    ) -> Step<()> {
        let stack = self.stack(place)?;
        self.assume_missing(stack, Layer::Arp, hook);
        let entries = stack.ruleset.hooks(Layer::Arp, hook, None);
        if entries.is_empty() {
            return Ok(());
        }
        let devices = Devices { input, output, ..Devices::default() };
        let tuple = arp_tuple(arp);
        for entry in &entries {
            let Some(mut view) = arp_view(arp, destination) else { return Ok(()) };
            view.input = input.map(device);
            view.output = output.map(device);
            self.run_frame(place, stack, entry, &mut view, tuple, devices)?;
        }
        Ok(())
    }

    /// Takes a frame through a hook of a bridge.
    pub(super) fn bridge_hook(
        &mut self,
        place: PlaceId,
        hook: Hook,
        input: Option<&Link>,
        output: Option<&Link>,
        _bridge: &Link,
        frame: &mut Frame,
    ) -> Step<()> {
        let stack = self.stack(place)?;
        self.assume_missing(stack, Layer::Bridge, hook);
        let entries = stack.ruleset.hooks(Layer::Bridge, hook, None);
        self.frame_hook(place, stack, &entries, input, output, frame)
    }

    /// Takes a frame through the hooks of a device.
    pub(super) fn netdev_hook(
        &mut self,
        place: PlaceId,
        hook: NetdevHook,
        link: &Link,
        frame: &mut Frame,
    ) -> Step<()> {
        let stack = self.stack(place)?;
        let (hook, input, output) = match hook {
            NetdevHook::Ingress => (Hook::Ingress, Some(link), None),
            NetdevHook::Egress => (Hook::Egress, None, Some(link)),
        };
        self.assume_missing(stack, Layer::Netdev, hook);
        for (table, chain) in stack.ruleset.without_devices(hook) {
            let element = Element::nft_chain(&stack.place, table.family.word(), &table.name, &chain.name);
            let what = "a chain whose devices nft's listing does not say".to_owned();
            self.assume(element, Unknown::NotModelled(what));
        }
        let entries = stack.ruleset.hooks(Layer::Netdev, hook, Some(&link.name));
        self.frame_hook(place, stack, &entries, input, output, frame)
    }

    fn frame_hook(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        entries: &[HookEntry<'_>],
        input: Option<&Link>,
        output: Option<&Link>,
        frame: &mut Frame,
    ) -> Step<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let devices = Devices { input, output, ..Devices::default() };
        let ether = Ether {
            source: frame.source,
            destination: frame.destination,
            ethertype: frame.ethertype(),
            vlan: None,
        };
        for entry in entries {
            match &mut frame.content {
                Content::Arp(arp) => {
                    let Some(mut view) = arp_view(arp, frame.destination) else { return Ok(()) };
                    (view.ether, view.input, view.output) =
                        (Some(ether), input.map(device), output.map(device));
                    let tuple = arp_tuple(arp);
                    self.run_frame(place, stack, entry, &mut view, tuple, devices)?;
                }
                Content::Ip(skb) => {
                    let mut view = packet_view(&skb.packet);
                    (view.ether, view.input, view.output) =
                        (Some(ether), input.map(device), output.map(device));
                    view.packet_type = view_packet_type(frame.destination);
                    view.mark = skb.packet.mark;
                    let tuple = skb.packet.tuple();
                    self.run_frame(place, stack, entry, &mut view, tuple, devices)?;
                    skb.packet.mark = view.mark;
                }
            }
        }
        Ok(())
    }

    fn run_frame(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        entry: &HookEntry<'_>,
        view: &mut View<'_>,
        tuple: Tuple,
        devices: Devices<'_>,
    ) -> Step<()> {
        let mut around = Around {
            stack,
            choices: &mut *self.choices,
            assumptions: &mut self.assumptions,
            place: &stack.place,
        };
        let outcome = stack.ruleset.run(entry, view, &mut around);
        self.note_rules(place, stack, &outcome);
        match &outcome.verdict {
            Verdict::Accept | Verdict::Nat(_) => Ok(()),
            Verdict::Drop | Verdict::Reject(_) | Verdict::Stolen(_) => {
                let drop = filter_drop(stack, entry, outcome.by, tuple, devices);
                let element = stack.ruleset.element(outcome.by, &stack.place);
                let element = element.unwrap_or_else(|| Element::place(&stack.place));
                let stop = self.stop(place, element, BlockerKind::Filter(drop));
                self.past(stop)
            }
            Verdict::Queue(_) | Verdict::Tproxy { .. } => {
                Err(self.undecided(place, stack, outcome.by, "a program decides"))
            }
            Verdict::Unknown(why) => Err(self.undecided(place, stack, outcome.by, why)),
        }
    }

    /// The packet as a hook of IP sees it.
    fn view<'v>(&self, skb: &Skb, devices: Devices<'v>) -> View<'v> {
        let mut view = packet_view(&skb.packet);
        view.ether = skb.ether.map(|(source, destination)| Ether {
            source,
            destination,
            ethertype: if skb.packet.is_ipv6() { 0x86dd } else { 0x0800 },
            vlan: None,
        });
        view.input = devices.input.map(device);
        view.output = devices.output.map(device);
        view.physical_input = devices.physical_input.map(|it| it.name.as_str());
        view.physical_output = devices.physical_output.map(|it| it.name.as_str());
        view.connection = skb.association.map(|it| self.connection_view(it));
        // The tracer's sockets belong to root; what the kernel itself sends belongs to nobody.
        let is_of_socket = matches!(
            skb.packet.transport,
            Transport::Tcp { step: TcpStep::Syn | TcpStep::Data, .. }
                | Transport::Udp { .. }
                | Transport::EchoRequest { .. }
        );
        if devices.input.is_none() && self.depth == 0 && is_of_socket {
            view.owner = Some(Owner { uid: Some(0), gid: Some(0), ..Owner::default() });
        }
        view
    }

    fn connection_view(&self, association: Association) -> Connection {
        let state = match association.state {
            State::New => ConnectionState::New,
            State::Established => ConnectionState::Established,
            State::Related => ConnectionState::Related,
            State::Invalid => ConnectionState::Invalid,
            State::Untracked => ConnectionState::Untracked,
        };
        let direction = match association.direction {
            Direction::Original => hopwise_netfilter::Direction::Original,
            Direction::Reply => hopwise_netfilter::Direction::Reply,
        };
        let Some(number) = association.connection else {
            let nothing = ConntrackTuple {
                source: std::net::Ipv4Addr::UNSPECIFIED.into(),
                destination: std::net::Ipv4Addr::UNSPECIFIED.into(),
                protocol: 0,
                source_port: 0,
                destination_port: 0,
            };
            return Connection {
                state,
                direction,
                status: ConnectionStatus::empty(),
                mark: 0,
                original: nothing.clone(),
                reply: nothing,
                zone: 0,
                helper: None,
            };
        };
        let tracked = self.tracking.connection(number);
        let mut status = ConnectionStatus::empty();
        status.set(ConnectionStatus::SEEN_REPLY, tracked.is_replied);
        status.set(ConnectionStatus::CONFIRMED, tracked.is_confirmed);
        status.set(ConnectionStatus::SOURCE_NAT, tracked.is_source_translated());
        status.set(ConnectionStatus::DESTINATION_NAT, tracked.is_destination_translated());
        status.set(ConnectionStatus::SOURCE_NAT_DONE, tracked.has_source);
        status.set(ConnectionStatus::DESTINATION_NAT_DONE, tracked.has_destination);
        Connection {
            state,
            direction,
            status,
            mark: tracked.mark,
            original: conntrack_tuple(tracked.original),
            reply: conntrack_tuple(tracked.reply),
            zone: tracked.zone,
            helper: None,
        }
    }
}

/// Takes over what statements changed.
fn take_over(view: &View<'_>, outcome: &Outcome, skb: &mut Skb) {
    skb.packet.mark = view.mark;
    if let Some(header) = view.header() {
        (skb.packet.tos, skb.packet.ttl) = (header.tos, header.ttl);
        (skb.packet.source, skb.packet.destination) = (header.source, header.destination);
    }
    if let Some((source_port, destination_port)) = view.ports() {
        skb.packet.set_source_port(source_port);
        skb.packet.set_destination_port(destination_port);
    }
    for (_, effect) in &outcome.effects {
        match effect {
            Effect::NoTrack => skb.is_untracked = true,
            Effect::Zone(zone) => skb.zone = *zone,
            _ => {}
        }
    }
}

fn filter_drop(
    stack: &Stack,
    entry: &HookEntry<'_>,
    by: RuleRef,
    packet: Tuple,
    devices: Devices<'_>,
) -> FilterDrop {
    let rule = stack.ruleset.rule(by);
    let chain = stack.ruleset.chain_of(by).map_or_else(|| entry.chain.name.clone(), |it| it.name.clone());
    FilterDrop {
        tool: entry.table.tool().to_owned(),
        family: entry.table.family.word().to_owned(),
        table: entry.table.name.clone(),
        chain,
        position: by.position(),
        handle: rule.and_then(|it| it.handle),
        text: rule.map_or_else(|| "policy drop".to_owned(), |it| it.text.clone()),
        base_chain: entry.chain.name.clone(),
        packet,
        input: devices.input.map(|it| it.name.clone()),
        output: devices.output.map(|it| it.name.clone()),
    }
}

fn device(link: &Link) -> Device<'_> {
    let kind = if link.kind.is_empty() { Observed::Absent } else { Observed::Known(link.kind.as_str()) };
    // ARPHRD_LOOPBACK and ARPHRD_ETHER.
    let hardware_type = Some(if link.is_loopback() { 772 } else { 1 });
    Device { name: &link.name, index: Some(link.index.0), kind, hardware_type, group: None }
}

fn packet_view<'v>(packet: &Packet) -> View<'v> {
    let header = IpHeader {
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol(),
        tos: packet.tos,
        ttl: packet.ttl,
        total_length: packet.length,
        dont_fragment: packet.dont_fragment,
        fragment: None,
    };
    let transport = match packet.transport {
        Transport::Tcp { source_port, destination_port, step } => {
            let flags = match step {
                TcpStep::Syn => TcpFlags::SYN,
                TcpStep::SynAck => TcpFlags::SYN | TcpFlags::ACK,
                TcpStep::Data => TcpFlags::ACK,
                TcpStep::Reset => TcpFlags::RST | TcpFlags::ACK,
            };
            let mss = matches!(step, TcpStep::Syn | TcpStep::SynAck).then_some(1460);
            hopwise_netfilter::Transport::Tcp(Tcp { source_port, destination_port, flags, mss })
        }
        Transport::Udp { source_port, destination_port } => {
            hopwise_netfilter::Transport::Udp { source_port, destination_port }
        }
        _ => {
            let (kind, code, id) = packet.icmp().unwrap_or_default();
            let is_echo =
                matches!(packet.transport, Transport::EchoRequest { .. } | Transport::EchoReply { .. });
            hopwise_netfilter::Transport::Icmp { kind, code, id: is_echo.then_some(id) }
        }
    };
    let mut view = View::ip(header, transport);
    view.mark = packet.mark;
    view
}

fn arp_view<'v>(arp: &Arp, destination: Mac) -> Option<View<'v>> {
    let (std::net::IpAddr::V4(sender_ip), std::net::IpAddr::V4(target_ip)) = (arp.sender, arp.target) else {
        return None;
    };
    let target_mac = if arp.is_reply { destination } else { Mac::ZERO };
    let mut view = View::arp(ArpHeader {
        operation: if arp.is_reply { 2 } else { 1 },
        sender_ip,
        sender_mac: arp.sender_mac,
        target_ip,
        target_mac,
    });
    view.ether = Some(Ether { source: arp.sender_mac, destination, ethertype: 0x0806, vlan: None });
    view.packet_type = view_packet_type(destination);
    Some(view)
}

fn view_packet_type(destination: Mac) -> hopwise_netfilter::PacketType {
    if destination == Mac::BROADCAST {
        hopwise_netfilter::PacketType::Broadcast
    } else if destination.is_multicast() {
        hopwise_netfilter::PacketType::Multicast
    } else {
        hopwise_netfilter::PacketType::Host
    }
}

fn arp_tuple(arp: &Arp) -> Tuple {
    Tuple { source: arp.sender, destination: arp.target, protocol: 0, source_port: 0, destination_port: 0 }
}

fn conntrack_tuple(tuple: Tuple) -> ConntrackTuple {
    ConntrackTuple {
        source: tuple.source,
        destination: tuple.destination,
        protocol: tuple.protocol,
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
    }
}
