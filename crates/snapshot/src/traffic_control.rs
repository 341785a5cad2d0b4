//! Queueing disciplines and traffic control filters.

use serde::{Deserialize, Serialize};

use crate::IfIndex;

/// A queueing discipline instance (rtnetlink `RTM_NEWQDISC`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Qdisc {
    /// The interface.
    pub link: IfIndex,
    /// Its kind: `noqueue`, `fq_codel`, `tbf`, `clsact`, …
    pub kind: String,
    /// Its own handle.
    pub handle: u32,
    /// What it hangs from: `0xffff_ffff` the root, `0xffff_fff1` ingress.
    pub parent: u32,
    /// The settings of a token bucket filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_bucket: Option<TokenBucket>,
    /// The limit of a plain FIFO: packets (`pfifo`) or bytes (`bfifo`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Packets that it dropped.
    #[serde(default)]
    pub drops: u64,
}

impl Qdisc {
    /// Is it the device's root?
    pub fn is_root(&self) -> bool {
        self.parent == 0xffff_ffff
    }

    /// Does it hold ingress filters (`ingress`, `clsact`)?
    pub fn is_ingress(&self) -> bool {
        self.parent == 0xffff_fff1
    }
}

/// The settings of a token bucket filter (`struct tc_tbf_qopt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenBucket {
    /// Bytes per second.
    pub rate: u64,
    /// The bucket in bytes: a frame that is larger never passes.
    pub burst: u32,
    /// The queue in bytes.
    pub limit: u32,
}

/// A traffic control filter (rtnetlink `RTM_NEWTFILTER`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TcFilter {
    /// The interface.
    pub link: IfIndex,
    /// `ingress`, `egress` (of `clsact`) or the handle of the queueing discipline, as `1:0`.
    pub direction: String,
    /// The lowest is looked at first.
    pub priority: u32,
    /// The EtherType that it matches; 3 (`ETH_P_ALL`) matches all.
    pub protocol: u16,
    /// Its kind: `u32`, `bpf`, `matchall`, …
    pub kind: String,
    /// Its handle within its priority.
    pub handle: u32,
    /// The keys of a `u32` filter, all of which must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<U32Key>,
    /// What it does with a match, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<TcAction>,
    /// What of it was not understood, by name. A filter with such a part decides nothing for certain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_modelled: Vec<String>,
}

/// One comparison of a `u32` filter: 32 bits at an offset from the network header (`struct tc_u32_key`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct U32Key {
    /// The bits that count.
    pub mask: u32,
    /// Their value.
    pub value: u32,
    /// Bytes from the network header; negative offsets reach the link header.
    pub offset: i32,
}

/// What a filter does with a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TcAction {
    /// Drops.
    Drop,
    /// Lets pass and ends the filters.
    Pass,
    /// Goes on with the next action or filter.
    Continue,
    /// Sends the packet to another interface in place of this path.
    Redirect {
        /// The other interface.
        link: IfIndex,
        /// Is it handed to that interface as received, not as sent?
        ingress: bool,
    },
    /// Sends a copy to another interface.
    Mirror {
        /// The other interface.
        link: IfIndex,
        /// Is it handed to that interface as received, not as sent?
        ingress: bool,
    },
    /// Not modelled, by name.
    Other(String),
}
