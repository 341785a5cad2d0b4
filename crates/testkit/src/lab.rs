//! A case's changes as commands for a lab.

use hopwise_change::{Change, Command, RouteSpec, route_spec, tunnel_words};
use hopwise_snapshot::{Address, Link, LinkDetail, NeighbourState, NetNs, Place, Snapshot, protocols};

/// The commands that do a change in a lab whose state is `before`; why there are none, where a person's command
/// cannot do it.
pub fn lab_commands(change: &Change, before: &Snapshot) -> Result<Vec<Command>, String> {
    if let Change::Vxlan { place, link, attribute, value } = change {
        return anew(before, place, link, attribute, value);
    }
    let commands = change.commands();
    match commands.iter().find(|it| it.place.is_none()) {
        Some(command) => Err(format!("`{command}` needs an API server")),
        None if commands.is_empty() => Err(format!("no command does this: {}", change.summary())),
        None => Ok(commands),
    }
}

/// A tunnel device, made anew with another setting, and all that goes with the old one.
fn anew(
    before: &Snapshot,
    place: &Place,
    name: &str,
    attribute: &str,
    value: &str,
) -> Result<Vec<Command>, String> {
    let missing = || format!("{place} has no tunnel {name}");
    let net = before.net(place).ok_or_else(missing)?;
    let link = net.link(name).ok_or_else(missing)?;
    let LinkDetail::Vxlan(vxlan) = &link.detail else { return Err(missing()) };
    let mut vxlan = vxlan.clone();
    let wrong = |_| format!("`{value}` is no value of {attribute}");
    match attribute {
        "vni" => vxlan.vni = value.parse().map_err(|it: std::num::ParseIntError| wrong(it.to_string()))?,
        "port" => vxlan.port = value.parse().map_err(|it: std::num::ParseIntError| wrong(it.to_string()))?,
        _ => {
            vxlan.local = Some(value.parse().map_err(|it: std::net::AddrParseError| wrong(it.to_string()))?);
        }
    }
    let mut commands = vec![
        Command::new(Some(place.clone()), ["ip", "link", "del", "dev", name].map(str::to_owned).to_vec()),
        Command::new(Some(place.clone()), tunnel_words(net, link, &vxlan)),
    ];
    let mut changes = Vec::new();
    let at = place.clone();
    for address in net.addresses.known().into_iter().flatten() {
        if address.link == link.index && address.scope == 0 {
            changes.push(Change::AddressAdded {
                place: at.clone(),
                link: name.to_owned(),
                address: address.address,
            });
        }
    }
    changes.push(Change::LinkUp { place: at.clone(), link: name.to_owned(), up: true });
    for route in own_routes(net, link) {
        changes.push(Change::RouteReplaced { place: at.clone(), route });
    }
    for it in net.neighbours.known().into_iter().flatten().filter(|it| it.link == link.index) {
        if let (NeighbourState::Permanent, Some(mac)) = (it.state, it.mac) {
            let (place, link) = (at.clone(), name.to_owned());
            changes.push(Change::NeighbourReplaced { place, link, address: it.address, mac });
        }
    }
    for it in net.fdb.known().into_iter().flatten().filter(|it| it.link == link.index && it.on_device) {
        let (place, link) = (at.clone(), name.to_owned());
        if it.remote.is_some() {
            changes.push(Change::FdbReplaced { place, link, mac: it.mac, remote: it.remote });
        }
    }
    commands.extend(changes.iter().flat_map(Change::commands));
    Ok(commands)
}

fn own_routes(net: &NetNs, link: &Link) -> Vec<RouteSpec> {
    let routes = net.routes.known().into_iter().flatten();
    let own = routes.filter(|it| {
        it.protocol != protocols::KERNEL && it.next_hops.iter().any(|hop| hop.link == Some(link.index))
    });
    own.map(|it| route_spec(net, it)).collect()
}

/// An address that is still being probed for duplicates (RFC 4862, section 5.4), which takes about a second in a new lab.
pub fn tentative(snapshot: &Snapshot) -> Option<&Address> {
    let nodes = snapshot.nodes.values().filter_map(|it| Some(&it.known()?.net));
    let pods = snapshot.pods.values().filter_map(|it| Some(&it.known()?.net));
    let addresses = nodes.chain(pods).filter_map(|it| it.addresses.known());
    addresses.flatten().find(|it| !it.is_usable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base;

    #[test]
    fn a_tunnel_made_anew_gets_all_that_the_old_one_had() {
        let change = Change::Vxlan {
            place: Place::node("w2"),
            link: "flannel.1".to_owned(),
            attribute: "vni".to_owned(),
            value: "7".to_owned(),
        };
        let commands = lab_commands(&change, &base("vxlan").unwrap()).unwrap();
        let lines: Vec<String> = commands.iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "ip link del dev flannel.1");
        assert!(
            lines[1].contains(" type vxlan id 7 dstport 8472 local 192.168.50.13 dev eth0"),
            "{}",
            lines[1]
        );
        assert_eq!(lines[2], "ip addr add 10.244.2.0/32 dev flannel.1");
        assert_eq!(lines[3], "ip link set dev flannel.1 up");
        let n = |begin: &str| lines.iter().filter(|it| it.starts_with(begin)).count();
        assert_eq!((n("ip route replace"), n("ip neigh replace"), n("bridge fdb replace")), (2, 2, 2));
    }

    #[test]
    fn what_no_command_does_is_said() {
        let change = Change::SocketClosed { place: Place::node("w2"), protocol: "tcp".to_owned(), port: 80 };
        let said = lab_commands(&change, &base("vxlan").unwrap()).unwrap_err();
        assert_eq!(said, "no command does this: end what listens on tcp 80");
    }
}
