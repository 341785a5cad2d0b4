//! Links and addresses.

use std::net::IpAddr;

use hopwise_snapshot::{
    Address, AddressFlags, Bridge, BridgePort, IfIndex, Link, LinkDetail, LinkFlags, LinkStatistics, Mac,
    PortState, Vxlan, Xdp,
};
use hopwise_sys::netlink::packet::{
    address::{AddressAttribute, AddressMessage},
    link::{
        BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoMacVlan,
        InfoMacVtap, InfoPortData, InfoVlan, InfoVrf, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage,
        LinkXdp, State, Stats64, XdpAttached,
    },
};
use ipnet::IpNet;

use super::NotUnderstood;

/// The link that a message describes.
pub(super) fn link(message: LinkMessage) -> Result<Link, NotUnderstood> {
    let mut link = Link {
        index: IfIndex(message.header.index),
        name: String::new(),
        kind: String::new(),
        flags: LinkFlags::from_bits_truncate(message.header.flags.bits()),
        mtu: 0,
        mac: None,
        operstate: operstate(State::Unknown),
        master: None,
        lower: None,
        lower_nsid: None,
        detail: LinkDetail::Other,
        port: None,
        xdp: None,
        qdisc: String::new(),
        statistics: LinkStatistics::default(),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(bytes) => link.mac = mac(&bytes),
            LinkAttribute::OperState(state) => link.operstate = operstate(state),
            LinkAttribute::Controller(index) => link.master = index_of(index),
            LinkAttribute::Link(index) => link.lower = index_of(index),
            LinkAttribute::LinkNetNsId(number) => link.lower_nsid = Some(number),
            LinkAttribute::Qdisc(kind) => link.qdisc = kind,
            LinkAttribute::Xdp(attributes) => link.xdp = xdp(&attributes),
            LinkAttribute::Stats64(counters) => link.statistics = statistics(&counters),
            LinkAttribute::LinkInfo(infos) => kind_and_detail(&mut link, &infos)?,
            _ => {}
        }
    }
    if link.name.is_empty() {
        return Err(NotUnderstood(format!("link {} without a name", link.index.0)));
    }
    Ok(link)
}

fn kind_and_detail(link: &mut Link, infos: &[LinkInfo]) -> Result<(), NotUnderstood> {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => link.kind = InfoKind::to_string(kind),
            LinkInfo::Data(data) => link.detail = detail(data),
            LinkInfo::PortData(InfoPortData::BridgePort(settings)) => {
                link.port = Some(bridge_port(settings)?);
            }
            _ => {}
        }
    }
    Ok(())
}

fn detail(data: &InfoData) -> LinkDetail {
    match data {
        InfoData::Vxlan(settings) => LinkDetail::Vxlan(vxlan(settings)),
        InfoData::Bridge(settings) => LinkDetail::Bridge(bridge(settings)),
        InfoData::Vlan(settings) => {
            let id = settings.iter().find_map(|it| if let InfoVlan::Id(id) = it { Some(*id) } else { None });
            id.map_or(LinkDetail::Other, |id| LinkDetail::Vlan { id })
        }
        InfoData::MacVlan(settings) => {
            let mode = settings.iter().find_map(|it| match it {
                InfoMacVlan::Mode(mode) => Some(mode.to_string()),
                _ => None,
            });
            mode.map_or(LinkDetail::Other, |mode| LinkDetail::Macvlan { mode })
        }
        InfoData::MacVtap(settings) => {
            let mode = settings.iter().find_map(|it| match it {
                InfoMacVtap::Mode(mode) => Some(mode.to_string()),
                _ => None,
            });
            mode.map_or(LinkDetail::Other, |mode| LinkDetail::Macvlan { mode })
        }
        InfoData::Vrf(settings) => {
            let table = settings.iter().find_map(|it| match it {
                InfoVrf::TableId(table) => Some(*table),
                _ => None,
            });
            table.map_or(LinkDetail::Other, |table| LinkDetail::Vrf { table })
        }
        _ => LinkDetail::Other,
    }
}

fn vxlan(settings: &[InfoVxlan]) -> Vxlan {
    let mut vxlan = Vxlan {
        vni: 0,
        port: 0,
        local: None,
        remote: None,
        lower: None,
        learning: false,
        ttl: 0,
        df: "unset".to_owned(),
        external: false,
    };
    for setting in settings {
        match setting {
            InfoVxlan::Id(vni) => vxlan.vni = *vni,
            InfoVxlan::Port(port) => vxlan.port = *port,
            InfoVxlan::Local(address) => vxlan.local = specified(IpAddr::V4(*address)),
            InfoVxlan::Local6(address) => vxlan.local = specified(IpAddr::V6(*address)),
            InfoVxlan::Group(address) => vxlan.remote = specified(IpAddr::V4(*address)),
            InfoVxlan::Group6(address) => vxlan.remote = specified(IpAddr::V6(*address)),
            InfoVxlan::Link(index) => vxlan.lower = index_of(*index),
            InfoVxlan::Learning(on) => vxlan.learning = *on,
            InfoVxlan::Ttl(ttl) => vxlan.ttl = *ttl,
            InfoVxlan::Df(df) => vxlan.df = df.to_string(),
            InfoVxlan::CollectMetadata(on) => vxlan.external = *on,
            _ => {}
        }
    }
    vxlan
}

fn bridge(settings: &[InfoBridge]) -> Bridge {
    let mut bridge = Bridge::default();
    for setting in settings {
        match setting {
            InfoBridge::VlanFiltering(on) => bridge.vlan_filtering = *on,
            InfoBridge::StpState(state) => bridge.stp = *state != BridgeStpState::Disabled,
            InfoBridge::NfCallIpTables(on) => bridge.nf_call_iptables = *on,
            InfoBridge::NfCallIp6Tables(on) => bridge.nf_call_ip6tables = *on,
            InfoBridge::NfCallArpTables(on) => bridge.nf_call_arptables = *on,
            InfoBridge::MulticastSnooping(on) => bridge.multicast_snooping = *on,
            InfoBridge::MulticastQuerier(on) => bridge.multicast_querier = *on,
            // In hundredths of a second (`jiffies_to_clock_t`, `net/bridge/br_netlink.c`).
            InfoBridge::AgeingTime(time) => bridge.ageing_seconds = time / 100,
            _ => {}
        }
    }
    bridge
}

fn bridge_port(settings: &[InfoBridgePort]) -> Result<BridgePort, NotUnderstood> {
    let mut port = BridgePort::default();
    for setting in settings {
        match setting {
            InfoBridgePort::State(state) => port.state = port_state(*state)?,
            InfoBridgePort::HairpinMode(on) => port.hairpin = *on,
            InfoBridgePort::Isolated(on) => port.isolated = *on,
            InfoBridgePort::Learning(on) => port.learning = *on,
            InfoBridgePort::UnicastFlood(on) => port.flood = *on,
            InfoBridgePort::MulticastFlood(on) => port.multicast_flood = *on,
            InfoBridgePort::BroadcastFlood(on) => port.broadcast_flood = *on,
            InfoBridgePort::NeighSupress(on) => port.neighbour_suppression = *on,
            InfoBridgePort::Locked(on) => port.locked = *on,
            InfoBridgePort::Guard(on) => port.guard = *on,
            _ => {}
        }
    }
    Ok(port)
}

fn port_state(state: BridgePortState) -> Result<PortState, NotUnderstood> {
    match state {
        BridgePortState::Disabled => Ok(PortState::Disabled),
        BridgePortState::Listening => Ok(PortState::Listening),
        BridgePortState::Learning => Ok(PortState::Learning),
        BridgePortState::Forwarding => Ok(PortState::Forwarding),
        BridgePortState::Blocking => Ok(PortState::Blocking),
        other => Err(NotUnderstood(format!("bridge port state {other}"))),
    }
}

/// The program that an interface runs. Where several are attached, the one nearest to the driver.
fn xdp(attributes: &[LinkXdp]) -> Option<Xdp> {
    let attached = attributes.iter().find_map(|it| match it {
        LinkXdp::Attached(attached) => Some(*attached),
        _ => None,
    })?;
    let program = |number: fn(&LinkXdp) -> Option<u32>| attributes.iter().find_map(number);
    let single = program(|it| if let LinkXdp::ProgId(id) = it { Some(*id) } else { None });
    let driver = program(|it| if let LinkXdp::DrvProgId(id) = it { Some(*id) } else { None });
    let generic = program(|it| if let LinkXdp::SkbProgId(id) = it { Some(*id) } else { None });
    let hardware = program(|it| if let LinkXdp::HwProgId(id) = it { Some(*id) } else { None });
    let (mode, program) = match attached {
        XdpAttached::None => return None,
        XdpAttached::Driver => ("native", driver.or(single)),
        XdpAttached::SocketBuffer => ("generic", generic.or(single)),
        XdpAttached::Hardware => ("offloaded", hardware.or(single)),
        _ if hardware.is_some() => ("offloaded", hardware),
        _ if driver.is_some() => ("native", driver),
        _ => ("generic", generic.or(single)),
    };
    Some(Xdp { mode: mode.to_owned(), program: program.unwrap_or(0) })
}

fn statistics(counters: &Stats64) -> LinkStatistics {
    LinkStatistics {
        rx_packets: counters.rx_packets,
        tx_packets: counters.tx_packets,
        rx_bytes: counters.rx_bytes,
        tx_bytes: counters.tx_bytes,
        rx_dropped: counters.rx_dropped,
        tx_dropped: counters.tx_dropped,
        rx_errors: counters.rx_errors,
        tx_errors: counters.tx_errors,
    }
}

/// The words of iproute2 (`oper_states`, `ip/ipaddress.c`).
fn operstate(state: State) -> String {
    match state {
        State::Unknown => "UNKNOWN".to_owned(),
        State::NotPresent => "NOTPRESENT".to_owned(),
        State::Down => "DOWN".to_owned(),
        State::LowerLayerDown => "LOWERLAYERDOWN".to_owned(),
        State::Testing => "TESTING".to_owned(),
        State::Dormant => "DORMANT".to_owned(),
        State::Up => "UP".to_owned(),
        other => format!("{other:?}"),
    }
}

/// The address that a message describes; none for families other than IPv4 and IPv6.
pub(super) fn address(message: AddressMessage) -> Result<Option<Address>, NotUnderstood> {
    let header = message.header;
    let (mut address, mut local, mut broadcast) = (None, None, None);
    let mut flags = u32::from(header.flags.bits());
    for attribute in message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => address = Some(ip),
            AddressAttribute::Local(ip) => local = Some(ip),
            AddressAttribute::Broadcast(ip) => broadcast = Some(IpAddr::V4(ip)),
            AddressAttribute::Flags(all) => flags = all.bits(),
            _ => {}
        }
    }
    // On a point-to-point link IFA_LOCAL is the own address and IFA_ADDRESS the other end; elsewhere both
    // are the own one, or IPv6 sends the second alone.
    let (own, peer) = match (local, address) {
        (Some(local), Some(address)) if local != address => (local, Some(address)),
        (Some(own), _) | (None, Some(own)) => (own, None),
        (None, None) => return Ok(None),
    };
    let address = IpNet::new(own, header.prefix_len)
        .map_err(|_| NotUnderstood(format!("address {own} with a prefix of {}", header.prefix_len)))?;
    Ok(Some(Address {
        link: IfIndex(header.index),
        address,
        peer,
        broadcast,
        scope: header.scope.into(),
        flags: AddressFlags::from_bits_truncate(flags),
    }))
}

pub(super) fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// An interface index; 0 is none.
pub(super) fn index_of(index: u32) -> Option<IfIndex> {
    (index != 0).then_some(IfIndex(index))
}

fn specified(address: IpAddr) -> Option<IpAddr> {
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use hopwise_sys::netlink::packet::link::LinkHeader;

    use super::*;

    fn named(attributes: Vec<LinkAttribute>) -> Result<Link, NotUnderstood> {
        let mut message = LinkMessage::default();
        message.header = LinkHeader { index: 4, ..LinkHeader::default() };
        message.attributes = [vec![LinkAttribute::IfName("x".to_owned())], attributes].concat();
        link(message)
    }

    #[test]
    fn kinds_that_not_every_kernel_has_are_read() {
        let of = |kind, data| {
            let info = vec![LinkInfo::Kind(kind), LinkInfo::Data(data)];
            let link = named(vec![LinkAttribute::Link(2), LinkAttribute::LinkInfo(info)]).unwrap();
            assert_eq!((link.lower, link.lower_nsid), (Some(IfIndex(2)), None));
            (link.kind, link.detail)
        };
        let vlan = of(InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(7)]));
        assert_eq!(vlan, ("vlan".to_owned(), LinkDetail::Vlan { id: 7 }));
        let vrf = of(InfoKind::Vrf, InfoData::Vrf(vec![InfoVrf::TableId(10)]));
        assert_eq!(vrf, ("vrf".to_owned(), LinkDetail::Vrf { table: 10 }));
        let bridge = of(InfoKind::Bridge, InfoData::Bridge(vec![InfoBridge::VlanFiltering(true)]));
        assert_eq!(bridge.1, LinkDetail::Bridge(Bridge { vlan_filtering: true, ..Bridge::default() }));
    }

    #[test]
    fn programs_of_the_express_path_are_told_by_mode() {
        let xdp = |attributes: Vec<LinkXdp>| named(vec![LinkAttribute::Xdp(attributes)]).unwrap().xdp;
        let of = |mode: &str, program| Some(Xdp { mode: mode.to_owned(), program });
        assert_eq!(xdp(vec![LinkXdp::Attached(XdpAttached::None)]), None);
        let single = |attached| vec![LinkXdp::Attached(attached), LinkXdp::ProgId(9)];
        assert_eq!(xdp(single(XdpAttached::Driver)), of("native", 9));
        assert_eq!(xdp(single(XdpAttached::SocketBuffer)), of("generic", 9));
        assert_eq!(xdp(single(XdpAttached::Hardware)), of("offloaded", 9));
        let both =
            vec![LinkXdp::Attached(XdpAttached::Multiple), LinkXdp::SkbProgId(1), LinkXdp::DrvProgId(2)];
        assert_eq!(xdp(both), of("native", 2));
    }

    #[test]
    fn a_state_or_an_address_of_another_shape_is_no_guess() {
        let port = InfoPortData::BridgePort(vec![InfoBridgePort::State(BridgePortState::Other(9))]);
        let info = LinkAttribute::LinkInfo(vec![LinkInfo::PortData(port)]);
        assert_eq!(named(vec![info]).unwrap_err().0, "bridge port state 9");
        assert_eq!(named(vec![LinkAttribute::Address(vec![10, 0, 0, 1])]).unwrap().mac, None);
        let mut tunnel = LinkMessage::default();
        tunnel.header.flags = hopwise_sys::netlink::packet::link::LinkFlags::from_bits_retain(0x1_0091);
        tunnel.attributes = vec![LinkAttribute::IfName("tun0".to_owned())];
        let flags = LinkFlags::UP | LinkFlags::POINTOPOINT | LinkFlags::NOARP | LinkFlags::LOWER_UP;
        assert_eq!(link(tunnel).unwrap().flags, flags);
        assert_eq!(named(vec![LinkAttribute::Controller(0)]).unwrap().master, None);
        assert!(link(LinkMessage::default()).is_err(), "without a name");
    }
}
