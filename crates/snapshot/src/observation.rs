//! Packets that were sent on purpose, and what was seen of them.
//!
//! They are facts like any other: part of the snapshot, so that what is concluded from them can be concluded again from
//! the file, on another machine.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Mac, NodeName, Place};

/// Packets that are to be sent on purpose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Probe {
    /// A place is to ask.
    Ask(Question),
    /// A node is to send to another one, by each family that is given.
    Cross(Vec<Crossing>),
}

/// What was seen of packets that were sent on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Observation {
    /// A place asked, and waited for answers.
    Asked {
        /// What was asked.
        question: Question,
        /// What came back.
        answers: Answers,
    },
    /// A node sent packets to another one, and both watched their interfaces.
    Crossed {
        /// What was sent.
        crossing: Crossing,
        /// What was seen of each kind of packet, in the order of [`Crossing::packets`].
        seen: Vec<Seen>,
        /// What was seen of the sender's asking for the recipient's Ethernet address (ARP, Neighbor Solicitation). It asks
        /// only where it does not know.
        asked: Seen,
    },
}

/// A packet that is sent, and an answer that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Who asks, from its own network namespace.
    pub from: Place,
    /// Whom.
    pub to: IpAddr,
    /// What.
    pub message: Message,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// An ICMP echo request.
    Echo {
        /// The packet's total length in bytes, which nobody may split; none for a small one.
        size: Option<u32>,
    },
    /// The beginning of a TCP connection.
    Tcp {
        /// The port.
        port: u16,
    },
    /// A UDP packet that whoever listens may answer. That nobody does says nothing.
    Udp {
        /// The port.
        port: u16,
    },
    /// A question to a name server by UDP (RFC 1035): for addresses of the family by which it is asked.
    Name {
        /// The name, complete, without the dot at its end.
        name: String,
        /// The port.
        port: u16,
    },
}

/// What came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    /// How many packets were sent.
    pub n_sent: u32,
    /// How many were answered.
    pub n_answered: u32,
    /// How many were refused: by a reset, an ICMP error, the sender's own kernel, or a name server that knows no such name
    /// or cannot tell.
    pub n_refused: u32,
}

/// Packets from one node to another, which are watched where they leave and where they arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Crossing {
    /// The sender.
    pub from: NodeName,
    /// The sender's address.
    pub source: IpAddr,
    /// The recipient.
    pub to: NodeName,
    /// The recipient's address.
    pub destination: IpAddr,
    /// What is sent, each kind a few times.
    pub packets: Vec<Packet>,
}

/// A kind of packet between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Packet {
    /// A VXLAN packet with a frame in it that is for nobody (RFC 7348).
    Vxlan {
        /// The UDP port.
        port: u16,
        /// The network identifier.
        vni: u32,
        /// The Ethernet address that the frame comes from: that of the sender's tunnel device.
        station: Mac,
        /// The packet's total length in bytes; none for a small one.
        size: Option<u32>,
    },
    /// A small UDP packet that is no tunnel's.
    Udp {
        /// The port.
        port: u16,
    },
    /// A small ICMP echo request.
    Echo,
    /// The first packet of a TCP connection.
    Tcp {
        /// The port.
        port: u16,
    },
}

/// What was seen of one kind of packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// How many the sender's interfaces put out: behind its own rules, filters and queues.
    pub n_left: u32,
    /// How many the recipient's interfaces took in: before its own filters and rules.
    pub n_arrived: u32,
}

impl Seen {
    /// Did packets leave, and none arrive?
    pub fn is_lost(&self) -> bool {
        self.n_left > 0 && self.n_arrived == 0
    }
}

impl Answers {
    /// Was nothing answered or refused of what was sent?
    pub fn is_silence(&self) -> bool {
        self.n_sent > 0 && self.n_answered == 0 && self.n_refused == 0
    }
}
