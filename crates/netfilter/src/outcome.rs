//! What running a base chain comes to.

use std::net::IpAddr;

use crate::RuleRef;

/// What one base chain did with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// Who decided: a rule, or the policy of the base chain.
    pub by: RuleRef,
    /// The rules whose conditions held, or were followed as if, in the order in which they ran. The last
    /// one is [`Outcome::by`] unless that is the policy.
    pub path: Vec<Visited>,
    /// What statements did to the packet, its connection or its kernel, in order.
    pub effects: Vec<(RuleRef, Effect)>,
    /// What nobody knew, and how it was followed.
    pub assumptions: Vec<Assumption>,
}

impl Outcome {
    /// Was the policy what decided?
    pub fn is_by_policy(&self) -> bool {
        self.by.is_policy()
    }

    /// Did the chain depend on nothing that is not known? Chance may still have had a part.
    pub fn is_certain(&self) -> bool {
        self.assumptions.is_empty()
    }
}

/// A question that [`crate::Surroundings::unknown`] answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// The rule that it was about.
    pub rule: RuleRef,
    /// What is not known.
    pub why: String,
    /// Was the rule followed as matching?
    pub followed: bool,
}

/// A rule whose conditions held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visited {
    /// Which.
    pub rule: RuleRef,
    /// How sure that is.
    pub how: How,
}

/// How it came that a rule was followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Its conditions held.
    Matched,
    /// Chance was asked, and said yes.
    Chosen,
    /// Something was not known, and it was followed as matching.
    Assumed,
}

/// What becomes of a packet at a base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on: with the next base chain of the hook, or past it.
    Accept,
    /// It is dropped without a word.
    Drop,
    /// It is dropped and its sender is told.
    Reject(RejectWith),
    /// It goes on with its connection translated. Only chains of [`crate::Kind::Nat`] say this, and no
    /// further chain of that kind and side is asked for this connection.
    Nat(NatAction),
    /// It goes to a program.
    Queue(Queue),
    /// The packet filter took it: sent elsewhere (`fwd`), answered (`SYNPROXY`), or another named thing.
    Stolen(String),
    /// It goes on to a local socket that is not bound to its address. The mark is already changed.
    Tproxy {
        /// The socket's address; none means the primary address of the input device.
        address: Option<IpAddr>,
        /// The socket's port; none means the packet's own.
        port: Option<u16>,
    },
    /// Evaluation gave up: the rules are not a tree that a kernel would take, or of absurd size.
    Unknown(String),
}

impl Verdict {
    /// Does the packet go on?
    pub fn lets_pass(&self) -> bool {
        matches!(self, Self::Accept | Self::Nat(_) | Self::Tproxy { .. })
    }
}

/// How a sender is told that its packet was not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectWith {
    /// A TCP reset.
    TcpReset,
    /// An ICMP or ICMPv6 error, by the packet's family.
    Icmp {
        /// The message's type.
        kind: u8,
        /// The message's code.
        code: u8,
    },
}

/// Where a queued packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Queue {
    /// The first queue number.
    pub from: u16,
    /// The last one; packets are spread over all.
    pub to: u16,
    /// Is it accepted when no program listens?
    pub bypass: bool,
}

/// A translation that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatAction {
    /// Which kind of rule asked.
    pub kind: NatKind,
    /// Which end is translated.
    pub side: Side,
    /// The addresses to choose from, first and last. None keeps the address ([`NatKind::Masquerade`] takes
    /// the output device's, [`NatKind::Redirect`] this host's). For [`NatKind::Netmap`] it is the one
    /// address that the packet's maps to.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// The ports to choose from, first and last; none keeps the port where it is free.
    pub ports: Option<(u16, u16)>,
    /// The port that the first of [`NatAction::ports`] stands for: the translated port is as far from it as
    /// the packet's port is from this.
    pub port_base: Option<u16>,
    /// Is the port chosen at random (`random`, `fully-random`)?
    pub random: bool,
    /// Does a client keep its address over all its connections?
    pub persistent: bool,
}

/// Kinds of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NatKind {
    /// To given sources.
    Snat,
    /// To given destinations.
    Dnat,
    /// To the address of the output device.
    Masquerade,
    /// To this host.
    Redirect,
    /// Network by network.
    Netmap,
}

/// An end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// What a statement did beside deciding.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The packet mark changed.
    Mark {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// The connection's mark changed.
    ConnectionMark {
        /// Before.
        from: u32,
        /// After.
        to: u32,
    },
    /// A field of the packet was written, by its nft name (`ip dscp`, `ip ttl`, `tcp dport`), where it is
    /// part of the view with the new value.
    Rewritten {
        /// Which field.
        field: String,
        /// The new value; none where it is not known.
        value: Option<u128>,
    },
    /// The queueing priority was set.
    Priority(u32),
    /// The maximum segment size of a SYN is brought down to this many bytes; none means to what the path
    /// carries.
    ClampMss(Option<u16>),
    /// The packet will not be tracked.
    NoTrack,
    /// The packet's zone of connection tracking, for the lookup to come.
    Zone(u16),
    /// The connection gets this helper.
    Helper(String),
    /// The connection gets these timeouts.
    Timeout(String),
    /// A copy is sent elsewhere.
    Duplicate {
        /// To this host.
        to: Option<IpAddr>,
        /// By this device.
        by: Option<String>,
    },
    /// A set was told of an element.
    SetChanged(String),
    /// The connection will bypass the hooks through this flowtable.
    Offload(String),
    /// Something else, by the name of its target or statement. It does not change where the packet goes.
    Other(String),
}
