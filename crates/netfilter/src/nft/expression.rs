//! Expressions of nft.

use serde_json::Value as Json;

use super::{
    elements::Elements,
    fields::{Base, Field},
    types::Type,
};
use crate::Direction;

/// Something that has a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A value that is written down.
    Constant(Constant),
    /// `meta KEY`.
    Meta(&'static str),
    /// A header field that has a name.
    Field(&'static Field),
    /// Bits of the packet: `@nh,96,32`.
    Raw {
        /// From which header on.
        base: Base,
        /// The first bit.
        offset: u32,
        /// How many.
        bits: u32,
    },
    /// A field of what a tunnel carries: tunnel, header and field.
    Inner(String, String, String),
    /// `ct KEY`, of one direction or of the connection.
    Ct {
        /// The key.
        key: &'static str,
        /// The direction.
        direction: Option<Direction>,
    },
    /// A lookup in the routing tables.
    Fib {
        /// What is asked: `type`, `oif`, `oifname`, `check`.
        result: String,
        /// With what: `saddr`, `daddr`, `mark`, `iif`, `oif`.
        flags: Vec<String>,
    },
    /// A number from a counter or from chance.
    Numgen {
        /// Does chance decide?
        random: bool,
        /// How many numbers there are.
        modulus: u64,
        /// The first of them.
        offset: u64,
    },
    /// A hash of the packet.
    Hash {
        /// Of what; none means of what makes a connection, the same both ways.
        of: Option<Box<Expression>>,
        /// How many numbers there are.
        modulus: u64,
        /// The seed, where one was given.
        seed: Option<u64>,
        /// The first of them; none is written for 0.
        offset: Option<u64>,
    },
    /// `rt KEY`, with the family where it names one.
    Rt(&'static str, Option<String>),
    /// `socket KEY`.
    Socket(&'static str),
    /// `osf`: the operating system by fingerprint; key and TTL check.
    Osf(String, Option<String>),
    /// `ipsec`: the transform's key, with its family, direction and number.
    Ipsec {
        /// The key.
        key: &'static str,
        /// The family of an address.
        family: Option<String>,
        /// `in` or `out`.
        direction: String,
        /// Which transform of several.
        number: u64,
    },
    /// An IPv6 extension header: its field, or whether it is there.
    Exthdr(String, Option<String>),
    /// A TCP option: its field, or whether it is there.
    TcpOption(String, Option<String>),
    /// Another option, by its kind (`ip option`, `sctp chunk`, `dccp option`, a raw TCP option), as nft
    /// describes it.
    Option(String, Json),
    /// A key of the tunnel that the packet came by.
    TunnelKey(String),
    /// Bits combined, from left to right.
    Binary(Operator, Vec<Expression>),
    /// The first bits of a value.
    Prefix(Box<Expression>, u32),
    /// All values from one to another.
    Range(Box<Expression>, Box<Expression>),
    /// Flags, one or more of which count.
    List(Vec<Expression>),
    /// Values one after another.
    Concat(Vec<Expression>),
    /// A set that is written down.
    Set(Box<Elements>),
    /// A named set or map.
    Reference(String),
    /// What a map says for a key.
    Map {
        /// The key.
        key: Box<Expression>,
        /// A set or a reference to one.
        data: Box<Expression>,
    },
    /// What stands for everything in a set.
    Everything,
    /// What is not understood.
    NotUnderstood(Json),
}

/// A value that is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// As nft prints it.
    pub printed: Scalar,
    /// What it means.
    pub datum: Datum,
    /// Its type.
    pub value_type: Type,
}

/// What JSON knows of single values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
}

/// The meaning of a single value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Datum {
    /// A number, most significant bit first.
    Number(u128),
    /// A text: the names of devices, helpers and the like.
    Text(String),
}

/// How bits are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `&`.
    And,
    /// `|`.
    Or,
    /// `^`.
    Xor,
    /// `<<`.
    Left,
    /// `>>`.
    Right,
}

impl Operator {
    /// The sign of nft for it.
    pub fn sign(self) -> &'static str {
        match self {
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::Left => "<<",
            Self::Right => ">>",
        }
    }

    pub(crate) fn from_sign(sign: &str) -> Option<Self> {
        [Self::And, Self::Or, Self::Xor, Self::Left, Self::Right].into_iter().find(|it| it.sign() == sign)
    }
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Comparison {
    /// `==`.
    Equal,
    /// `!=`.
    Unequal,
    /// `<`.
    Less,
    /// `<=`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `>=`.
    GreaterOrEqual,
    /// Nothing written: equal, or with flags any of them.
    Implicit,
    /// `!`: none of the flags.
    Lacks,
}

impl Comparison {
    /// The sign of nft for it; `in` for the implicit one, as in JSON.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Implicit => "in",
            Self::Lacks => "!",
        }
    }

    pub(crate) fn from_sign(sign: &str) -> Option<Self> {
        [
            Self::Equal,
            Self::Unequal,
            Self::Less,
            Self::LessOrEqual,
            Self::Greater,
            Self::GreaterOrEqual,
            Self::Implicit,
            Self::Lacks,
        ]
        .into_iter()
        .find(|it| it.sign() == sign)
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    /// What is compared.
    pub left: Expression,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub right: Expression,
}

impl Expression {
    /// The expressions that this one is made of, without the elements of sets.
    pub(crate) fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Binary(_, parts) | Self::List(parts) | Self::Concat(parts) => parts.iter().collect(),
            Self::Prefix(part, _) | Self::Hash { of: Some(part), .. } => vec![part],
            Self::Range(low, high) => vec![low, high],
            Self::Map { key, data } => vec![key, data],
            _ => Vec::new(),
        }
    }
}
