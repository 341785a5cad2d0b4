//! Statements of nft.

use serde_json::{Map, Value as Json};

use super::{
    elements::{Data, Elements},
    expression::Expression,
};
use crate::{Counters, NatKind};

/// Anything in a rule but conditions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Statement {
    /// What becomes of the packet.
    Verdict(Verdict),
    /// What a map says becomes of it.
    VerdictMap {
        /// The key.
        key: Expression,
        /// A set or a reference to one.
        data: Expression,
    },
    /// Counts.
    Counter(Option<Counters>),
    /// Changes a mark, a header field, or something of the connection.
    Mangle {
        /// What.
        key: Expression,
        /// To what.
        value: Expression,
    },
    /// Translates addresses.
    Nat(Nat),
    /// Drops it and tells the sender.
    Reject {
        /// `tcp reset`, `icmp`, `icmpv6`, `icmpx`; none for what the family usually says.
        kind: Option<String>,
        /// The code.
        code: Option<Expression>,
    },
    /// Holds as long as packets are not too many. Its options as nft describes them.
    Limit(Map<String, Json>),
    /// Holds as long as bytes are not too many. Its options as nft describes them.
    Quota(Map<String, Json>),
    /// Holds as long as connections are not too many: how many, and whether it is the other way round.
    CtCount(u64, bool),
    /// Tells a set of the packet.
    SetUpdate {
        /// `add`, `update` or `delete`.
        operation: String,
        /// The element.
        element: Expression,
        /// What a map learns for it.
        data: Option<Expression>,
        /// The set or map.
        set: String,
        /// What the element does: counters, limits.
        statements: Vec<Statement>,
        /// Seconds that the element lives.
        timeout: Option<u64>,
    },
    /// A statement for each value of a key, in an older way of writing.
    Meter {
        /// The whole as nft describes it.
        json: Map<String, Json>,
        /// The statement.
        statement: Box<Statement>,
    },
    /// Takes the packet out of tracking.
    Notrack,
    /// Writes a line, or sends a copy to a program. Its options as nft describes them.
    Log(Map<String, Json>),
    /// Hands it to a program.
    Queue {
        /// Which queue.
        number: Option<Expression>,
        /// `bypass`, `fanout`.
        flags: Words,
    },
    /// Hands it to a local socket that is not bound to its address.
    Tproxy {
        /// The family, where the table has several.
        family: Option<String>,
        /// The socket's address.
        address: Option<Expression>,
        /// The socket's port.
        port: Option<Expression>,
    },
    /// Answers the handshake itself. Its options as nft describes them.
    Synproxy(Map<String, Json>),
    /// Sends a copy elsewhere.
    Dup {
        /// To a host or device.
        to: Option<Expression>,
        /// By this device.
        device: Option<Expression>,
    },
    /// Sends it out of another device.
    Forward {
        /// The device.
        device: Expression,
        /// The family and address of the next hop.
        hop: Option<(String, Expression)>,
    },
    /// Lets the connection bypass the hooks through a flowtable.
    Flow(String),
    /// Takes a TCP option away.
    Reset(Expression),
    /// Remembers when it last ran. What it remembers as nft describes it.
    Last(Json),
    /// Uses a stateful object: its kind, and its name or a map that gives it.
    Object(String, Expression),
    /// A module of iptables of which nft shows the name alone.
    Xt {
        /// `match`, `target` or `watcher`.
        kind: String,
        /// The module.
        name: String,
    },
    /// A statement that nft prints as text in the midst of JSON.
    Text(String),
    /// A statement that is not understood.
    NotUnderstood(Json),
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes past this base chain.
    Accept,
    /// It is dropped.
    Drop,
    /// The rule goes on.
    Continue,
    /// The rule ends here.
    Break,
    /// This chain ends here.
    Return,
    /// Another chain runs, and then this one goes on.
    Jump(String),
    /// Another chain runs instead of the rest of this one.
    Goto(String),
    /// It goes to a program.
    Queue,
}

/// A translation.
#[derive(Clone, Debug, PartialEq)]
pub struct Nat {
    /// Which kind.
    pub kind: NatKind,
    /// The family, where the table has several.
    pub family: Option<String>,
    /// The address, a range, a prefix, or a map that gives it, with the port where that is of two parts.
    pub address: Option<Expression>,
    /// The port.
    pub port: Option<Expression>,
    /// `random`, `fully-random`, `persistent`, `netmap`.
    pub flags: Words,
    /// `prefix`.
    pub type_flags: Words,
}

/// Words, and whether JSON has one of them bare and not in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The words.
    pub list: Vec<String>,
    /// Is the only word not in a list?
    pub is_bare: bool,
}

impl Words {
    pub(crate) fn has(&self, word: &str) -> bool {
        self.list.iter().any(|it| it == word)
    }
}

impl Statement {
    /// The chains that the statement may lead to.
    pub(crate) fn leads_to<'s>(&'s self, all: &mut Vec<&'s str>) {
        match self {
            Self::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => all.push(chain),
            Self::VerdictMap { data: Expression::Set(elements), .. } => chains_of(elements, all),
            _ => {}
        }
    }

    /// Does it neither decide anything nor change what later conditions see?
    pub(crate) fn is_inert(&self) -> bool {
        match self {
            Self::Counter(_) | Self::Log(_) | Self::Last(_) | Self::Verdict(Verdict::Continue) => true,
            Self::Object(kind, _) => matches!(kind.as_str(), "counter" | "secmark"),
            Self::Xt { kind, name } => kind == "match" && matches!(name.as_str(), "comment" | "nfacct"),
            _ => false,
        }
    }
}

/// The chains that a verdict map may lead to.
pub(crate) fn chains_of<'e>(elements: &'e Elements, all: &mut Vec<&'e str>) {
    for element in elements {
        if let Some(Data::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain))) = &element.data {
            all.push(chain);
        }
    }
}
