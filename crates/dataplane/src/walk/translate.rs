//! Translation of addresses and ports.
//!
//! Sources: net/netfilter/nf_nat_core.c (`nf_nat_inet_fn`, `nf_nat_packet`), nf_nat_proto.c
//! (`nf_nat_icmp_reply_translation`), nf_nat_masquerade.c, nf_nat_redirect.c (Linux 6.18).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hopwise_netfilter::{Hook, HookEntry, Kind, NatAction, NatKind, Side, Verdict};
use hopwise_snapshot::Element;

use super::{
    Skb, Step, Walker,
    choices::Fork,
    hooks::Devices,
    tracking::{Direction, State},
};
use crate::{
    model::{PlaceId, stack::Stack},
    packet::{Transport, Tuple},
    trace::{BlockerKind, Stage, Translation},
};

impl Walker<'_> {
    /// Translates a packet: a new connection by the rules, every other one as it was begun.
    pub(super) fn translate(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        hook: Hook,
        entries: &[HookEntry<'_>],
        skb: &mut Skb,
        devices: Devices<'_>,
    ) -> Step<()> {
        let Some(association) = skb.association else { return Ok(()) };
        let Some(number) = association.connection else { return Ok(()) };
        let side = match hook {
            Hook::Prerouting | Hook::Output => Side::Destination,
            _ => Side::Source,
        };
        if let Transport::Error { .. } = skb.packet.transport {
            self.translate_error(number, association.direction, side, skb);
            return Ok(());
        }
        let connection = self.tracking.connection(number);
        let is_settled = match side {
            Side::Source => connection.has_source,
            Side::Destination => connection.has_destination,
        };
        if association.state == State::New && association.direction == Direction::Original && !is_settled {
            for entry in entries.iter().filter(|it| it.kind == Kind::Nat) {
                let outcome = self.run(place, stack, entry, skb, devices);
                match &outcome.verdict {
                    Verdict::Nat(action) => {
                        if let Some(element) = stack.ruleset.element(outcome.by, &stack.place)
                            && self.depth == 0
                        {
                            let is_destination = action.side == Side::Destination;
                            let place = stack.place.clone();
                            self.translations.push(Translation { element, place, is_destination });
                        }
                        self.settle(place, stack, number, action, hook, devices)?;
                        break;
                    }
                    Verdict::Accept => {}
                    _ => {
                        let element = stack.ruleset.element(outcome.by, &stack.place);
                        let element = element.unwrap_or_else(|| Element::place(&stack.place));
                        return Err(self.stop(place, element, BlockerKind::Unknown));
                    }
                }
            }
            let connection = self.tracking.connection_mut(number);
            match side {
                Side::Source => connection.has_source = true,
                Side::Destination => connection.has_destination = true,
            }
        }
        self.apply(place, number, association.direction, side, skb);
        Ok(())
    }

    /// Puts down what a rule asks for: how answers will look.
    fn settle(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        number: usize,
        action: &NatAction,
        hook: Hook,
        devices: Devices<'_>,
    ) -> Step<()> {
        let original = self.tracking.connection(number).original;
        let is_ipv6 = original.destination.is_ipv6();
        let address = match action.kind {
            NatKind::Masquerade => {
                let link = devices.output.map(|it| it.index);
                let to = self.tracking.connection(number).reply.source;
                let selected = link.and_then(|link| {
                    if is_ipv6 {
                        stack.select_ipv6(link, to)
                    } else {
                        stack.select_ipv4(link, devices.next_hop, 0)
                    }
                });
                let Some(address) = selected else {
                    let name = devices.output.map_or_else(String::new, |it| it.name.clone());
                    let element = Element::link(&stack.place, &name);
                    return Err(self.no_source(place, element, name));
                };
                Some(address)
            }
            NatKind::Redirect if hook == Hook::Output => Some(loopback(is_ipv6)),
            NatKind::Redirect => {
                let link = devices.input.map(|it| it.index);
                link.and_then(|it| stack.addresses_of(it, is_ipv6).next()).map(|it| it.address.addr())
            }
            NatKind::Snat | NatKind::Dnat | NatKind::Netmap => self.one_address(action),
        };
        let connection = self.tracking.connection_mut(number);
        let (end, end_port) = match action.side {
            Side::Destination => (&mut connection.reply.source, &mut connection.reply.source_port),
            Side::Source => (&mut connection.reply.destination, &mut connection.reply.destination_port),
        };
        if let Some(address) = address {
            *end = address;
        }
        if let Some((first, last)) = action.ports {
            let shifted = action.port_base.map(|base| first.wrapping_add(end_port.wrapping_sub(base)));
            if !(first..=last).contains(end_port) || action.port_base.is_some() {
                *end_port = shifted.filter(|it| (first..=last).contains(it)).unwrap_or(first);
            }
        }
        Ok(())
    }

    /// One address out of the range that a rule gives.
    fn one_address(&mut self, action: &NatAction) -> Option<IpAddr> {
        let (first, last) = action.addresses?;
        let (low, high) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (u128::from(u32::from(first)), u128::from(u32::from(last)))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first), u128::from(last)),
            _ => return Some(first),
        };
        let n = high.saturating_sub(low).saturating_add(1).min(256);
        if n <= 1 {
            return Some(first);
        }
        let n = usize::try_from(n).unwrap_or(256);
        #[expect(clippy::cast_precision_loss, reason = "at most 256 addresses")]
        let weights = vec![1.0 / n as f64; n];
        let chosen = low + self.choices.decide(Fork::Chance, &weights) as u128;
        Some(match first {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(chosen).unwrap_or(u32::MAX))),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(chosen)),
        })
    }

    /// Changes a packet as its connection was settled.
    fn apply(&mut self, place: PlaceId, number: usize, direction: Direction, side: Side, skb: &mut Skb) {
        let connection = self.tracking.connection(number);
        let is_translated = match (side, direction) {
            (Side::Destination, Direction::Original) | (Side::Source, Direction::Reply) => {
                connection.is_destination_translated()
            }
            (Side::Source, Direction::Original) | (Side::Destination, Direction::Reply) => {
                connection.is_source_translated()
            }
        };
        if !is_translated {
            return;
        }
        // The packet shall look like the other direction's, turned round.
        let wanted = match direction {
            Direction::Original => connection.reply.inverted(),
            Direction::Reply => connection.original.inverted(),
        };
        let before = skb.packet.to_string();
        let is_changed = match side {
            Side::Destination => {
                let is_changed = skb.packet.destination != wanted.destination
                    || skb.packet.ports().1 != wanted.destination_port && skb.packet.ports() != (0, 0);
                skb.packet.destination = wanted.destination;
                skb.packet.set_destination_port(wanted.destination_port);
                is_changed
            }
            Side::Source => {
                let is_changed = skb.packet.source != wanted.source
                    || skb.packet.ports().0 != wanted.source_port && skb.packet.ports() != (0, 0);
                skb.packet.source = wanted.source;
                skb.packet.set_source_port(wanted.source_port);
                is_changed
            }
        };
        if is_changed {
            let after = skb.packet.to_string();
            self.note(place, Stage::Translate, None, || format!("{before} becomes {after}"));
        }
    }

    /// An error about a translated packet is translated back, and so is the packet in it.
    fn translate_error(&mut self, number: usize, direction: Direction, side: Side, skb: &mut Skb) {
        let connection = self.tracking.connection(number);
        let is_translated = match (side, direction) {
            (Side::Destination, Direction::Original) | (Side::Source, Direction::Reply) => {
                connection.is_destination_translated()
            }
            (Side::Source, Direction::Original) | (Side::Destination, Direction::Reply) => {
                connection.is_source_translated()
            }
        };
        if !is_translated {
            return;
        }
        let other: Tuple = match direction {
            Direction::Original => connection.reply,
            Direction::Reply => connection.original,
        };
        if let Transport::Error { about, .. } = &mut skb.packet.transport {
            match side {
                Side::Source => {
                    (about.destination, about.destination_port) = (other.destination, other.destination_port);
                }
                Side::Destination => (about.source, about.source_port) = (other.source, other.source_port),
            }
        }
        match side {
            Side::Source => skb.packet.source = other.destination,
            Side::Destination => skb.packet.destination = other.source,
        }
    }
}

fn loopback(is_ipv6: bool) -> IpAddr {
    if is_ipv6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) }
}
