//! What gets lost between the nodes in a case, and what probes would see of it.
//!
//! Its words: `SCOPE udp PORT`, `SCOPE udp`, `SCOPE all`, `SCOPE mtu BYTES`, where SCOPE is `all`, a node (`w2`), what it
//! sends (`w2>`) or gets (`>w2`), a pair (`w1-w2`) or one direction (`w1>w2`).

use std::fmt::Write;

use hopwise_dataplane::{Expectation, Network, State, trace};
use hopwise_diagnose::flow_of;
use hopwise_snapshot::{
    Answers, Crossing, Message, NodeName, Observation, Packet, Probe, Question, Seen, Snapshot,
};

/// About how many bytes a small packet has.
const SMALL: u32 = 100;
/// How many packets of a kind probes send.
const N_PACKETS: u32 = 5;

/// What gets lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    ways: Vec<(NodeName, NodeName)>,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    UdpPort(u16),
    Udp,
    All,
    Larger(u32),
}

impl Fault {
    /// Reads its words for the nodes of a snapshot.
    pub fn parse(snapshot: &Snapshot, text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "expected `SCOPE udp PORT`, `SCOPE udp`, `SCOPE all` or `SCOPE mtu BYTES`, found `{text}`"
            )
        };
        let (scope, what) = text.split_once(' ').ok_or_else(expected)?;
        let what = match what.split_whitespace().collect::<Vec<_>>()[..] {
            ["udp", port] => What::UdpPort(port.parse().map_err(|_| expected())?),
            ["udp"] => What::Udp,
            ["all"] => What::All,
            ["mtu", bytes] => What::Larger(bytes.parse().map_err(|_| expected())?),
            _ => return Err(expected()),
        };
        Ok(Self { ways: ways(snapshot, scope)?, what })
    }

    /// What `nft` is told to have the bridge between a lab's nodes lose these packets: the chain `forward` of the table
    /// `lost` of the family bridge. A lab's bridge has a port for each node, of its name.
    pub fn rules(&self) -> String {
        let mut rules = "add table bridge lost\n\
                         add chain bridge lost forward { type filter hook forward priority 0; policy accept; }\n"
            .to_owned();
        for (from, to) in &self.ways {
            let _ = writeln!(rules, "add rule bridge lost forward {}", self.rule(from, to));
        }
        rules
    }

    fn rule(&self, input: &NodeName, output: &NodeName) -> String {
        let what = match self.what {
            What::UdpPort(port) => format!("udp dport {port} "),
            What::Udp => "meta l4proto udp ".to_owned(),
            What::All => String::new(),
            What::Larger(bytes) => format!("meta length >= {bytes} "),
        };
        format!("iifname {input} oifname {output} {what}drop")
    }

    fn loses(&self, way: (&NodeName, &NodeName), protocol: u8, port: u16, length: u32) -> bool {
        const UDP: u8 = 17;
        self.ways.iter().any(|(from, to)| (from, to) == way)
            && match self.what {
                What::UdpPort(own) => protocol == UDP && port == own,
                What::Udp => protocol == UDP,
                What::All => true,
                What::Larger(bytes) => length >= bytes,
            }
    }
}

fn ways(snapshot: &Snapshot, scope: &str) -> Result<Vec<(NodeName, NodeName)>, String> {
    let nodes: Vec<&NodeName> = snapshot.nodes.keys().collect();
    let node = |name: &str| {
        let found = nodes.iter().find(|it| it.as_str() == name);
        found.map(|it| (*it).clone()).ok_or_else(|| format!("there is no node {name} in this base"))
    };
    let others =
        |of: &NodeName| nodes.iter().filter(|it| **it != of).map(|it| (*it).clone()).collect::<Vec<_>>();
    let from = |of: NodeName| others(&of).into_iter().map(|it| (of.clone(), it)).collect::<Vec<_>>();
    let to = |of: NodeName| others(&of).into_iter().map(|it| (it, of.clone())).collect::<Vec<_>>();
    if scope == "all" {
        return Ok(nodes.iter().flat_map(|it| from((*it).clone())).collect());
    }
    match (scope.split_once('>'), scope.split_once('-')) {
        (Some(("", of)), _) => Ok(to(node(of)?)),
        (Some((of, "")), _) => Ok(from(node(of)?)),
        (Some((a, b)), _) => Ok(vec![(node(a)?, node(b)?)]),
        (None, Some((a, b))) => Ok(vec![(node(a)?, node(b)?), (node(b)?, node(a)?)]),
        (None, None) => Ok([from(node(scope)?), to(node(scope)?)].concat()),
    }
}

/// What probes see where some faults lose packets: a diagnosis asks for them until it has enough.
pub(crate) fn observe(snapshot: &mut Snapshot, faults: &[Fault]) {
    const ROUNDS: usize = 8;
    for _ in 0..ROUNDS {
        let probes = hopwise_diagnose::probes(snapshot);
        if probes.is_empty() {
            return;
        }
        let seen: Vec<Observation> = probes.into_iter().flat_map(|it| seen(snapshot, faults, it)).collect();
        snapshot.observations.extend(seen);
    }
}

fn seen(snapshot: &Snapshot, faults: &[Fault], probe: Probe) -> Vec<Observation> {
    match probe {
        Probe::Ask(question) => {
            let n_answered = if is_answered(snapshot, faults, &question) { N_PACKETS } else { 0 };
            let answers = Answers { n_sent: N_PACKETS, n_answered, n_refused: 0 };
            vec![Observation::Asked { question, answers }]
        }
        Probe::Cross(all) => {
            let observed = all.into_iter().map(|crossing| {
                let seen = crossing.packets.iter().map(|it| crossed(faults, &crossing, it)).collect();
                Observation::Crossed { crossing, seen, asked: Seen::default() }
            });
            observed.collect()
        }
    }
}

fn crossed(faults: &[Fault], crossing: &Crossing, packet: &Packet) -> Seen {
    let (protocol, port, length) = match *packet {
        Packet::Vxlan { port, size, .. } => (17, port, size.unwrap_or(SMALL)),
        Packet::Udp { port } => (17, port, SMALL),
        Packet::Echo => (1, 0, SMALL),
        Packet::Tcp { port } => (6, port, SMALL),
    };
    let way = (&crossing.from, &crossing.to);
    let is_lost = faults.iter().any(|it| it.loses(way, protocol, port, length));
    Seen { n_left: N_PACKETS, n_arrived: if is_lost { 0 } else { N_PACKETS } }
}

/// Does a question get an answer, by the model and by what the faults take from its tunnel?
fn is_answered(snapshot: &Snapshot, faults: &[Fault], question: &Question) -> bool {
    let length = match question.message {
        Message::Echo { size: Some(size) } => size,
        _ => SMALL,
    };
    let network = Network::new(snapshot);
    if trace(&network, &flow_of(question)).judged(&Expectation::anyone()).state() != State::Kept {
        return false;
    }
    let asked = snapshot.cluster.owner_of(question.to).and_then(|it| snapshot.node_of(&it));
    let (Some(from), Some(to)) = (snapshot.node_of(&question.from), asked) else {
        return true;
    };
    // The bases' tunnels: VXLAN on UDP 8472.
    let outer = length + if question.to.is_ipv6() { 70 } else { 50 };
    !faults
        .iter()
        .any(|it| it.loses((&from, &to), 17, 8472, outer) || it.loses((&to, &from), 17, 8472, outer))
}
