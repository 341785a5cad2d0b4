//! Neighbour tables and forwarding databases.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{IfIndex, Mac};

/// The state of a neighbour entry (`NUD_*` of `include/uapi/linux/neighbour.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NeighbourState {
    /// Being resolved, nothing known yet.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, not confirmed lately; used until it proves wrong.
    Stale,
    /// Used, about to be probed.
    Delay,
    /// Used, being probed.
    Probe,
    /// Resolution failed.
    Failed,
    /// No resolution on this link.
    NoArp,
    /// Set by hand or by a controller; never resolved.
    Permanent,
    /// No state.
    None,
}

impl NeighbourState {
    /// Does the kernel send to the entry's address without asking first (`NUD_VALID`)?
    pub fn is_valid(self) -> bool {
        matches!(
            self,
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::NoArp | Self::Permanent
        )
    }

    /// The word that `ip neigh` prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Incomplete => "INCOMPLETE",
            Self::Reachable => "REACHABLE",
            Self::Stale => "STALE",
            Self::Delay => "DELAY",
            Self::Probe => "PROBE",
            Self::Failed => "FAILED",
            Self::NoArp => "NOARP",
            Self::Permanent => "PERMANENT",
            Self::None => "NONE",
        }
    }
}

/// An entry of the neighbour table: ARP for IPv4, neighbour discovery for IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Neighbour {
    /// The interface.
    pub link: IfIndex,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its Ethernet address, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The state of the entry.
    pub state: NeighbourState,
    /// Does this entry make the node answer in the neighbour's stead?
    #[serde(default)]
    pub proxy: bool,
}

/// How an entry of a forwarding database came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FdbState {
    /// Learned, and forgotten after a while.
    Learned,
    /// Set by hand or by a controller, and kept.
    Static,
    /// An address of the bridge itself: delivered here.
    Permanent,
}

/// An entry of the forwarding database of a bridge or of a VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FdbEntry {
    /// The bridge port, or with [`FdbEntry::on_device`] the device itself.
    pub link: IfIndex,
    /// The station.
    pub mac: Mac,
    /// How it came about.
    pub state: FdbState,
    /// Does it belong to the device itself (`self`) and not to the bridge that the device is a port of?
    pub on_device: bool,
    /// Does it stay where it is when the station sends by another port (`NTF_STICKY`)?
    #[serde(default)]
    pub sticky: bool,
    /// The VLAN, where the bridge tells VLANs apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// VXLAN: the remote tunnel end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<IpAddr>,
    /// VXLAN: a network identifier other than the device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    /// VXLAN: a UDP port other than the device's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// VXLAN: the interface that outer packets must leave by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IfIndex>,
}
