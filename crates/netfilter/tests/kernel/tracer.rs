//! A small tracer for single packets through a router: just enough of routing, connection tracking and
//! translation to say which rules count a packet.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_netfilter::{
    Connection, ConnectionState, ConnectionStatus, Device, Direction, Ether, Hook, HookEntry, Kind, Layer,
    NatAction, NatKind, Network, Owner, ReversePath, RouteDevice, RouteQuery, RuleRef, Ruleset, Side,
    Surroundings, TcpFlags, Transport, Verdict, View,
};
use hopwise_snapshot::{ConntrackTuple, Mac, Observed, RouteKind};

use crate::{
    packets::{Load, Packet},
    space::{OWN, is_left},
};

/// Where connection tracking hangs (`NF_IP_PRI_CONNTRACK`).
const TRACKING: i32 = -200;

/// Words for what depends on the packets before, or on bytes that no view has. It may go either way.
const EITHER_WAY: [&str; 3] = ["packets before", "later fragment", "that are compared are not known"];

/// The world around the rules of a router.
struct World<'w> {
    /// What chance takes, question by question.
    picks: &'w [usize],
    n_choices: usize,
    /// How many outcomes each question had.
    n_outcomes: Vec<usize>,
    asked: Vec<String>,
}

impl Surroundings for World<'_> {
    fn address_kind(&self, address: IpAddr, limit: Option<&str>) -> Observed<RouteKind> {
        let is_own = is_own(address) && limit.is_none_or(|it| it == device_to(address));
        Observed::Known(if is_own { RouteKind::Local } else { RouteKind::Unicast })
    }

    fn reverse_path(&self, view: &View<'_>, _: ReversePath) -> Observed<bool> {
        let source = view.header().unwrap().source;
        Observed::Known(view.input.as_ref().is_some_and(|it| it.name == device_to(source)))
    }

    fn route_output(&self, query: &RouteQuery<'_>) -> Observed<RouteDevice> {
        let name = device_to(query.destination);
        if is_own(query.destination) || query.through.is_some_and(|it| it != name) {
            return Observed::Absent;
        }
        Observed::Known(RouteDevice { name: name.to_owned(), index: None })
    }

    fn choose(&mut self, weights: &[f64], _: RuleRef) -> usize {
        let pick = self.picks.get(self.n_choices).copied().unwrap_or(0);
        self.n_choices += 1;
        self.n_outcomes.push(weights.len());
        pick
    }

    fn unknown(&mut self, rule: RuleRef, why: &str) -> bool {
        if EITHER_WAY.iter().any(|it| why.contains(it)) {
            return self.choose(&[0.5, 0.5], rule) == 0;
        }
        self.asked.push(format!("{rule:?}: {why}"));
        false
    }
}

fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || OWN.iter().any(|it| address == it.parse::<IpAddr>().unwrap())
}

/// A device of the router.
fn device(name: &'static str) -> Device<'static> {
    if name == "lo" {
        return Device::named(name);
    }
    Device { name, index: None, kind: Observed::Known("veth"), hardware_type: Some(1), group: Some(0) }
}

/// The device that leads to an address.
fn device_to(address: IpAddr) -> &'static str {
    if is_left(address) { "left" } else { "right" }
}

/// The device that what the router sends to an address leaves by.
fn way_to(address: IpAddr) -> &'static str {
    if is_own(address) { "lo" } else { device_to(address) }
}

/// The connections of a router.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Vec<Connection>);

/// What the model says of one packet.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    /// The rules and policies that count it, and how often.
    pub(crate) counted: BTreeMap<RuleRef, u64>,
    /// What becomes of it in the end.
    pub(crate) verdict: Verdict,
    /// The packet as it leaves or arrives.
    pub(crate) view: View<'static>,
    /// The connections afterwards.
    pub(crate) connections: Connections,
    /// How many outcomes each question to chance had.
    pub(crate) n_outcomes: Vec<usize>,
}

/// Traces a packet for every way that chance can take.
pub(crate) fn traces(ruleset: &Ruleset, packet: &Packet, before: &Connections, is_local: bool) -> Vec<Trace> {
    let mut all = Vec::new();
    let mut picks: Vec<usize> = Vec::new();
    loop {
        let trace = trace(ruleset, packet, before, is_local, &picks);
        let n_outcomes = trace.n_outcomes.clone();
        all.push(trace);
        picks.resize(n_outcomes.len(), 0);
        // Counts up, with the last question as the lowest digit.
        loop {
            let Some(last) = picks.pop() else { return all };
            if last + 1 < n_outcomes[picks.len()] {
                picks.push(last + 1);
                break;
            }
        }
    }
}

fn trace(ruleset: &Ruleset, packet: &Packet, before: &Connections, is_local: bool, picks: &[usize]) -> Trace {
    let world = World { picks, n_choices: 0, n_outcomes: Vec::new(), asked: Vec::new() };
    let layer = if packet.from.is_ipv4() { Layer::Ip4 } else { Layer::Ip6 };
    let mut walk = Walk {
        ruleset,
        layer,
        world,
        view: packet.view(),
        counted: BTreeMap::new(),
        connections: before.clone(),
        connection: None,
        is_new: false,
    };
    let verdict = walk.whole_way(packet, is_local);
    assert_eq!(walk.world.asked, Vec::<String>::new(), "nothing is unknown");
    let Walk { counted, view, connections, world, .. } = walk;
    Trace { counted, verdict, view, connections, n_outcomes: world.n_outcomes }
}

struct Walk<'w> {
    ruleset: &'w Ruleset,
    layer: Layer,
    world: World<'w>,
    view: View<'static>,
    counted: BTreeMap<RuleRef, u64>,
    connections: Connections,
    /// Which of the connections the packet is of.
    connection: Option<usize>,
    is_new: bool,
}

impl Walk<'_> {
    fn whole_way(&mut self, packet: &Packet, is_local: bool) -> Verdict {
        if is_local {
            self.view.owner = Some(Owner { uid: Some(0), gid: Some(0), ..Owner::default() });
            self.view.output = Some(device(way_to(packet.to)));
            let verdict = self.hook(Hook::Output);
            if verdict != Verdict::Accept {
                return verdict;
            }
            self.view.output = Some(device(way_to(self.destination())));
            let verdict = self.last_hook(Hook::Postrouting);
            if verdict != Verdict::Accept || !is_own(self.destination()) {
                return verdict;
            }
            // It comes in again with the connection that it has.
            self.is_new = false;
            self.view.owner = None;
            self.view.input = self.view.output.take();
            let verdict = self.hook(Hook::Prerouting);
            return if verdict == Verdict::Accept { self.hook(Hook::Input) } else { verdict };
        }
        let net = if is_left(packet.from) { 1 } else { 2 };
        self.view.input = Some(device(device_to(packet.from)));
        self.view.ether = Some(Ether {
            source: Mac([2, 0, 0, 0, net, 2]),
            destination: Mac([2, 0, 0, 0, net, 1]),
            ethertype: if packet.from.is_ipv4() { 0x0800 } else { 0x86dd },
            vlan: None,
        });
        let verdict = self.at_device(Hook::Ingress, device_to(packet.from));
        if verdict != Verdict::Accept {
            return verdict;
        }
        let verdict = self.hook(Hook::Prerouting);
        if verdict != Verdict::Accept {
            return verdict;
        }
        if is_own(self.destination()) {
            return self.last_hook(Hook::Input);
        }
        self.view.output = Some(device(device_to(self.destination())));
        let Network::Ip(header) = &mut self.view.network else { unreachable!() };
        header.ttl -= 1;
        let verdict = self.hook(Hook::Forward);
        if verdict != Verdict::Accept {
            return verdict;
        }
        self.view.input = None;
        let verdict = self.last_hook(Hook::Postrouting);
        if verdict != Verdict::Accept {
            return verdict;
        }
        self.at_device(Hook::Egress, device_to(self.destination()))
    }

    /// The chains that hang at a device.
    fn at_device(&mut self, hook: Hook, device: &str) -> Verdict {
        for entry in self.ruleset.hooks(Layer::Netdev, hook, Some(device)) {
            let verdict = self.run(&entry);
            if verdict != Verdict::Accept {
                return verdict;
            }
        }
        Verdict::Accept
    }

    /// Runs one chain and keeps account.
    fn run(&mut self, entry: &HookEntry<'_>) -> Verdict {
        let outcome = self.ruleset.run(entry, &mut self.view, &mut self.world);
        for visited in &outcome.path {
            *self.counted.entry(visited.rule).or_default() += 1;
        }
        if outcome.is_by_policy() {
            *self.counted.entry(outcome.by).or_default() += 1;
        }
        outcome.verdict
    }

    fn destination(&self) -> IpAddr {
        self.view.header().unwrap().destination
    }

    /// The hook after which a new connection is kept.
    fn last_hook(&mut self, hook: Hook) -> Verdict {
        let verdict = self.hook(hook);
        if let (Verdict::Accept, Some(at)) = (&verdict, self.connection) {
            self.connections.0[at].status |= ConnectionStatus::CONFIRMED;
        } else if let (Some(at), true) = (self.connection, self.is_new) {
            self.connections.0.remove(at);
        }
        verdict
    }

    fn hook(&mut self, hook: Hook) -> Verdict {
        let mut is_translated = false;
        let mut has_followed = false;
        for entry in self.ruleset.hooks(self.layer, hook, None) {
            if entry.priority > TRACKING && self.ruleset.tracks_connections(self.layer) {
                self.track();
            }
            let place = if matches!(hook, Hook::Prerouting | Hook::Output) { -100 } else { 100 };
            if entry.priority > place && !has_followed {
                self.follow_connection(hook);
                has_followed = true;
            }
            if entry.kind == Kind::Nat && (!self.is_new || is_translated) {
                continue;
            }
            match self.run(&entry) {
                Verdict::Accept => {}
                Verdict::Nat(action) => {
                    self.translate(&action, hook);
                    is_translated = true;
                }
                other => return other,
            }
        }
        if self.ruleset.tracks_connections(self.layer) {
            self.track();
        }
        if !has_followed {
            self.follow_connection(hook);
        }
        Verdict::Accept
    }

    /// Finds or makes the packet's connection.
    fn track(&mut self) {
        if self.view.connection.is_some() {
            return;
        }
        let tuple = tuple(&self.view);
        let found = self.connections.0.iter().position(|it| it.original == tuple || it.reply == tuple);
        let at = found.unwrap_or_else(|| {
            self.is_new = true;
            self.connections.0.push(Connection {
                state: ConnectionState::New,
                direction: Direction::Original,
                status: ConnectionStatus::empty(),
                mark: 0,
                original: tuple.clone(),
                reply: turned(&tuple),
                zone: 0,
                helper: None,
            });
            self.connections.0.len() - 1
        });
        let known = &mut self.connections.0[at];
        let mut own = known.clone();
        if found.is_some() {
            let is_reply = known.reply == tuple;
            if is_reply {
                known.status |= ConnectionStatus::SEEN_REPLY;
            }
            own.status = known.status;
            own.direction = if is_reply { Direction::Reply } else { Direction::Original };
            let is_established = own.status.contains(ConnectionStatus::SEEN_REPLY);
            own.state = if is_established { ConnectionState::Established } else { ConnectionState::New };
        }
        self.connection = Some(at);
        self.view.connection = Some(own);
    }

    /// Translates a new connection as a rule asks for.
    fn translate(&mut self, action: &NatAction, hook: Hook) {
        let Some(at) = self.connection else { return };
        let output = self.view.output.as_ref().map(|it| it.name);
        let is_v4 = self.view.header().unwrap().source.is_ipv4();
        let address = action.addresses.map(|it| it.0).or(match action.kind {
            NatKind::Masquerade => own_address(output.unwrap(), is_v4),
            NatKind::Redirect if hook == Hook::Prerouting => {
                own_address(self.view.input.as_ref().unwrap().name, is_v4)
            }
            _ => None,
        });
        let connection = &mut self.connections.0[at];
        match action.side {
            Side::Destination => {
                connection.status |= ConnectionStatus::DESTINATION_NAT;
                connection.reply.source = address.unwrap_or(connection.reply.source);
                if let Some((port, _)) = action.ports {
                    connection.reply.source_port = port;
                }
            }
            Side::Source => {
                connection.status |= ConnectionStatus::SOURCE_NAT;
                connection.reply.destination = address.unwrap_or(connection.reply.destination);
            }
        }
        let (status, reply) = (connection.status, connection.reply.clone());
        let own = self.view.connection.as_mut().unwrap();
        own.status = status;
        own.reply = reply;
    }

    /// Rewrites the packet as its connection says: destinations before routing, sources after it.
    fn follow_connection(&mut self, hook: Hook) {
        let Some(connection) = self.view.connection.clone() else { return };
        let target = match connection.direction {
            Direction::Original => turned(&connection.reply),
            Direction::Reply => turned(&connection.original),
        };
        let is_before = matches!(hook, Hook::Prerouting | Hook::Output);
        let Network::Ip(header) = &mut self.view.network else { unreachable!() };
        if is_before {
            header.destination = target.destination;
        } else if hook == Hook::Postrouting {
            header.source = target.source;
        }
        match &mut self.view.transport {
            Transport::Tcp(tcp) if is_before => tcp.destination_port = target.destination_port,
            Transport::Udp { destination_port, .. } if is_before => {
                *destination_port = target.destination_port;
            }
            _ => {}
        }
        let mark = connection.mark;
        if let Some(at) = self.connection {
            self.connections.0[at].mark = mark;
        }
    }
}

fn own_address(device: &str, is_v4: bool) -> Option<IpAddr> {
    let text = match (device, is_v4) {
        ("left", true) => "10.1.0.1",
        ("left", false) => "fd01::1",
        (_, true) => "10.2.0.1",
        (_, false) => "fd02::1",
    };
    text.parse().ok()
}

fn tuple(view: &View<'_>) -> ConntrackTuple {
    let header = view.header().unwrap();
    let (source_port, destination_port) = match view.transport {
        // An answer to an echo belongs to the connection of the question.
        Transport::Icmp { kind, code, id } => {
            (id.unwrap_or(0), u16::from(question(kind)) << 8 | u16::from(code))
        }
        _ => view.ports().unwrap(),
    };
    ConntrackTuple {
        source: header.source,
        destination: header.destination,
        protocol: header.protocol,
        source_port,
        destination_port,
    }
}

fn question(kind: u8) -> u8 {
    match kind {
        0 => 8,
        129 => 128,
        other => other,
    }
}

fn turned(tuple: &ConntrackTuple) -> ConntrackTuple {
    let is_icmp = matches!(tuple.protocol, 1 | 58);
    let (source_port, destination_port) = if is_icmp {
        (tuple.source_port, tuple.destination_port)
    } else {
        (tuple.destination_port, tuple.source_port)
    };
    ConntrackTuple {
        source: tuple.destination,
        destination: tuple.source,
        protocol: tuple.protocol,
        source_port,
        destination_port,
    }
}

/// The answer that the other end would give to a packet as it arrived there.
pub(crate) fn answer(view: &View<'_>) -> Packet {
    let header = view.header().unwrap();
    let load = match view.transport {
        Transport::Tcp(tcp) => Load::Tcp {
            from: tcp.destination_port,
            to: tcp.source_port,
            flags: TcpFlags::SYN | TcpFlags::ACK,
            mss: None,
        },
        Transport::Udp { source_port, destination_port } => {
            Load::Udp { from: destination_port, to: source_port }
        }
        Transport::Icmp { kind, code, id } => {
            Load::Icmp { kind: if kind == 8 { 0 } else { 129 }, code, id: id.unwrap_or(0) }
        }
        Transport::Ports { .. } | Transport::Other => unreachable!(),
    };
    Packet { from: header.destination, to: header.source, load, tos: 0, ttl: 64, is_last_fragment: false }
}
