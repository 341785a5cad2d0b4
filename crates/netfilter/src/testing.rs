//! What unit tests ask of rules, and a small world around them.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_snapshot::{ConntrackTuple, Observed, Reason, RouteKind};

use crate::{
    Connection, ConnectionState, ConnectionStatus, Direction, FoundSocket, Hook, IpHeader, IpSet, Layer,
    Outcome, PacketRoute, ReversePath, RouteDevice, RouteQuery, RuleRef, Ruleset, Source, Surroundings, Tcp,
    TcpFlags, Transport, Verdict, View, iptables,
};

/// Surroundings with fixed answers.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Kinds of addresses; all others are unicast.
    pub(crate) kinds: BTreeMap<IpAddr, RouteKind>,
    /// The answer to reverse path checks.
    pub(crate) reverse: Observed<bool>,
    /// The answer to lookups.
    pub(crate) device: Observed<RouteDevice>,
    /// The socket of every packet.
    pub(crate) socket: Observed<FoundSocket>,
    /// The route of every packet.
    pub(crate) route: Observed<PacketRoute>,
    /// Which outcome chance takes.
    pub(crate) pick: usize,
    /// Whether to follow what nobody knows.
    pub(crate) follow: bool,
    /// What was asked that nobody knows.
    pub(crate) asked: Vec<String>,
    /// What chance was asked.
    pub(crate) weights: Vec<Vec<f64>>,
    /// The lookups that were made.
    pub(crate) queries: std::cell::RefCell<Vec<String>>,
}

impl Surroundings for World {
    fn address_kind(&self, address: IpAddr, limit: Option<&str>) -> Observed<RouteKind> {
        self.queries.borrow_mut().push(format!("kind {address} {limit:?}"));
        Observed::Known(self.kinds.get(&address).copied().unwrap_or(RouteKind::Unicast))
    }

    fn reverse_path(&self, _: &View<'_>, flags: ReversePath) -> Observed<bool> {
        self.queries.borrow_mut().push(format!("{flags:?}"));
        self.reverse.clone()
    }

    fn route_output(&self, query: &RouteQuery<'_>) -> Observed<RouteDevice> {
        self.queries.borrow_mut().push(format!("{query:?}"));
        self.device.clone()
    }

    fn socket(&self, _: &View<'_>) -> Observed<FoundSocket> {
        self.socket.clone()
    }

    fn listener(&self, _: &View<'_>, _: Option<IpAddr>, _: Option<u16>) -> Observed<FoundSocket> {
        self.socket.clone()
    }

    fn route(&self, _: &View<'_>) -> Observed<PacketRoute> {
        self.route.clone()
    }

    fn choose(&mut self, weights: &[f64], _: RuleRef) -> usize {
        self.weights.push(weights.to_vec());
        self.pick
    }

    fn unknown(&mut self, _: RuleRef, why: &str) -> bool {
        self.asked.push(why.to_owned());
        self.follow
    }
}

/// The fact that nobody read.
pub(crate) fn unread<T>() -> Observed<T> {
    Observed::NotCollected(Reason::TimedOut)
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A SYN from 10.0.0.1:40000 to 10.0.0.2:80.
pub(crate) fn syn<'a>() -> View<'a> {
    tcp("10.0.0.1", 40000, "10.0.0.2", 80, TcpFlags::SYN)
}

pub(crate) fn tcp<'a>(from: &str, from_port: u16, to: &str, to_port: u16, flags: TcpFlags) -> View<'a> {
    let header = IpHeader::new(address(from), address(to), 6);
    let tcp = Tcp { source_port: from_port, destination_port: to_port, flags, mss: Some(1460) };
    View::ip(header, Transport::Tcp(tcp))
}

pub(crate) fn udp<'a>(from: &str, to: &str, to_port: u16) -> View<'a> {
    let header = IpHeader::new(address(from), address(to), 17);
    View::ip(header, Transport::Udp { source_port: 40000, destination_port: to_port })
}

pub(crate) fn icmp<'a>(from: &str, to: &str, kind: u8, code: u8) -> View<'a> {
    let protocol = if address(from).is_ipv4() { 1 } else { 58 };
    let header = IpHeader::new(address(from), address(to), protocol);
    View::ip(header, Transport::Icmp { kind, code, id: Some(7) })
}

/// The packet's connection, in this state.
pub(crate) fn connected(mut view: View<'_>, state: ConnectionState) -> View<'_> {
    let header = view.header().unwrap();
    let (source_port, destination_port) = view.ports().unwrap_or((7, 0));
    let original = ConntrackTuple {
        source: header.source,
        destination: header.destination,
        protocol: header.protocol,
        source_port,
        destination_port,
    };
    let reply = ConntrackTuple {
        source: header.destination,
        destination: header.source,
        protocol: header.protocol,
        source_port: destination_port,
        destination_port: source_port,
    };
    view.connection = Some(Connection {
        state,
        direction: Direction::Original,
        status: ConnectionStatus::CONFIRMED,
        mark: 0,
        original,
        reply,
        zone: 0,
        helper: None,
    });
    view
}

/// The rules of one table as a ruleset, which must be understood.
pub(crate) fn ruleset(text: &str, view: &View<'_>) -> Ruleset {
    let is_v6 = view.header().is_some_and(|it| it.source.is_ipv6());
    let source = if is_v6 { Source::Ip6tablesLegacy } else { Source::IptablesLegacy };
    let (tables, remarks) = iptables::parse(text, source);
    assert_eq!(remarks, [], "{text}");
    let emitted = iptables::emit(&tables);
    assert_eq!(emitted.trim(), text.trim(), "written back");
    Ruleset { tables, ..Ruleset::default() }
}

/// Runs the packet through the only base chain of a hook.
pub(crate) fn run(ruleset: &Ruleset, hook: Hook, view: &mut View<'_>, world: &mut World) -> Outcome {
    let is_v6 = view.header().is_some_and(|it| it.source.is_ipv6());
    let layer = if is_v6 { Layer::Ip6 } else { Layer::Ip4 };
    let entries = ruleset.hooks(layer, hook, None);
    assert_eq!(entries.len(), 1, "one base chain");
    ruleset.run(&entries[0], view, world)
}

/// Whether conditions hold for a packet at the forward hook, as `iptables-save` writes them: `yes`, `no`, or
/// why nobody knows.
pub(crate) fn holds(conditions: &str, view: &View<'_>) -> String {
    holds_in(conditions, view, &mut World::default(), &[])
}

pub(crate) fn holds_in(
    conditions: &str,
    view: &View<'_>,
    world: &mut World,
    sets: &[(&str, &IpSet)],
) -> String {
    let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD {conditions} -j DROP\nCOMMIT\n");
    let mut ruleset = ruleset(&text, view);
    for (name, set) in sets {
        ruleset.ipsets.insert((*name).to_owned(), (*set).clone());
    }
    world.asked.clear();
    let outcome = run(&ruleset, Hook::Forward, &mut view.clone(), world);
    match (world.asked.first(), outcome.verdict) {
        (Some(why), _) => why.clone(),
        (None, Verdict::Drop) => "yes".to_owned(),
        (None, _) => "no".to_owned(),
    }
}

/// Runs a packet through one rule with this target, and says what became of it and the packet after.
pub(crate) fn applied<'a>(
    table: &str,
    chain: &str,
    target: &str,
    view: &View<'a>,
    world: &mut World,
) -> (Outcome, View<'a>) {
    let text = format!("*{table}\n:{chain} DROP [0:0]\n-A {chain} {target}\nCOMMIT\n");
    let ruleset = ruleset(&text, view);
    let hook = ruleset.tables[0].chains.at(0).unwrap().base.as_ref().unwrap().hook;
    let mut view = view.clone();
    let outcome = run(&ruleset, hook, &mut view, world);
    (outcome, view)
}
