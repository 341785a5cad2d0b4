//! The rule languages of the Linux packet filter: one model, and what it does with a packet.
//!
//! Read [`Ruleset`] first: [`Ruleset::parse`] makes it from the texts of a snapshot, [`Ruleset::hooks`] says
//! which base chains see a packet and in which order, [`Ruleset::run`] runs a packet ([`View`]) through one
//! of them. What rules ask of routing, sockets and chance goes to [`Surroundings`].
//!
//! Answers are three-valued. A condition that depends on what no snapshot holds (the clock, rates, payload)
//! or that is not understood is never taken for true or false: [`Surroundings::unknown`] decides, and the
//! outcome says that it did.
//!
//! What is deliberately absent: connection tracking and translation themselves, routing, reassembly. A rule
//! asks for translation ([`Verdict::Nat`]); carrying it out is the tracer's. Nothing here does I/O.

mod bytes;
mod facts;
mod hooks;
pub mod ipset;
pub mod iptables;
mod model;
mod names;
pub mod nft;
mod outcome;
mod packet;
mod remark;
mod rule_ref;
mod run;
mod scene;
mod surroundings;
mod ternary;
#[cfg(test)]
mod testing;
mod tracking;
pub mod xt;

pub use hooks::{HookEntry, Layer};
pub use ipset::IpSet;
pub use model::{
    BaseChain, Chain, Chains, Counters, Family, Hook, Kind, Missing, Origin, Policy, Rule, Ruleset, Source,
    Step, Table,
};
pub use outcome::{
    Assumption, Effect, How, NatAction, NatKind, Outcome, Queue, RejectWith, Side, Verdict, Visited,
};
pub use packet::{
    ArpHeader, Connection, ConnectionState, ConnectionStatus, Device, Direction, Ether, Fragment, IpHeader,
    Network, Owner, PacketType, Tcp, TcpFlags, Transport, View,
};
pub use remark::{Remark, RuleName, Weight};
pub use rule_ref::RuleRef;
pub use surroundings::{FoundSocket, PacketRoute, ReversePath, RouteDevice, RouteQuery, Surroundings};

/// Appends formatted text to a string, which cannot fail.
macro_rules! put {
    ($out:expr, $($argument:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($out, $($argument)*);
    }};
}
pub(crate) use put;
