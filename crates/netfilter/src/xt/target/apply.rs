//! What targets do with a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hopwise_snapshot::Observed;

use super::{Balance, CtTarget, SetTarget, Target, TcpmssTarget, TproxyTarget, TtlTarget};
use crate::{
    Effect, Hook, NatAction, NatKind, Queue, Side, Verdict,
    ipset::Membership,
    packet::{Network, TcpFlags, Transport},
    run::{Flow, Stage},
    xt::{AddressMask, Span},
};

impl Target {
    /// Does to the packet what the target does, and says how evaluation goes on.
    pub(crate) fn apply<'r>(&'r self, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
        match self {
            Self::Accept => return Flow::End(Verdict::Accept),
            Self::Drop => return Flow::End(Verdict::Drop),
            Self::Return => return Flow::Return,
            Self::Jump(chain) => return Flow::Jump(chain),
            Self::Goto(chain) => return Flow::Goto(chain),
            Self::Reject(it) => return Flow::End(Verdict::Reject(it.0)),
            Self::Nfqueue(it) => {
                let Span { low: from, high: to } = match it.balance {
                    Balance::One(number) => Span { low: number, high: number },
                    Balance::Over(span) => span,
                };
                return Flow::End(Verdict::Queue(Queue { from, to, bypass: it.bypass }));
            }
            Self::Nat(it) => return Flow::End(Verdict::Nat(it.action())),
            Self::Netmap(to) => return netmap(*to, stage),
            Self::Tproxy(it) => return it.apply(stage),
            Self::Mark(it) => stage.set_mark(it.apply(stage.view.mark)),
            Self::Connmark(it) => {
                let connection = stage.view.connection.as_ref().filter(|it| it.is_tracked());
                if let Some(connection) = connection {
                    let (packet, connection) = it.apply(stage.view.mark, connection.mark);
                    stage.set_mark(packet);
                    stage.set_connection_mark(connection);
                }
            }
            Self::Ct(it) => it.apply(stage),
            Self::Notrack => stage.stop_tracking(),
            Self::Tcpmss(it) => clamp(*it, stage),
            Self::Ttl(it) => it.apply(stage),
            Self::Tos(it) => stage.set_tos(|tos| tos & !it.mask ^ it.value),
            Self::Dscp(value) => stage.set_tos(|tos| tos & 3 | value << 2),
            Self::Classify(major, minor) => {
                stage.set_priority(u32::from(*major) << 16 | u32::from(*minor));
            }
            Self::Set(it) => it.apply(stage),
            Self::Tee { gateway, device } => {
                stage.note(Effect::Duplicate { to: Some(*gateway), by: device.clone() });
            }
            Self::Synproxy(_) => return synproxy(stage),
            Self::ArpMangle(words) => return arp_mangle(words, stage),
            Self::Plain { name, .. } => stage.note(Effect::Other(name.clone())),
            Self::Unknown(it) => {
                stage.ask_unknown(&format!("target `{}` is not understood", it.name));
                stage.note(Effect::Other(it.name.clone()));
            }
        }
        Flow::Next
    }
}

impl CtTarget {
    fn apply(&self, stage: &mut Stage<'_, '_, '_>) {
        if stage.view.connection.is_some() {
            // The packet was tracked before: the target leaves it alone (xt_ct_target).
            return;
        }
        if self.notrack {
            return stage.stop_tracking();
        }
        if let Some(helper) = &self.helper {
            stage.note(Effect::Helper(helper.clone()));
        }
        if let Some(timeout) = &self.timeout {
            stage.note(Effect::Timeout(timeout.clone()));
        }
        if let Some((_, zone)) = &self.zone {
            #[expect(clippy::cast_possible_truncation, reason = "the kernel takes the lower half too")]
            let zone = if zone == "mark" { Some(stage.view.mark as u16) } else { zone.parse().ok() };
            match zone {
                Some(zone) => stage.note(Effect::Zone(zone)),
                None => stage.note(Effect::Other("CT --zone".to_owned())),
            }
        }
    }
}

impl TproxyTarget {
    /// Without a listening transparent socket the packet is dropped (net/netfilter/xt_TPROXY.c).
    fn apply<'r>(&self, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
        if !matches!(stage.view.transport, Transport::Tcp(_) | Transport::Udp { .. }) {
            return Flow::End(Verdict::Drop);
        }
        let address = self.address.filter(|it| !it.is_unspecified());
        let port = Some(self.port).filter(|it| *it != 0);
        let listens = match stage.around.listener(stage.view, address, port) {
            Observed::Known(socket) => socket.transparent,
            Observed::Absent => false,
            Observed::NotCollected(reason) => {
                stage.ask_unknown(&format!("whether a transparent proxy listens: {reason}"))
            }
        };
        if !listens {
            return Flow::End(Verdict::Drop);
        }
        stage.set_mark(stage.view.mark & !self.mark.mask ^ self.mark.value);
        Flow::End(Verdict::Tproxy { address, port })
    }
}

impl TtlTarget {
    fn apply(&self, stage: &mut Stage<'_, '_, '_>) {
        let value = self.value;
        stage.set_ttl(|ttl| match self.operation {
            "inc" => ttl.saturating_add(value),
            "dec" => ttl.saturating_sub(value),
            _ => value,
        });
    }
}

impl SetTarget {
    fn apply(&self, stage: &mut Stage<'_, '_, '_>) {
        for (name, _) in self.add.iter().chain(&self.delete) {
            stage.note(Effect::SetChanged(name.clone()));
        }
        let Some((name, directions)) = &self.map else { return };
        let Some(set) = stage.ruleset.ipsets.get(name) else {
            if self.map_mark {
                stage.ask_unknown(&format!("ipset `{name}` is not known"));
            }
            return;
        };
        let entry = match set.holds(directions, &stage.scene()) {
            Membership::In(entry) => (entry.mark, entry.priority),
            Membership::Out | Membership::Excepted(_) => return,
            Membership::Unknown(why) => {
                stage.ask_unknown(&why);
                return;
            }
        };
        if let (Some((value, mask)), true) = (entry.0, self.map_mark) {
            stage.set_mark(stage.view.mark & !mask ^ value);
        }
        if let (Some((major, minor)), true) = (entry.1, self.map_priority) {
            stage.set_priority(u32::from(major) << 16 | u32::from(minor));
        }
    }
}

/// Maps the packet's address into a network, side by hook (`netmap_tg4`, net/netfilter/xt_NETMAP.c).
fn netmap<'r>(to: AddressMask, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    let side = match stage.hook {
        Hook::Prerouting | Hook::Output => Side::Destination,
        _ => Side::Source,
    };
    let own = stage.view.header().map(|it| match side {
        Side::Source => it.source,
        Side::Destination => it.destination,
    });
    let Some(address) = own.and_then(|own| map_address(own, to)) else {
        return Flow::End(Verdict::Accept);
    };
    Flow::End(Verdict::Nat(NatAction {
        kind: NatKind::Netmap,
        side,
        addresses: Some((address, address)),
        ports: None,
        port_base: None,
        random: false,
        persistent: false,
    }))
}

/// `own` with the bits of the mask taken from `to`.
pub(crate) fn map_address(own: IpAddr, to: AddressMask) -> Option<IpAddr> {
    match (own, to.address, to.mask) {
        (IpAddr::V4(own), IpAddr::V4(to), IpAddr::V4(mask)) => {
            let (own, to, mask) = (own.to_bits(), to.to_bits(), mask.to_bits());
            Some(Ipv4Addr::from_bits(own & !mask | to & mask).into())
        }
        (IpAddr::V6(own), IpAddr::V6(to), IpAddr::V6(mask)) => {
            let (own, to, mask) = (own.to_bits(), to.to_bits(), mask.to_bits());
            Some(Ipv6Addr::from_bits(own & !mask | to & mask).into())
        }
        _ => None,
    }
}

/// Only SYNs are changed, and only ever to less (net/netfilter/xt_TCPMSS.c).
fn clamp(target: TcpmssTarget, stage: &mut Stage<'_, '_, '_>) {
    let Transport::Tcp(tcp) = &mut stage.view.transport else { return };
    if !tcp.flags.contains(TcpFlags::SYN) {
        return;
    }
    let value = match target {
        TcpmssTarget::Set(value) => {
            tcp.mss = Some(tcp.mss.map_or(value, |mss| mss.min(value)));
            Some(value)
        }
        TcpmssTarget::Clamp => None,
    };
    stage.note(Effect::ClampMss(value));
}

/// Answers the handshake (`synproxy_tg4`, net/ipv4/netfilter/ipt_SYNPROXY.c).
fn synproxy<'r>(stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    if takes_handshake(&stage.view.transport) {
        Flow::End(Verdict::Stolen("SYNPROXY".to_owned()))
    } else {
        Flow::Next
    }
}

/// Does a SYN proxy take the segment: the first SYN, or the acknowledgement that ends the handshake?
pub(crate) fn takes_handshake(transport: &Transport) -> bool {
    let Transport::Tcp(tcp) = transport else { return false };
    let is_last_ack = tcp.flags.contains(TcpFlags::ACK)
        && !tcp.flags.intersects(TcpFlags::FIN | TcpFlags::RST | TcpFlags::SYN);
    let is_syn = tcp.flags.contains(TcpFlags::SYN) && !tcp.flags.contains(TcpFlags::ACK);
    is_syn || is_last_ack
}

/// Rewrites ARP fields and does what `--mangle-target` says, ACCEPT if nothing
/// (net/ipv4/netfilter/arpt_mangle.c).
fn arp_mangle<'r>(words: &[String], stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    let mut verdict = Flow::End(Verdict::Accept);
    for pair in words.windows(2) {
        let Network::Arp(arp) = &mut stage.view.network else { break };
        match (pair[0].as_str(), pair[1].as_str()) {
            ("--mangle-ip-s", value) => arp.sender_ip = value.parse().unwrap_or(arp.sender_ip),
            ("--mangle-ip-d", value) => arp.target_ip = value.parse().unwrap_or(arp.target_ip),
            ("--mangle-mac-s", value) => arp.sender_mac = value.parse().unwrap_or(arp.sender_mac),
            ("--mangle-mac-d", value) => arp.target_mac = value.parse().unwrap_or(arp.target_mac),
            ("--mangle-target", "DROP") => verdict = Flow::End(Verdict::Drop),
            ("--mangle-target", "CONTINUE") => verdict = Flow::Next,
            _ => {}
        }
    }
    stage.note(Effect::Other("mangle".to_owned()));
    verdict
}
