//! What the kernel does by itself when an interface, an address or a switch changes.
//!
//! Sources: net/ipv4/{devinet,fib_frontend,fib_semantics}.c, net/ipv6/addrconf.c, net/bridge/br_stp_if.c,
//! drivers/net/veth.c (Linux 6.18).

use std::net::{IpAddr, Ipv6Addr};

use hopwise_snapshot::{
    Address, AddressFlags, IPV6_MIN_MTU, IfIndex, Link, LinkDetail, LinkFlags, Mac, NetNs, NextHop, Observed,
    Place, PortState, Route, RouteKind, Snapshot, SysctlKey, protocols, tables,
};
use ipnet::IpNet;

/// Sets a switch, and those that the kernel sets along with it.
pub(crate) fn set_sysctl(net: &mut NetNs, key: &SysctlKey, value: &str) {
    let names: Vec<String> = net.links.known().into_iter().flatten().map(|it| it.name.clone()).collect();
    let Observed::Known(sysctls) = &mut net.sysctls else { return };
    let is_other = sysctls.values.get(key).is_none_or(|it| it != value);
    let mut set = |key: SysctlKey| {
        sysctls.unreadable.remove(&key);
        sysctls.values.insert(key, value.to_owned());
    };
    set(key.clone());
    let is_ipv6 = key.is_ipv6();
    let spreads = match key.path() {
        // `devinet_sysctl_forward`, `inet_forward_change`: the global switch sets every interface's.
        "net/ipv4/ip_forward" | "net/ipv4/conf/all/forwarding" | "net/ipv6/conf/all/forwarding" => {
            "forwarding"
        }
        "net/ipv6/conf/all/disable_ipv6" => "disable_ipv6",
        _ => {
            if let Some((link, "disable_ipv6")) = key.link_and_leaf() {
                follow_disable_ipv6(net, link, value);
            }
            return;
        }
    };
    for link in names.iter().map(String::as_str).chain(["all", "default"]) {
        set(SysctlKey::of_link(is_ipv6, link, spreads));
    }
    if !is_ipv6 {
        set(SysctlKey::from_path("net/ipv4/ip_forward"));
        // Who forwards takes no redirects (`inet_forward_change`, only where the switch changes).
        let redirects = SysctlKey::from_path("net/ipv4/conf/all/accept_redirects");
        if is_other && sysctls.values.contains_key(&redirects) {
            sysctls.values.insert(redirects, if value == "0" { "1" } else { "0" }.to_owned());
        }
    }
    if spreads == "disable_ipv6" {
        for name in &names {
            follow_disable_ipv6(net, name, value);
        }
    }
}

/// What an interface loses and gets with IPv6 (`addrconf_disable_change`, net/ipv6/addrconf.c).
fn follow_disable_ipv6(net: &mut NetNs, name: &str, value: &str) {
    let Some(link) = net.link(name) else { return };
    let (index, is_up) = (link.index, link.is_up());
    if value != "0" {
        drop_ipv6(net, index);
    } else if is_up {
        restore_routes(net, name);
    }
}

/// Gives an interface the switches that it has none of, as a new one gets them (`inetdev_init`, net/ipv4/devinet.c;
/// `ipv6_add_dev`, net/ipv6/addrconf.c).
pub(crate) fn give_switches(net: &mut NetNs, name: &str, is_ipv6: bool) {
    let Some(sysctls) = net.sysctls.known_mut() else { return };
    let defaults = sysctls.values.iter().filter_map(|(key, value)| {
        let (of, leaf) = key.link_and_leaf()?;
        (of == "default" && key.is_ipv6() == is_ipv6)
            .then(|| (SysctlKey::of_link(is_ipv6, name, leaf), value.clone()))
    });
    for (key, value) in defaults.collect::<Vec<_>>() {
        sysctls.values.entry(key).or_insert(value);
    }
}

/// What an interface loses and gets with its size: one too small for IPv6 has none (`addrconf_notify`,
/// net/ipv6/addrconf.c).
pub(crate) fn follow_size(net: &mut NetNs, name: &str, before: u32) {
    let Some(link) = net.link(name) else { return };
    let (index, mtu, is_up) = (link.index, link.mtu, link.is_up());
    if mtu < IPV6_MIN_MTU {
        drop_ipv6(net, index);
    } else if before < IPV6_MIN_MTU && is_up {
        restore_routes(net, name);
    }
}

/// The other end of a veth pair.
fn peer(snapshot: &Snapshot, place: &Place, link: &str) -> Option<(Place, String)> {
    let net = snapshot.net(place)?;
    let link = net.link(link).filter(|it| it.kind == "veth")?;
    let index = link.lower?;
    let other = match link.lower_nsid {
        None => place.clone(),
        Some(nsid) => net.namespaces.known()?.get(&nsid)?.clone(),
    };
    let peer = snapshot.net(&other)?.links.known()?.iter().find(|it| it.index == index)?;
    Some((other, peer.name.clone()))
}

/// Switches an interface on or off, with all that follows from it.
pub(crate) fn set_up(snapshot: &mut Snapshot, place: &Place, name: &str, up: bool) {
    let other = peer(snapshot, place, name);
    let peer_is_up = match &other {
        Some((place, link)) => snapshot.net(place).and_then(|it| it.link(link)).is_some_and(Link::is_up),
        None => true,
    };
    let Some(net) = snapshot.net_mut(place) else { return };
    set_flags(net, name, up, up && peer_is_up);
    if up {
        restore_routes(net, name);
    } else {
        drop_routes(net, name);
    }
    if let Some((other_place, other_link)) = other
        && let Some(net) = snapshot.net_mut(&other_place)
    {
        let is_up = net.link(&other_link).is_some_and(Link::is_up);
        set_flags(net, &other_link, is_up, is_up && up);
        mark_linkdown(net, &other_link, !up);
    }
}

/// Sets the flags of an interface that follow from its own and its peer's state; a bridge follows its ports.
fn set_flags(net: &mut NetNs, name: &str, up: bool, carrier: bool) {
    let Some(links) = net.links.known_mut() else { return };
    let Some(at) = links.iter().position(|it| it.name == name) else { return };
    let is_bridge = matches!(links[at].detail, LinkDetail::Bridge(_));
    let index = links[at].index;
    let carrier = if is_bridge {
        up && links.iter().any(|it| it.master == Some(index) && it.is_up() && it.has_carrier())
    } else {
        carrier
    };
    let link = &mut links[at];
    link.flags.set(LinkFlags::UP, up);
    link.flags.set(LinkFlags::RUNNING, up && carrier);
    link.flags.set(LinkFlags::LOWER_UP, up && carrier);
    let unknown = link.is_loopback() || matches!(link.detail, LinkDetail::Vxlan(_));
    let state = match (up, carrier) {
        (true, true) if unknown => "UNKNOWN",
        (true, true) => "UP",
        (true, false) if link.kind == "veth" => "LOWERLAYERDOWN",
        _ => "DOWN",
    };
    state.clone_into(&mut link.operstate);
    let master = link.master;
    if is_bridge {
        // `br_stp_disable_bridge`, `br_stp_enable_bridge`.
        for port in links.iter_mut().filter(|it| it.master == Some(index)) {
            let works = up && port.is_up() && port.has_carrier();
            if let Some(setting) = &mut port.port {
                setting.state = if works { PortState::Forwarding } else { PortState::Disabled };
            }
        }
    } else if let Some(master) = master {
        update_port(links, at, master);
    }
}

fn update_port(links: &mut [Link], port: usize, master: IfIndex) {
    let Some(bridge) = links.iter().position(|it| it.index == master) else { return };
    let works = links[bridge].is_up() && links[port].is_up() && links[port].has_carrier();
    if let Some(setting) = &mut links[port].port {
        setting.state = if works { PortState::Forwarding } else { PortState::Disabled };
    }
    let has_carrier = links.iter().any(|it| it.master == Some(master) && it.is_up() && it.has_carrier());
    let bridge = &mut links[bridge];
    let is_up = bridge.is_up();
    bridge.flags.set(LinkFlags::RUNNING, is_up && has_carrier);
    bridge.flags.set(LinkFlags::LOWER_UP, is_up && has_carrier);
    if is_up { if has_carrier { "UP" } else { "DOWN" } } else { "DOWN" }.clone_into(&mut bridge.operstate);
}

/// Forgets all neighbours of an interface, those that were set too (`neigh_changeaddr`, net/core/neighbour.c): so it is
/// when its Ethernet address changes, or whether it resolves addresses.
pub(crate) fn forget_neighbours(net: &mut NetNs, index: IfIndex) {
    if let Some(neighbours) = net.neighbours.known_mut() {
        neighbours.retain(|it| it.link != index);
    }
}

/// What goes when an interface is switched off: IPv4 routes over it but for the local ones
/// (`fib_sync_down_dev`), and all of its IPv6 (`addrconf_ifdown`).
fn drop_routes(net: &mut NetNs, name: &str) {
    let Some(index) = net.link(name).map(|it| it.index) else { return };
    if let Some(routes) = net.routes.known_mut() {
        routes.retain(|route| {
            let uses = |it: &NextHop| it.link == Some(index);
            let goes = route.kind != RouteKind::Local && matches!(route.destination, IpNet::V4(_));
            !(goes && !route.next_hops.is_empty() && route.next_hops.iter().all(uses))
        });
    }
    forget_neighbours(net, index);
    drop_ipv6(net, index);
}

/// `addrconf_ifdown` (net/ipv6/addrconf.c).
fn drop_ipv6(net: &mut NetNs, index: IfIndex) {
    if let Some(routes) = net.routes.known_mut() {
        routes.retain(|route| {
            let uses = |it: &NextHop| it.link == Some(index);
            let is_ipv6 = matches!(route.destination, IpNet::V6(_));
            !(is_ipv6 && !route.next_hops.is_empty() && route.next_hops.iter().all(uses))
        });
    }
    if let Some(addresses) = net.addresses.known_mut() {
        addresses.retain(|it| it.link != index || it.address.addr().is_ipv4());
    }
    if let Some(neighbours) = net.neighbours.known_mut() {
        neighbours.retain(|it| it.link != index || it.address.is_ipv4());
    }
}

/// What comes back when an interface is switched on: the routes of its addresses, and a link-local address.
fn restore_routes(net: &mut NetNs, name: &str) {
    let Some(link) = net.link(name).cloned() else { return };
    let own: Vec<Address> =
        net.addresses.known().into_iter().flatten().filter(|it| it.link == link.index).cloned().collect();
    for address in &own {
        add_address_routes(net, address);
    }
    give_switches(net, name, true);
    let disabled = SysctlKey::of_link(true, name, "disable_ipv6");
    let is_enabled = net.sysctls.known().is_some_and(|it| it.values.get(&disabled).is_some_and(|v| v == "0"));
    let is_local = |it: &Address| match it.address.addr() {
        IpAddr::V6(own) => own.is_unicast_link_local() || own.is_loopback(),
        IpAddr::V4(_) => false,
    };
    if is_enabled && !own.iter().any(is_local) {
        let address = if link.is_loopback() {
            Some(IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)))
        } else {
            link.mac.map(link_local)
        };
        if let Some(address) = address {
            add_address(net, name, address);
        }
    }
}

/// The link-local address that an interface makes of its Ethernet address (RFC 4291, appendix A).
fn link_local(mac: Mac) -> IpNet {
    let [high @ .., _, _, _] = mac.0;
    let [.., low_first, low_second, low_third] = mac.0;
    let mut bytes = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, low_first, low_second, low_third];
    bytes[8..11].copy_from_slice(&high);
    bytes[8] ^= 2;
    let address = Ipv6Addr::from(bytes);
    IpNet::new(IpAddr::V6(address), 64).expect("64 is a prefix length of IPv6")
}

fn mark_linkdown(net: &mut NetNs, name: &str, down: bool) {
    let Some(index) = net.link(name).map(|it| it.index) else { return };
    for route in net.routes.known_mut().into_iter().flatten() {
        for hop in route.next_hops.iter_mut().filter(|it| it.link == Some(index)) {
            hop.linkdown = down && route.kind != RouteKind::Local;
        }
    }
}

/// Gives an interface an address, with the routes that the kernel writes for it.
pub(crate) fn add_address(net: &mut NetNs, name: &str, address: IpNet) {
    let Some(index) = net.link(name).map(|it| it.index) else { return };
    let scope = match address.addr() {
        it if it.is_loopback() => 254,
        IpAddr::V6(it) if it.is_unicast_link_local() => 253,
        _ => 0,
    };
    let broadcast = match address {
        IpNet::V4(net) if net.prefix_len() < 31 && !address.addr().is_loopback() => {
            Some(IpAddr::V4(net.broadcast()))
        }
        _ => None,
    };
    let Some(addresses) = net.addresses.known_mut() else { return };
    if addresses.iter().any(|it| it.link == index && it.address == address) {
        return;
    }
    let is_second = addresses
        .iter()
        .any(|it| it.link == index && it.address.trunc() == address.trunc() && it.address.addr().is_ipv4());
    let mut flags = AddressFlags::PERMANENT;
    flags.set(AddressFlags::SECONDARY, is_second && address.addr().is_ipv4());
    let added = Address { link: index, address, peer: None, broadcast, scope, flags };
    addresses.push(added.clone());
    add_address_routes(net, &added);
}

/// `fib_add_ifaddr` (net/ipv4/fib_frontend.c), `addrconf_prefix_route` (net/ipv6/addrconf.c).
fn add_address_routes(net: &mut NetNs, address: &Address) {
    let Some(link) = net.links.known().and_then(|all| all.iter().find(|it| it.index == address.link)) else {
        return;
    };
    let (is_up, is_loopback) = (link.is_up(), link.is_loopback());
    let is_ipv6 = address.address.addr().is_ipv6();
    let own = address.address.addr();
    let route = |table, kind, destination: IpNet, scope| Route {
        table,
        kind,
        destination,
        source: None,
        tos: 0,
        metric: match (is_ipv6, kind) {
            (true, RouteKind::Unicast | RouteKind::Multicast) => 256,
            _ => 0,
        },
        protocol: protocols::KERNEL,
        scope: if is_ipv6 { 0 } else { scope },
        preferred_source: (!is_ipv6).then_some(own),
        next_hops: vec![NextHop { link: Some(address.link), weight: 1, ..NextHop::default() }],
        next_hop_object: None,
        mtu: None,
        mtu_locked: false,
        encapsulation: None,
    };
    let mut added = vec![route(tables::LOCAL, RouteKind::Local, IpNet::from(own), 254)];
    if is_up && is_loopback && !is_ipv6 {
        added.push(route(tables::LOCAL, RouteKind::Local, address.address.trunc(), 254));
    }
    if is_up && !is_loopback {
        if address.address.prefix_len() < address.address.max_prefix_len() {
            added.push(route(tables::MAIN, RouteKind::Unicast, address.address.trunc(), 253));
        }
        if let Some(broadcast) = address.broadcast {
            added.push(route(tables::LOCAL, RouteKind::Broadcast, IpNet::from(broadcast), 253));
        }
    }
    let Some(routes) = net.routes.known_mut() else { return };
    for route in added {
        let same = |it: &Route| {
            (it.table, it.kind, it.destination, it.metric)
                == (route.table, route.kind, route.destination, route.metric)
                && it.next_hops.first().and_then(|it| it.link) == Some(address.link)
        };
        if !routes.iter().any(same) {
            routes.push(route);
        }
    }
}

/// Takes an address from an interface, with the routes that were written for it (`fib_del_ifaddr`) and those
/// that prefer it as a source (`fib_sync_down_addr`). With the last IPv4 address go all IPv4 routes over the
/// interface (`fib_inetaddr_event`, net/ipv4/fib_frontend.c).
pub(crate) fn remove_address(net: &mut NetNs, name: &str, address: IpNet) {
    let Some(index) = net.link(name).map(|it| it.index) else { return };
    let promotes = ["all", name].iter().any(|link| {
        let key = SysctlKey::of_link(false, link, "promote_secondaries");
        net.sysctls.known().is_some_and(|it| it.values.get(&key).is_some_and(|it| it == "1"))
    });
    let Some(addresses) = net.addresses.known_mut() else { return };
    let is_it = |it: &Address| it.link == index && it.address == address;
    let Some(was_second) =
        addresses.iter().find(|it| is_it(it)).map(|it| it.flags.contains(AddressFlags::SECONDARY))
    else {
        return;
    };
    addresses.retain(|it| !is_it(it));
    // `__inet_del_ifa`, net/ipv4/devinet.c: with a first address go the second ones of its network.
    let is_second = |it: &Address| {
        it.link == index
            && it.flags.contains(AddressFlags::SECONDARY)
            && it.address.trunc() == address.trunc()
    };
    if !was_second && address.addr().is_ipv4() {
        if !promotes {
            addresses.retain(|it| !is_second(it));
        } else if let Some(next) = addresses.iter_mut().find(|it| is_second(it)) {
            next.flags.remove(AddressFlags::SECONDARY);
        }
    }
    let own = address.addr();
    let is_shared = addresses.iter().any(|it| it.link == index && it.address.trunc() == address.trunc());
    let is_held = addresses.iter().any(|it| it.address.addr() == own);
    let is_last =
        own.is_ipv4() && !addresses.iter().any(|it| it.link == index && it.address.addr().is_ipv4());
    let broadcast = match address {
        IpNet::V4(net) => Some(IpNet::from(IpAddr::V4(net.broadcast()))),
        IpNet::V6(_) => None,
    };
    let Some(routes) = net.routes.known_mut() else { return };
    routes.retain(|it| {
        let by_link = it.next_hops.first().and_then(|hop| hop.link) == Some(index);
        let is_own = it.kind == RouteKind::Local && it.destination == IpNet::from(own) && by_link;
        let is_prefix = it.protocol == protocols::KERNEL && it.destination == address.trunc() && by_link;
        let is_broadcast = it.kind == RouteKind::Broadcast && Some(it.destination) == broadcast && by_link;
        let prefers = it.preferred_source == Some(own) && !is_held && it.kind != RouteKind::Local;
        let is_cut = is_last
            && matches!(it.destination, IpNet::V4(_))
            && !it.next_hops.is_empty()
            && it.next_hops.iter().all(|hop| hop.link == Some(index));
        !(is_own || (is_prefix && !is_shared) || (is_broadcast && !is_shared) || prefers || is_cut)
    });
    // `fib_disable_ip`, net/ipv4/fib_frontend.c: the neighbours go with them, the permanent ones too.
    if let (true, Some(neighbours)) = (is_last, net.neighbours.known_mut()) {
        neighbours.retain(|it| it.link != index || it.address.is_ipv6());
    }
}

/// Makes an interface a port of a bridge, or frees it.
pub(crate) fn set_master(net: &mut NetNs, name: &str, master: Option<&str>) -> Option<()> {
    let master = match master {
        Some(master) => Some(net.link(master)?.index),
        None => None,
    };
    let links = net.links.known_mut()?;
    let at = links.iter().position(|it| it.name == name)?;
    let before = links[at].master;
    links[at].master = master;
    links[at].port = master.map(|_| hopwise_snapshot::BridgePort::default());
    let index = links[at].index;
    if let Some(bridge) = master.or(before) {
        update_port(links, at, bridge);
    }
    if let Some(fdb) = net.fdb.known_mut()
        && master.is_none()
    {
        fdb.retain(|it| it.link != index || it.on_device);
    }
    Some(())
}

/// Removes an interface with all that hangs on it.
pub(crate) fn remove_link(snapshot: &mut Snapshot, place: &Place, name: &str) {
    let other = peer(snapshot, place, name);
    for (place, name) in [Some((place.clone(), name.to_owned())), other].into_iter().flatten() {
        set_up(snapshot, &place, &name, false);
        let Some(net) = snapshot.net_mut(&place) else { continue };
        let Some(index) = net.link(&name).map(|it| it.index) else { continue };
        if let Some(links) = net.links.known_mut() {
            links.retain(|it| it.index != index);
        }
        if let Some(addresses) = net.addresses.known_mut() {
            addresses.retain(|it| it.link != index);
        }
        if let Some(routes) = net.routes.known_mut() {
            routes.retain(|it| it.next_hops.first().is_none_or(|hop| hop.link != Some(index)));
        }
        if let Some(fdb) = net.fdb.known_mut() {
            fdb.retain(|it| it.link != index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_made_of_the_ethernet_address() {
        let mac = "4e:0a:74:81:55:c4".parse().unwrap();
        assert_eq!(link_local(mac).to_string(), "fe80::4c0a:74ff:fe81:55c4/64");
    }
}
