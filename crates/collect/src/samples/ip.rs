//! What `ip -j` prints (iproute2 6.1).

mod route;

use std::net::IpAddr;

use hopwise_snapshot::{
    Address, AddressFlags, Bridge, BridgePort, IfIndex, Link, LinkDetail, LinkFlags, LinkStatistics, Mac,
    Neighbour, NeighbourState, PortState, Vxlan,
};
use ipnet::IpNet;

pub(super) use route::unknown_rule;
pub use route::{next_hop_objects, routes, rules};

use super::json::{Entry, entries};
use crate::error::SourceError;

/// Reads `ip -d -j link` or `ip -d -j addr`, with `-s` also the counters.
pub fn links(file: &str, text: &str) -> Result<Vec<Link>, SourceError> {
    let entries = entries(file, text)?;
    let mut links = Vec::with_capacity(entries.len());
    for entry in &entries {
        links.push(link(entry, &entries)?);
    }
    Ok(links)
}

fn link(entry: &Entry<'_>, all: &[Entry<'_>]) -> Result<Link, SourceError> {
    let named = |name: Option<&str>| name.map(|it| index_in(entry, all, it)).transpose();
    let info = entry.object("linkinfo")?;
    let mut link = Link {
        index: index(entry)?,
        name: entry.required_text("ifname")?.to_owned(),
        kind: String::new(),
        flags: link_flags(&entry.texts("flags")?),
        mtu: entry.number("mtu")?.unwrap_or(0),
        mac: mac(entry, "address")?,
        operstate: entry.text("operstate")?.unwrap_or("UNKNOWN").to_owned(),
        master: named(entry.text("master")?)?,
        // A name in the same namespace, or an index in the other one.
        lower: match named(entry.text("link")?)? {
            Some(index) => Some(index),
            None => entry.number("link_index")?.filter(|it| *it != 0).map(IfIndex),
        },
        lower_nsid: entry.number::<u32>("link_netnsid")?.map(u32::cast_signed),
        detail: LinkDetail::Other,
        port: None,
        xdp: xdp(entry)?,
        qdisc: entry.text("qdisc")?.unwrap_or_default().to_owned(),
        statistics: statistics(entry)?,
    };
    if let Some(info) = info {
        info.text("info_kind")?.unwrap_or_default().clone_into(&mut link.kind);
        if let Some(data) = info.object("info_data")? {
            link.detail = detail(&link.kind, &data, all)?;
        }
        if info.text("info_slave_kind")? == Some("bridge")
            && let Some(port) = info.object("info_slave_data")?
        {
            link.port = Some(port_settings(&port)?);
        }
    }
    Ok(link)
}

fn index(entry: &Entry<'_>) -> Result<IfIndex, SourceError> {
    entry.number("ifindex")?.map(IfIndex).ok_or_else(|| entry.error("expected a field `ifindex`"))
}

fn index_in(entry: &Entry<'_>, all: &[Entry<'_>], name: &str) -> Result<IfIndex, SourceError> {
    for other in all {
        if other.text("ifname")? == Some(name) {
            return index(other);
        }
    }
    Err(entry.error(format!("`{name}` is none of the interfaces")))
}

/// The flags by the words of `ip link`. Words for flags that decide nothing are left out, as the flags are.
fn link_flags(words: &[&str]) -> LinkFlags {
    // `NO-CARRIER` stands for what is missing: RUNNING.
    let mut flags = words.iter().filter_map(|it| LinkFlags::from_name(it)).collect::<LinkFlags>();
    // Without -a the tool prints no RUNNING; an interface has it when it is up and nothing says otherwise.
    if flags.contains(LinkFlags::UP) && !words.contains(&"NO-CARRIER") {
        flags |= LinkFlags::RUNNING;
    }
    flags
}

fn mac(entry: &Entry<'_>, name: &str) -> Result<Option<Mac>, SourceError> {
    match entry.text(name)? {
        // Tunnels have an IP address there.
        Some(text) if text.split(':').count() == 6 => {
            text.parse().map(Some).map_err(|it: hopwise_snapshot::MacError| entry.error(it.to_string()))
        }
        _ => Ok(None),
    }
}

fn xdp(entry: &Entry<'_>) -> Result<Option<hopwise_snapshot::Xdp>, SourceError> {
    let Some(xdp) = entry.object("xdp")? else { return Ok(None) };
    let mode = match xdp.number::<u32>("mode")? {
        Some(1) => "native",
        Some(3) => "offloaded",
        _ => "generic",
    };
    let program = match xdp.object("prog")? {
        Some(program) => program.number("id")?,
        None => None,
    };
    Ok(Some(hopwise_snapshot::Xdp { mode: mode.to_owned(), program: program.unwrap_or(0) }))
}

fn statistics(entry: &Entry<'_>) -> Result<LinkStatistics, SourceError> {
    let stats = match entry.object("stats64")? {
        Some(stats) => Some(stats),
        None => entry.object("stats")?,
    };
    let Some(stats) = stats else { return Ok(LinkStatistics::default()) };
    let (Some(rx), Some(tx)) = (stats.object("rx")?, stats.object("tx")?) else {
        return Ok(LinkStatistics::default());
    };
    let number = |from: &Entry<'_>, name: &str| from.number(name).map(Option::unwrap_or_default);
    Ok(LinkStatistics {
        rx_packets: number(&rx, "packets")?,
        tx_packets: number(&tx, "packets")?,
        rx_bytes: number(&rx, "bytes")?,
        tx_bytes: number(&tx, "bytes")?,
        rx_dropped: number(&rx, "dropped")?,
        tx_dropped: number(&tx, "dropped")?,
        rx_errors: number(&rx, "errors")?,
        tx_errors: number(&tx, "errors")?,
    })
}

fn detail(kind: &str, data: &Entry<'_>, all: &[Entry<'_>]) -> Result<LinkDetail, SourceError> {
    let is_on = |name: &str| data.is_on(name).map(|it| it.unwrap_or(false));
    Ok(match kind {
        "vxlan" => LinkDetail::Vxlan(vxlan(data, all)?),
        "bridge" => LinkDetail::Bridge(Bridge {
            vlan_filtering: is_on("vlan_filtering")?,
            stp: is_on("stp_state")?,
            nf_call_iptables: is_on("nf_call_iptables")?,
            nf_call_ip6tables: is_on("nf_call_ip6tables")?,
            nf_call_arptables: is_on("nf_call_arptables")?,
            multicast_snooping: is_on("mcast_snooping")?,
            multicast_querier: is_on("mcast_querier")?,
            ageing_seconds: data.number::<u32>("ageing_time")?.unwrap_or(0) / 100,
        }),
        "vlan" => match data.number("id")? {
            Some(id) => LinkDetail::Vlan { id },
            None => LinkDetail::Other,
        },
        "macvlan" | "macvtap" => match data.text("mode")? {
            Some(mode) => LinkDetail::Macvlan { mode: mode.to_owned() },
            None => LinkDetail::Other,
        },
        "vrf" => match data.number("table")? {
            Some(table) => LinkDetail::Vrf { table },
            None => LinkDetail::Other,
        },
        _ => LinkDetail::Other,
    })
}

fn vxlan(data: &Entry<'_>, all: &[Entry<'_>]) -> Result<Vxlan, SourceError> {
    let address = |names: [&str; 2]| -> Result<Option<IpAddr>, SourceError> {
        for name in names {
            if let Some(found) = ip(data, name)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    Ok(Vxlan {
        vni: data.number("id")?.unwrap_or(0),
        port: data.number("port")?.unwrap_or(0),
        local: address(["local", "local6"])?,
        remote: match address(["group", "group6"])? {
            Some(group) => Some(group),
            None => address(["remote", "remote6"])?,
        },
        lower: match data.text("link")? {
            Some(name) => Some(index_in(data, all, name)?),
            None => data.number("link_index")?.map(IfIndex),
        },
        learning: data.is_on("learning")?.unwrap_or(false),
        ttl: data.number("ttl")?.unwrap_or(0),
        df: data.text("df")?.unwrap_or("unset").to_owned(),
        external: data.is_on("external")?.unwrap_or(false),
    })
}

/// The settings of a bridge port as `ip -d link` prints them.
pub(super) fn port_settings(data: &Entry<'_>) -> Result<BridgePort, SourceError> {
    let usual = BridgePort::default();
    let is_on = |name: &str, usual: bool| data.is_on(name).map(|it| it.unwrap_or(usual));
    Ok(BridgePort {
        state: match data.text("state")? {
            Some("disabled") => PortState::Disabled,
            Some("listening") => PortState::Listening,
            Some("learning") => PortState::Learning,
            Some("forwarding") => PortState::Forwarding,
            Some("blocking") => PortState::Blocking,
            Some(other) => return Err(data.error(format!("`{other}` is no state of a bridge port"))),
            None => usual.state,
        },
        hairpin: is_on("hairpin", usual.hairpin)?,
        isolated: is_on("isolated", usual.isolated)?,
        learning: is_on("learning", usual.learning)?,
        flood: is_on("flood", usual.flood)?,
        multicast_flood: is_on("mcast_flood", usual.multicast_flood)?,
        broadcast_flood: is_on("bcast_flood", usual.broadcast_flood)?,
        neighbour_suppression: is_on("neigh_suppress", usual.neighbour_suppression)?,
        locked: is_on("locked", usual.locked)?,
        guard: is_on("guard", usual.guard)?,
    })
}

/// Reads the addresses in `ip -j addr`.
pub fn addresses(file: &str, text: &str) -> Result<Vec<Address>, SourceError> {
    let mut addresses = Vec::new();
    for entry in entries(file, text)? {
        let link = index(&entry)?;
        for address in entry.list("addr_info")? {
            addresses.extend(self::address(link, &address)?);
        }
    }
    Ok(addresses)
}

fn address(link: IfIndex, entry: &Entry<'_>) -> Result<Option<Address>, SourceError> {
    let Some(own) = ip(entry, "local")? else { return Ok(None) };
    let prefix = entry.number("prefixlen")?.ok_or_else(|| entry.error("expected a field `prefixlen`"))?;
    let address = IpNet::new(own, prefix).map_err(|_| entry.error(format!("no prefix: {own}/{prefix}")))?;
    let mut flags = AddressFlags::empty();
    for (name, flag) in [
        ("secondary", AddressFlags::SECONDARY),
        ("temporary", AddressFlags::SECONDARY),
        ("nodad", AddressFlags::NODAD),
        ("optimistic", AddressFlags::OPTIMISTIC),
        ("dadfailed", AddressFlags::DADFAILED),
        ("deprecated", AddressFlags::DEPRECATED),
        ("tentative", AddressFlags::TENTATIVE),
        ("noprefixroute", AddressFlags::NOPREFIXROUTE),
    ] {
        flags.set(flag, flags.contains(flag) || entry.is_on(name)?.unwrap_or(false));
    }
    // Printed the other way round: an address with a lifetime is called dynamic.
    flags.set(AddressFlags::PERMANENT, !entry.is_on("dynamic")?.unwrap_or(false));
    Ok(Some(Address {
        link,
        address,
        peer: ip(entry, "address")?,
        broadcast: ip(entry, "broadcast")?,
        scope: scope(entry)?,
        flags,
    }))
}

pub(super) fn link_called(entry: &Entry<'_>, links: &[Link], name: &str) -> Result<IfIndex, SourceError> {
    // A link of which only the number is known is printed as `ifN`.
    let unnamed = || name.strip_prefix("if").and_then(|it| it.parse().ok()).map(IfIndex);
    let named = links.iter().find(|it| it.name == name).map(|it| it.index);
    named.or_else(unnamed).ok_or_else(|| entry.error(format!("`{name}` is none of the interfaces")))
}

/// The words of `/etc/iproute2/rt_scopes`.
fn scope(entry: &Entry<'_>) -> Result<u8, SourceError> {
    Ok(match entry.text("scope")?.unwrap_or("global") {
        "global" => 0,
        "site" => 200,
        "link" => 253,
        "host" => 254,
        "nowhere" => 255,
        other => return other.parse().map_err(|_| entry.error(format!("`{other}` is no scope"))),
    })
}

/// Reads `ip -j neigh`, also with `nud all` or of proxies.
pub fn neighbours(file: &str, text: &str, links: &[Link]) -> Result<Vec<Neighbour>, SourceError> {
    let mut neighbours = Vec::new();
    for entry in entries(file, text)? {
        let address = ip(&entry, "dst")?.ok_or_else(|| entry.error("expected a field `dst`"))?;
        neighbours.push(Neighbour {
            link: link_called(&entry, links, entry.required_text("dev")?)?,
            address,
            mac: mac(&entry, "lladdr")?,
            state: neighbour_state(&entry)?,
            proxy: entry.has("proxy"),
        });
    }
    Ok(neighbours)
}

fn neighbour_state(entry: &Entry<'_>) -> Result<NeighbourState, SourceError> {
    Ok(match entry.texts("state")?.as_slice() {
        ["INCOMPLETE"] => NeighbourState::Incomplete,
        ["REACHABLE"] => NeighbourState::Reachable,
        ["STALE"] => NeighbourState::Stale,
        ["DELAY"] => NeighbourState::Delay,
        ["PROBE"] => NeighbourState::Probe,
        ["FAILED"] => NeighbourState::Failed,
        ["NOARP"] => NeighbourState::NoArp,
        ["PERMANENT"] => NeighbourState::Permanent,
        [] | ["NONE"] => NeighbourState::None,
        other => return Err(entry.error(format!("{other:?} is no state of a neighbour"))),
    })
}

pub(super) fn ip(entry: &Entry<'_>, name: &str) -> Result<Option<IpAddr>, SourceError> {
    match entry.text(name)? {
        Some("any") | None => Ok(None),
        Some(text) => match text.parse() {
            Ok(address) => Ok(Some(address)),
            Err(_) => Err(entry.error(format!("`{name}` is {text}, expected an IP address"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINKS: &str = r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536,"operstate":"UNKNOWN"},
        {"ifindex":2,"link":"lo","ifname":"v","flags":["NO-CARRIER","BROADCAST","UP"],"mtu":1500,"operstate":"DOWN","address":"02:00:00:00:00:01",
         "xdp":{"mode":2,"prog":{"id":9}},"linkinfo":{"info_kind":"vlan","info_data":{"id":7}}}]"#;

    #[test]
    fn links_are_read_with_their_kinds_and_programs() {
        let links = links("ip.json", LINKS).unwrap();
        assert_eq!(links[1].detail, LinkDetail::Vlan { id: 7 });
        assert_eq!(links[1].lower, Some(IfIndex(1)));
        assert_eq!(links[1].xdp.as_ref().unwrap().mode, "generic");
        assert!(links[1].is_up() && !links[1].flags.contains(LinkFlags::RUNNING));
        assert!(links[0].flags.contains(LinkFlags::RUNNING) && links[0].is_loopback());
    }

    #[test]
    fn nothing_printed_is_an_empty_list() {
        assert_eq!(routes("r.json", "", &[]).unwrap(), []);
        assert_eq!(routes("r.json", "[ ]\n", &[]).unwrap(), []);
        assert_eq!(neighbours("n.json", "[{}]", &[]).unwrap(), []);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}\":,a-z0-9./ ]{0,80}") {
            let _ = (links("x", &text), addresses("x", &text), routes("x", &text, &[]));
            let _ = (rules("x", &text, true), neighbours("x", &text, &[]), next_hop_objects("x", &text, &[]));
        }

        #[test]
        fn no_field_of_another_type_makes_it_panic(
            name in "(dst|dev|flags|metric|via|nexthops|metrics|tos|table|src|priority|state|ifname|ifindex|linkinfo|addr_info)",
            value in "(1|-1|\"x\"|null|true|\\[1\\]|\\{\\}|\\[\\{\\}\\]|1e300)",
        ) {
            let text = format!("[{{\"{name}\":{value}}}]");
            let _ = (links("x", &text), addresses("x", &text), routes("x", &text, &[]));
            let _ = (rules("x", &text, true), neighbours("x", &text, &[]), next_hop_objects("x", &text, &[]));
            let _ = (super::super::bridge::fdb("x", &text, &[]), super::super::bridge::ports("x", &text));
        }
    }
}
