//! Traffic control: queueing disciplines and filters that take packets away.

use std::net::IpAddr;

use hopwise_snapshot::{Element, IfIndex, Link, Observed, Qdisc, TcAction, TcFilter};

use super::{
    Step, Walker,
    link::{Content, Frame},
};
use crate::{
    model::PlaceId,
    packet::{Packet, Transport, protocol},
    trace::{BlockerKind, Stage, Unknown},
};

/// Which way a frame goes through traffic control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ingress,
    Egress,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// What a filter says of a frame.
enum Match {
    Yes,
    No,
    Unknown(String),
}

impl Walker<'_> {
    /// Runs the filters of an interface (`sch_handle_ingress`, `sch_handle_egress`, net/core/dev.c).
    pub(super) fn traffic_control(
        &mut self,
        place: PlaceId,
        link: &Link,
        side: Side,
        frame: &Frame,
    ) -> Step<()> {
        let stack = self.stack(place)?;
        let Observed::Known(filters) = &stack.tc_filters else {
            // A namespace whose filters were not read is a gap like any other, but only where there is a
            // queueing discipline that could hold some.
            if let Observed::NotCollected(reason) = &stack.tc_filters
                && may_hold_filters(&stack.qdiscs, link.index)
            {
                let element = Element::tc(self.place(place), &link.name, side.word(), 0);
                self.assume(element, Unknown::NotCollected(reason.clone()));
            }
            return Ok(());
        };
        let mut here: Vec<&TcFilter> =
            filters.iter().filter(|it| it.link == link.index && it.direction == side.word()).collect();
        here.sort_by_key(|it| (it.priority, it.handle));
        for filter in here {
            let element =
                || Element::tc(stack_place(self.network, place), &link.name, side.word(), filter.priority);
            match matches(filter, frame) {
                Match::No => {}
                Match::Unknown(what) => self.assume(element(), Unknown::NotModelled(what)),
                Match::Yes => {
                    if !self.act(place, link, filter, element())? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Does what a matching filter says; false ends the filters.
    fn act(&mut self, place: PlaceId, link: &Link, filter: &TcFilter, element: Element) -> Step<bool> {
        for action in &filter.actions {
            let priority = filter.priority;
            match action {
                TcAction::Mirror { .. } => {}
                TcAction::Continue => return Ok(true),
                TcAction::Pass => return Ok(false),
                TcAction::Redirect { .. } => {
                    return Err(self.not_modelled(place, element, format!("tc action {action:?}")));
                }
                TcAction::Drop => {
                    self.note(place, Stage::TrafficControl, Some(element.clone()), || format!("{action:?}"));
                    let kind = BlockerKind::TcFilter { link: link.name.clone(), priority };
                    let stop = self.stop(place, element, kind);
                    self.past(stop)?;
                    return Ok(false);
                }
                TcAction::Other(what) => {
                    self.assume(element, Unknown::NotModelled(format!("tc action {what}")));
                    return Ok(true);
                }
            }
        }
        // A classifier without an action only classifies.
        Ok(filter.actions.is_empty())
    }

    /// Puts a frame into the queue of an interface.
    pub(super) fn queue(&mut self, place: PlaceId, link: &Link, frame: &Frame) -> Step<()> {
        let stack = self.stack(place)?;
        let Some(qdiscs) = stack.qdiscs.known() else { return Ok(()) };
        let Some(root) = qdiscs.iter().find(|it| it.link == link.index && it.is_root()) else {
            return Ok(());
        };
        // Headers count in a queue: 14 bytes of Ethernet.
        let bytes = frame.length() + 14;
        if root.kind == "blackhole"
            || root.token_bucket.is_some_and(|it| bytes > it.burst || bytes > it.limit)
            || (root.kind == "bfifo" && root.limit.is_some_and(|it| bytes > it))
            || (root.kind == "pfifo" && root.limit == Some(0))
        {
            let element = Element::qdisc(self.place(place), &link.name, "root");
            self.note(place, Stage::TrafficControl, Some(element.clone()), || format!("queue {}", root.kind));
            let stop = self.stop(place, element, BlockerKind::Queue { link: link.name.clone() });
            self.past(stop)?;
        }
        Ok(())
    }
}

fn stack_place(network: &crate::model::Network, place: PlaceId) -> &hopwise_snapshot::Place {
    network.place(place)
}

fn may_hold_filters(qdiscs: &Observed<Vec<Qdisc>>, link: IfIndex) -> bool {
    let Some(qdiscs) = qdiscs.known() else { return false };
    qdiscs
        .iter()
        .any(|it| it.link == link && matches!(it.kind.as_str(), "clsact" | "ingress" | "htb" | "prio"))
}

fn matches(filter: &TcFilter, frame: &Frame) -> Match {
    // ETH_P_ALL.
    if filter.protocol != 3 && filter.protocol != frame.ethertype() {
        return Match::No;
    }
    if let Some(what) = filter.not_modelled.first() {
        return Match::Unknown(format!("tc filter {}: {what}", filter.kind));
    }
    match filter.kind.as_str() {
        "matchall" => Match::Yes,
        "u32" => {
            let Content::Ip(skb) = &frame.content else {
                return if filter.keys.iter().all(|it| it.mask == 0) {
                    Match::Yes
                } else {
                    Match::Unknown("tc filter u32 on ARP".to_owned())
                };
            };
            let header = header(&skb.packet);
            for key in &filter.keys {
                if key.mask == 0 {
                    continue;
                }
                let word = usize::try_from(key.offset).ok().and_then(|at| header.get(at..at + 4));
                let Some(word) = word else {
                    return Match::Unknown(format!("tc filter u32 at offset {}", key.offset));
                };
                let mut value = 0;
                for byte in word {
                    match byte {
                        Some(byte) => value = value << 8 | u32::from(*byte),
                        // A byte that the tracer does not know decides nothing unless it is masked out.
                        None => value <<= 8,
                    }
                }
                let unknown =
                    word.iter().fold(0_u32, |it, byte| it << 8 | if byte.is_none() { 0xff } else { 0 });
                if (value ^ key.value) & key.mask & !unknown != 0 {
                    return Match::No;
                }
                if key.mask & unknown != 0 {
                    return Match::Unknown(format!("tc filter u32 at offset {}", key.offset));
                }
            }
            Match::Yes
        }
        other => Match::Unknown(format!("tc filter {other}")),
    }
}

/// The packet's bytes from its network header, as far as the tracer knows them.
fn header(packet: &Packet) -> Vec<Option<u8>> {
    let mut bytes = Vec::with_capacity(64);
    let mut put = |all: &[u8]| bytes.extend(all.iter().copied().map(Some));
    let length = u16::try_from(packet.length).unwrap_or(u16::MAX);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            put(&[0x45, packet.tos]);
            put(&length.to_be_bytes());
            bytes.extend([None, None]);
            let flags = if packet.dont_fragment { 0x40 } else { 0 };
            bytes.extend([Some(flags), Some(0), Some(packet.ttl), Some(packet.protocol()), None, None]);
            bytes.extend(source.octets().map(Some));
            bytes.extend(destination.octets().map(Some));
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put(&[0x60 | packet.tos >> 4, packet.tos << 4]);
            bytes.extend([None, None]);
            bytes.extend(length.saturating_sub(40).to_be_bytes().map(Some));
            bytes.extend([Some(packet.protocol()), Some(packet.ttl)]);
            bytes.extend(source.octets().map(Some));
            bytes.extend(destination.octets().map(Some));
        }
        _ => {}
    }
    match packet.transport {
        Transport::Tcp { .. } | Transport::Udp { .. } => {
            let (from, to) = packet.ports();
            bytes.extend(from.to_be_bytes().map(Some));
            bytes.extend(to.to_be_bytes().map(Some));
        }
        _ if matches!(packet.protocol(), protocol::ICMP | protocol::ICMPV6) => {
            if let Some((kind, code, _)) = packet.icmp() {
                bytes.extend([Some(kind), Some(code), None, None]);
            }
        }
        _ => {}
    }
    bytes
}
