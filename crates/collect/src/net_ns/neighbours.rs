//! Neighbour tables and forwarding databases.

use std::net::IpAddr;

use hopwise_snapshot::{FdbEntry, FdbState, IfIndex, Neighbour, NeighbourState};
use hopwise_sys::netlink::packet::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as State,
};

use super::{
    NotUnderstood,
    links::{index_of, mac},
};

/// The neighbour entry that a message describes.
pub(super) fn neighbour(message: NeighbourMessage) -> Result<Neighbour, NotUnderstood> {
    let header = message.header;
    let mut entry = None;
    let mut station = None;
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(address) => entry = ip(&address),
            NeighbourAttribute::LinkLayerAddress(bytes) => station = mac(&bytes),
            _ => {}
        }
    }
    let address = entry.ok_or_else(|| NotUnderstood("neighbour entry without an address".to_owned()))?;
    Ok(Neighbour {
        link: IfIndex(header.ifindex),
        address,
        mac: station,
        state: state(header.state)?,
        proxy: header.flags.contains(NeighbourFlags::Proxy),
    })
}

fn state(state: State) -> Result<NeighbourState, NotUnderstood> {
    match state {
        State::Incomplete => Ok(NeighbourState::Incomplete),
        State::Reachable => Ok(NeighbourState::Reachable),
        State::Stale => Ok(NeighbourState::Stale),
        State::Delay => Ok(NeighbourState::Delay),
        State::Probe => Ok(NeighbourState::Probe),
        State::Failed => Ok(NeighbourState::Failed),
        State::Noarp => Ok(NeighbourState::NoArp),
        State::Permanent => Ok(NeighbourState::Permanent),
        State::None => Ok(NeighbourState::None),
        other => Err(NotUnderstood(format!("neighbour state {:#x}", u16::from(other)))),
    }
}

/// The forwarding entry that a message describes; none for devices whose stations are not Ethernet.
pub(super) fn fdb_entry(message: NeighbourMessage) -> Option<FdbEntry> {
    let header = message.header;
    let (mut station, mut entry) = (
        None,
        FdbEntry {
            link: IfIndex(header.ifindex),
            mac: hopwise_snapshot::Mac::ZERO,
            state: fdb_state(header.state),
            // A bridge that lists its own entry says neither; the entry then belongs to the bridge.
            on_device: header.flags.contains(NeighbourFlags::Own),
            sticky: header.flags.contains(NeighbourFlags::Sticky),
            vlan: None,
            remote: None,
            vni: None,
            port: None,
            via: None,
        },
    );
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => station = mac(&bytes),
            NeighbourAttribute::Destination(address) => entry.remote = ip(&address),
            NeighbourAttribute::Vlan(vlan) => entry.vlan = Some(vlan),
            NeighbourAttribute::Vni(vni) => entry.vni = Some(vni),
            NeighbourAttribute::Port(port) => entry.port = Some(port),
            NeighbourAttribute::IfIndex(index) => entry.via = index_of(index),
            _ => {}
        }
    }
    station.map(|mac| FdbEntry { mac, ..entry })
}

/// As `bridge fdb` names the bits (`state_n2a`, `bridge/fdb.c`): an entry that was appended to a VXLAN
/// device is `NUD_PERMANENT` and `NUD_REACHABLE` at once.
fn fdb_state(state: State) -> FdbState {
    const NUD_NOARP: u16 = 0x40;
    const NUD_PERMANENT: u16 = 0x80;
    match u16::from(state) {
        bits if bits & NUD_PERMANENT != 0 => FdbState::Permanent,
        bits if bits & NUD_NOARP != 0 => FdbState::Static,
        _ => FdbState::Learned,
    }
}

/// Messages about bridges do not say the family of the addresses in them; their length does.
fn ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        NeighbourAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(state: u16) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.ifindex = 3;
        message.header.state = state.into();
        message.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 1]),
            NeighbourAttribute::Destination(NeighbourAddress::Other(vec![192, 0, 2, 1])),
        ];
        message
    }

    #[test]
    fn the_bits_of_a_forwarding_entry_are_read_as_bridge_reads_them() {
        for (bits, wanted) in [
            (0x80, FdbState::Permanent),
            (0x82, FdbState::Permanent),
            (0x40, FdbState::Static),
            (0x02, FdbState::Learned),
            (0, FdbState::Learned),
        ] {
            assert_eq!(fdb_entry(entry(bits)).unwrap().state, wanted, "{bits:#x}");
        }
        assert_eq!(fdb_entry(entry(2)).unwrap().remote, "192.0.2.1".parse().ok());
        assert_eq!(fdb_entry(NeighbourMessage::default()), None);
    }

    #[test]
    fn a_neighbour_in_two_states_is_not_understood() {
        assert!(neighbour(entry(0x80)).is_ok());
        assert_eq!(neighbour(entry(0x82)).unwrap_err().0, "neighbour state 0x82");
        assert!(neighbour(NeighbourMessage::default()).is_err(), "without an address");
    }
}
