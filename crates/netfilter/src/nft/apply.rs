//! What statements of nft do with a packet.
//!
//! Kernel: net/netfilter/nft_immediate.c, nft_lookup.c, nft_meta.c, nft_ct.c, nft_payload.c,
//! nft_reject.c, nft_tproxy.c, nft_dynset.c, nft_queue.c, nft_synproxy.c.

mod nat;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hopwise_snapshot::{Mac, Observed};

use super::{
    elements::{Data, bounds},
    expression::{Datum, Expression},
    fields::{Base, Field},
    statement::{Statement, Verdict as Word},
    worth::{Stop, Worth, draw, look_up, merge, written},
};
use crate::{
    Effect, Layer, Queue, RejectWith, Verdict,
    packet::{Network, Transport},
    run::{Flow, Stage},
    xt::takes_handshake,
};

impl Statement {
    /// Does to the packet what the statement does, and says how evaluation goes on.
    pub(crate) fn apply<'r>(&'r self, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
        match self {
            Self::Verdict(word) => word.flow(),
            Self::VerdictMap { key, data } => verdict_map(key, data, stage),
            Self::Counter(_) | Self::Last(_) => Flow::Next,
            Self::Mangle { key, value } => mangle(key, value, stage),
            Self::Nat(nat) => nat.apply(stage),
            Self::Reject { kind, code } => reject(kind.as_deref(), code.as_ref(), stage),
            Self::Limit(_) => depends(stage, "a rate limit depends on the packets before"),
            Self::Quota(_) => depends(stage, "what is left of the quota is not known"),
            Self::CtCount(..) => depends(stage, "the number of connections now is not known"),
            Self::SetUpdate { element, set, statements, operation, .. } => {
                match element.worth(&stage.scene()) {
                    Err(Stop::Break) => return Flow::Break,
                    Err(Stop::Unknown(_)) | Ok(_) => {}
                }
                stage.note(Effect::SetChanged(set.clone()));
                if operation == "delete" {
                    return Flow::Next;
                }
                all(statements, stage)
            }
            Self::Meter { statement, .. } => all(std::slice::from_ref(statement), stage),
            Self::Notrack => {
                stage.stop_tracking();
                Flow::Next
            }
            Self::Log(_) => noted(stage, "log"),
            Self::Queue { number, flags } => {
                let (from, to) = number.as_ref().map_or((0, 0), |it| queues(it, stage));
                Flow::End(Verdict::Queue(Queue { from, to, bypass: flags.has("bypass") }))
            }
            Self::Tproxy { family, address, port } => {
                tproxy(family.as_deref(), address.as_ref(), port.as_ref(), stage)
            }
            Self::Synproxy(_) => synproxy(stage),
            Self::Dup { to, device } => {
                let to = to.as_ref().and_then(|it| number_of(it, stage)).and_then(|it| ip(it, stage));
                let by = device.as_ref().map(super::syntax::expression);
                stage.note(Effect::Duplicate { to, by });
                Flow::Next
            }
            Self::Forward { device, .. } => {
                let device = super::syntax::expression(device);
                Flow::End(Verdict::Stolen(format!("fwd to {}", device.trim_matches('"'))))
            }
            Self::Flow(flowtable) => {
                stage.note(Effect::Offload(flowtable.clone()));
                Flow::Next
            }
            Self::Reset(_) => noted(stage, "reset"),
            Self::Object(kind, name) => object(kind, name, stage),
            Self::Xt { kind, name } => xt(kind, name, stage),
            Self::Text(text) => match text.split_once(" @") {
                // Older versions print changes of maps like this.
                Some(("add" | "update" | "delete", rest)) => {
                    let name = rest.split([' ', '{']).next().unwrap_or("");
                    stage.note(Effect::SetChanged(name.to_owned()));
                    Flow::Next
                }
                _ => depends(stage, &format!("statement `{text}` is not understood")),
            },
            Self::NotUnderstood(_) => depends(stage, "a statement is not understood"),
        }
    }
}

impl Word {
    fn flow(&self) -> Flow<'_> {
        match self {
            Self::Accept => Flow::End(Verdict::Accept),
            Self::Drop => Flow::End(Verdict::Drop),
            Self::Continue => Flow::Next,
            Self::Break => Flow::Break,
            Self::Return => Flow::Return,
            Self::Jump(chain) => Flow::Jump(chain),
            Self::Goto(chain) => Flow::Goto(chain),
            Self::Queue => Flow::End(Verdict::Queue(Queue { from: 0, to: 0, bypass: false })),
        }
    }
}

/// Asks whether something holds that nobody knows.
fn depends<'r>(stage: &mut Stage<'r, '_, '_>, why: &str) -> Flow<'r> {
    if stage.ask_unknown(why) { Flow::Next } else { Flow::Break }
}

fn noted<'r>(stage: &mut Stage<'r, '_, '_>, what: &str) -> Flow<'r> {
    stage.note(Effect::Other(what.to_owned()));
    Flow::Next
}

/// The statements of an element, until one does not hold.
fn all<'r>(statements: &'r [Statement], stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    for statement in statements {
        let flow = statement.apply(stage);
        if flow != Flow::Next {
            return flow;
        }
    }
    Flow::Next
}

fn verdict_map<'r>(key: &'r Expression, data: &'r Expression, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    let table = stage.table;
    let Some(elements) = written(data, table) else { return depends(stage, "a verdict map is not known") };
    let flow = |data: Option<&'r Data>| match data {
        Some(Data::Verdict(word)) => Some(word.flow()),
        _ => None,
    };
    let worth = key.worth(&stage.scene());
    let found = match worth {
        Ok(Worth::Spread { low, count }) => {
            let outcomes = draw(elements, low, count);
            let weights: Vec<f64> = outcomes.iter().map(|(weight, _)| *weight).collect();
            let chosen = if weights.len() == 1 { 0 } else { stage.choose(&weights) };
            match outcomes.get(chosen) {
                Some((_, Some(data))) => Ok(Some(*data)),
                _ => Err(Stop::Break),
            }
        }
        Ok(Worth::Lottery(outcomes)) => match settle(outcomes, stage) {
            Some(worth) => look_up(elements, &worth),
            None => Err(Stop::Break),
        },
        Ok(worth) => look_up(elements, &worth),
        Err(stop) => Err(stop),
    };
    match found.map(flow) {
        Ok(Some(flow)) => flow,
        Ok(None) => depends(stage, "a verdict map says something else than a verdict"),
        Err(Stop::Break) => Flow::Break,
        Err(Stop::Unknown(why)) => {
            // Even if it is followed, nobody knows to which verdict.
            stage.ask_unknown(&why);
            Flow::Break
        }
    }
}

/// Lets chance decide between outcomes.
fn settle(outcomes: Vec<(f64, Option<Worth>)>, stage: &mut Stage<'_, '_, '_>) -> Option<Worth> {
    let mut outcomes = merge(outcomes.into_iter());
    if outcomes.len() == 1 {
        return outcomes.pop()?.1;
    }
    let weights: Vec<f64> = outcomes.iter().map(|(weight, _)| *weight).collect();
    let chosen = stage.choose(&weights);
    outcomes.into_iter().nth(chosen)?.1
}

/// The value of an expression after chance has decided.
fn value(expression: &Expression, stage: &mut Stage<'_, '_, '_>) -> Result<Worth, Stop> {
    let worth = expression.worth(&stage.scene())?;
    match worth {
        Worth::Spread { .. } | Worth::Lottery(_) => match worth.outcomes() {
            Ok(outcomes) => settle(outcomes, stage).ok_or(Stop::Break),
            Err(_) => Err(Stop::Unknown("too many outcomes of chance".into())),
        },
        other => Ok(other),
    }
}

fn number_of(expression: &Expression, stage: &mut Stage<'_, '_, '_>) -> Option<u128> {
    value(expression, stage).ok()?.number()
}

/// A number as an address of the packet's family.
fn ip(number: u128, stage: &Stage<'_, '_, '_>) -> Option<IpAddr> {
    let is_v6 = match &stage.view.network {
        Network::Ip(header) => header.source.is_ipv6(),
        Network::Arp(_) | Network::Other => stage.layer == Layer::Ip6,
    };
    Some(if is_v6 {
        Ipv6Addr::from_bits(number).into()
    } else {
        Ipv4Addr::from_bits(u32::try_from(number).ok()?).into()
    })
}

fn mangle<'r>(key: &'r Expression, to: &'r Expression, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    if let Expression::TcpOption(name, Some(field)) = key
        && name == "maxseg"
        && field == "size"
    {
        return clamp(to, stage);
    }
    if let Expression::Field(field) = key {
        // Writing, unlike reading, minds fragments (`nft_payload_set_eval`).
        let is_headless = field.base == Base::Transport
            && stage.view.header().is_some_and(crate::IpHeader::is_later_fragment);
        if is_headless || !field.demand.is_met(&stage.scene()) {
            return Flow::Break;
        }
    }
    let worth = match value(to, stage) {
        Ok(worth) => worth,
        Err(Stop::Break) => return Flow::Break,
        Err(Stop::Unknown(why)) => {
            stage.ask_unknown(&format!("the new value of `{}`: {why}", super::syntax::expression(key)));
            return Flow::Next;
        }
    };
    let number = worth.number();
    let narrow = number.and_then(|it| u32::try_from(it).ok());
    match (key, narrow) {
        (Expression::Meta("mark"), Some(mark)) => stage.set_mark(mark),
        (Expression::Meta("priority"), Some(priority)) => stage.set_priority(priority),
        (Expression::Ct { key: "mark", .. }, Some(mark)) => stage.set_connection_mark(mark),
        (Expression::Ct { key: "zone", .. }, Some(zone)) => {
            // Once tracked, a packet keeps its zone.
            if let (None, Ok(zone)) = (&stage.view.connection, u16::try_from(zone)) {
                stage.note(Effect::Zone(zone));
            }
        }
        (Expression::Meta("mark") | Expression::Ct { key: "mark", .. }, None) => {
            stage.ask_unknown("the new mark is not known");
        }
        (Expression::Field(field), _) => rewrite(field, number, stage),
        _ => stage.note(Effect::Other(super::syntax::expression(key))),
    }
    Flow::Next
}

/// Writes a header field, where the view has it.
fn rewrite(field: &Field, number: Option<u128>, stage: &mut Stage<'_, '_, '_>) {
    if let Some(number) = number {
        let address = ip(number, stage);
        match &mut stage.view.network {
            Network::Ip(header) => match (field.protocol, field.name, u8::try_from(number)) {
                ("ip" | "ip6", "saddr", _) => header.source = address.unwrap_or(header.source),
                ("ip" | "ip6", "daddr", _) => header.destination = address.unwrap_or(header.destination),
                ("ip", "ttl", Ok(ttl)) | ("ip6", "hoplimit", Ok(ttl)) => header.ttl = ttl,
                ("ip" | "ip6", "dscp", Ok(dscp)) => header.tos = header.tos & 3 | dscp << 2,
                ("ip" | "ip6", "ecn", Ok(ecn)) => header.tos = header.tos & !3 | ecn & 3,
                _ => rewrite_ports(field.name, number, &mut stage.view.transport),
            },
            Network::Arp(arp) => match field.name {
                "operation" => arp.operation = u16::try_from(number).unwrap_or(arp.operation),
                "saddr ip" => arp.sender_ip = Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(0)),
                "daddr ip" => arp.target_ip = Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(0)),
                "saddr ether" => arp.sender_mac = mac(number),
                "daddr ether" => arp.target_mac = mac(number),
                _ => {}
            },
            Network::Other => {}
        }
        if let (Some(ether), "ether") = (&mut stage.view.ether, field.protocol) {
            match field.name {
                "saddr" => ether.source = mac(number),
                "daddr" => ether.destination = mac(number),
                _ => {}
            }
        }
    }
    let name = format!("{} {}", field.protocol, field.name);
    stage.note(Effect::Rewritten { field: name, value: number });
}

fn rewrite_ports(name: &str, number: u128, transport: &mut Transport) {
    let Ok(port) = u16::try_from(number) else { return };
    match transport {
        Transport::Tcp(tcp) => match name {
            "sport" => tcp.source_port = port,
            "dport" => tcp.destination_port = port,
            _ => {}
        },
        Transport::Udp { source_port, destination_port }
        | Transport::Ports { source_port, destination_port } => match name {
            "sport" => *source_port = port,
            "dport" => *destination_port = port,
            _ => {}
        },
        Transport::Icmp { .. } | Transport::Other => {}
    }
}

fn mac(number: u128) -> Mac {
    let mut octets = [0; 6];
    octets.copy_from_slice(&number.to_be_bytes()[10..]);
    Mac(octets)
}

/// Brings the maximum segment size down, never up (`nft_exthdr_tcp_set_eval`).
fn clamp<'r>(to: &Expression, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    let size = match value(to, stage) {
        Ok(worth) => worth.number().and_then(|it| u16::try_from(it).ok()),
        Err(_) if matches!(to, Expression::Rt("mtu", _)) => None,
        Err(Stop::Break) => return Flow::Break,
        Err(Stop::Unknown(_)) => None,
    };
    let Transport::Tcp(tcp) = &mut stage.view.transport else { return Flow::Break };
    let Some(mss) = tcp.mss else { return Flow::Next };
    if let Some(size) = size {
        tcp.mss = Some(mss.min(size));
    }
    stage.note(Effect::ClampMss(size));
    Flow::Next
}

/// Codes of `icmpx` for IPv4 and IPv6 (`icmp_code_v4`, `icmp_code_v6`, net/netfilter/nft_reject.c).
const ICMPX: [((u8, u8), (u8, u8)); 4] =
    [((3, 0), (1, 0)), ((3, 3), (1, 4)), ((3, 1), (1, 3)), ((3, 13), (1, 1))];

fn reject<'r>(kind: Option<&str>, code: Option<&Expression>, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    let Some(header) = stage.view.header() else { return Flow::Break };
    let is_v6 = header.source.is_ipv6();
    let code = code.and_then(bounds).and_then(|(code, _)| u8::try_from(code).ok());
    let with = match (kind, code) {
        (Some("tcp reset"), _) => {
            if header.protocol != crate::names::TCP {
                return Flow::Break;
            }
            RejectWith::TcpReset
        }
        (Some("icmp"), code) if !is_v6 => RejectWith::Icmp { kind: 3, code: code.unwrap_or(3) },
        (Some("icmpv6"), code) if is_v6 => RejectWith::Icmp { kind: 1, code: code.unwrap_or(4) },
        (Some("icmp" | "icmpv6"), _) => return Flow::Break,
        (_, code) => {
            let (v4, v6) = ICMPX.get(usize::from(code.unwrap_or(1))).copied().unwrap_or(((3, 3), (1, 4)));
            let (kind, code) = if is_v6 { v6 } else { v4 };
            RejectWith::Icmp { kind, code }
        }
    };
    Flow::End(Verdict::Reject(with))
}

fn queues(number: &Expression, stage: &mut Stage<'_, '_, '_>) -> (u16, u16) {
    let narrow = |number: u128| u16::try_from(number).unwrap_or(u16::MAX);
    if let Some((low, high)) = bounds(number) {
        return (narrow(low), narrow(high));
    }
    match number.worth(&stage.scene()) {
        Ok(Worth::Spread { low, count }) => {
            (narrow(low.into()), narrow(u128::from(low) + u128::from(count) - 1))
        }
        Ok(worth) => worth.number().map_or((0, 0), |it| (narrow(it), narrow(it))),
        Err(_) => (0, u16::MAX),
    }
}

/// Gives the packet to a listening socket; without one the rule does not match (net/netfilter/nft_tproxy.c).
fn tproxy<'r>(
    family: Option<&str>,
    address: Option<&Expression>,
    port: Option<&Expression>,
    stage: &mut Stage<'r, '_, '_>,
) -> Flow<'r> {
    let is_v6 = stage.view.header().is_some_and(|it| it.source.is_ipv6());
    let is_other_family = matches!((family, is_v6), (Some("ip"), true) | (Some("ip6"), false));
    if is_other_family || !matches!(stage.view.transport, Transport::Tcp(_) | Transport::Udp { .. }) {
        return Flow::Break;
    }
    let address = address.and_then(|it| number_of(it, stage)).and_then(|it| ip(it, stage));
    let port = port.and_then(|it| number_of(it, stage)).and_then(|it| u16::try_from(it).ok());
    let listens = match stage.around.listener(stage.view, address, port) {
        Observed::Known(socket) => socket.transparent,
        Observed::Absent => false,
        Observed::NotCollected(reason) => {
            stage.ask_unknown(&format!("whether a transparent proxy listens: {reason}"))
        }
    };
    if listens {
        stage.proxy = Some((address, port));
        Flow::Next
    } else {
        Flow::Break
    }
}

fn synproxy<'r>(stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    match stage.view.transport {
        Transport::Tcp(_) if takes_handshake(&stage.view.transport) => {
            Flow::End(Verdict::Stolen("synproxy".to_owned()))
        }
        Transport::Tcp(_) => Flow::Next,
        _ => Flow::Break,
    }
}

/// Uses a stateful object.
fn object<'r>(kind: &str, name: &'r Expression, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    let name = match name {
        Expression::Constant(constant) => match &constant.datum {
            Datum::Text(name) => name.clone(),
            Datum::Number(number) => number.to_string(),
        },
        map => match value(map, stage) {
            Ok(Worth::Text(name)) => name,
            Ok(_) => return depends(stage, "the name of an object is not known"),
            Err(Stop::Break) => return Flow::Break,
            Err(Stop::Unknown(why)) => return depends(stage, &why),
        },
    };
    match kind {
        "limit" => depends(stage, "a rate limit depends on the packets before"),
        "quota" => depends(stage, "what is left of the quota is not known"),
        "synproxy" => synproxy(stage),
        "ct helper" => {
            stage.note(Effect::Helper(name));
            Flow::Next
        }
        "ct timeout" => {
            stage.note(Effect::Timeout(name));
            Flow::Next
        }
        "counter" => Flow::Next,
        other => noted(stage, other),
    }
}

/// A module of iptables of which only the name is known. Comments and counters always hold.
fn xt<'r>(kind: &str, name: &str, stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
    match (kind, name) {
        ("match", "comment" | "nfacct") => Flow::Next,
        ("match", _) => {
            depends(stage, &format!("match `{name}` of iptables, whose options nft does not show"))
        }
        _ => {
            stage.ask_unknown(&format!("target `{name}` of iptables, whose options nft does not show"));
            noted(stage, name)
        }
    }
}
