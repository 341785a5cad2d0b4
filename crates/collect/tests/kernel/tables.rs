//! Links, addresses, routes, rules, neighbours, forwarding databases.

use hopwise_collect::samples::{bridge, ip};
use hopwise_snapshot::{
    AddressFlags, FdbState, IfIndex, LinkDetail, LinkFlags, LinkStatistics, Mac, NeighbourState, NextHop,
    NextHopObject, Observed, PortState, Reason, RouteKind, RuleAction,
};

use crate::harness::{Namespace, assert_same, known};

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

#[test]
fn every_kind_of_link_is_what_ip_says() {
    let other = Namespace::new();
    let here = Namespace::with(
        "ip link set lo up
         ip link add br0 type bridge stp_state 1 ageing_time 12300 nf_call_iptables 1 mcast_snooping 0 mcast_querier 1
         ip link add br1 type bridge
         ip link add p0 type veth peer name p1
         ip link add p2 type veth peer name p3
         ip link set p0 master br0
         ip link set p1 master br1 mtu 1400
         bridge link set dev p0 hairpin on learning off flood off guard on
         bridge link set dev p1 isolated on mcast_flood off bcast_flood off neigh_suppress on locked on
         ip link set p0 up; ip link set p1 up; ip link set br0 up
         ip addr add 192.0.2.1/24 dev p2; ip link set p2 up
         ip link add vx0 type vxlan id 42 dstport 8472 local 192.0.2.1 dev p2 nolearning ttl 9 df set
         ip link add vx1 type vxlan id 43 dstport 4789 remote 192.0.2.9
         ip link add vx2 type vxlan id 44 dstport 4789 group 239.1.1.1 dev p2
         ip link add vx3 type vxlan dstport 8473 external
         ip link add vx4 type vxlan id 45 dstport 4789 local fd00::1 remote fd00::2 df inherit
         ip link add link p2 name mv0 type macvlan mode bridge
         ip link add link p2 name mv1 type macvlan mode private
         ip link add ifb0 type ifb
         ip link set vx0 address 02:11:22:33:44:55 mtu 1450 up
         ip link set p2 promisc on allmulticast on
         ip link set mv0 arp off",
    );
    here.sh(&format!(
        "ip link add far type veth peer name near netns {}; ip link set far master br0",
        other.path()
    ));
    let facts = here.facts();
    let (mut collected, mut printed) = (known(&facts.links).clone(), here.links());
    // Packets may pass in between.
    for link in collected.iter_mut().chain(&mut printed) {
        link.statistics = LinkStatistics::default();
    }
    assert_same(&collected, &printed);

    let link = |name: &str| facts.link(name).unwrap();
    let LinkDetail::Vxlan(vxlan) = &link("vx0").detail else { panic!() };
    assert_eq!((vxlan.vni, vxlan.port, vxlan.ttl, vxlan.df.as_str()), (42, 8472, 9, "set"));
    assert_eq!((vxlan.local, vxlan.remote), ("192.0.2.1".parse().ok(), None));
    assert_eq!((vxlan.lower, vxlan.learning), (Some(link("p2").index), false));
    let LinkDetail::Vxlan(vxlan) = &link("vx2").detail else { panic!() };
    assert_eq!(vxlan.remote, "239.1.1.1".parse().ok());
    let LinkDetail::Vxlan(vxlan) = &link("vx3").detail else { panic!() };
    assert!(vxlan.external);
    let LinkDetail::Vxlan(vxlan) = &link("vx4").detail else { panic!() };
    assert_eq!((vxlan.local, vxlan.remote), ("fd00::1".parse().ok(), "fd00::2".parse().ok()));
    assert_eq!(vxlan.df, "inherit");
    assert_eq!(link("vx0").mac, Some(mac("02:11:22:33:44:55")));
    assert_eq!((link("vx0").mtu, link("vx0").kind.as_str()), (1450, "vxlan"));

    let LinkDetail::Bridge(bridge) = &link("br0").detail else { panic!() };
    assert!(bridge.stp && bridge.nf_call_iptables && bridge.multicast_querier);
    assert!(!bridge.multicast_snooping && !bridge.nf_call_ip6tables);
    assert_eq!(bridge.ageing_seconds, 123);
    let port = link("p0").port.as_ref().unwrap();
    assert!(port.hairpin && port.guard && !port.learning && !port.flood && port.multicast_flood);
    let port = link("p1").port.as_ref().unwrap();
    assert!(port.isolated && port.neighbour_suppression && port.locked && port.learning);
    assert!(!port.multicast_flood && !port.broadcast_flood);
    assert_eq!(link("p1").port.as_ref().unwrap().state, PortState::Disabled, "its bridge is down");
    assert_eq!(link("p1").master, Some(link("br1").index));

    assert_eq!((link("mv0").lower, link("mv0").lower_nsid), (Some(link("p2").index), None));
    assert_eq!(link("mv0").detail, LinkDetail::Macvlan { mode: "bridge".to_owned() });
    assert_eq!(link("mv1").detail, LinkDetail::Macvlan { mode: "private".to_owned() });
    assert!(link("mv0").flags.contains(LinkFlags::NOARP));
    assert!(link("p2").flags.contains(LinkFlags::PROMISC | LinkFlags::ALLMULTI | LinkFlags::UP));
    assert!(!link("p2").has_carrier(), "its peer is down");
    assert_eq!(link("p2").operstate, "LOWERLAYERDOWN");
    assert!(link("lo").is_loopback());
    let near = other.facts().link("near").unwrap().index;
    assert_eq!(link("far").lower, Some(near));
    assert!(link("far").lower_nsid.is_some());
}

#[test]
fn counters_of_a_link_are_those_that_ip_prints() {
    let here = Namespace::with("ip link set lo up; ping -q -c 3 -i 0.2 127.0.0.1 >&2");
    let (facts, printed) = here.settled(|it| it.links.clone(), "ip -d -s -j link");
    let printed = ip::links("ip link", &printed).unwrap();
    let loopback = facts.link("lo").unwrap();
    assert_eq!(loopback.statistics, printed[0].statistics);
    assert_eq!(loopback.statistics.rx_packets, 6);
    assert!(loopback.statistics.tx_bytes > 0);
}

#[test]
fn addresses_are_what_ip_says() {
    let here = Namespace::with(
        "ip link add v0 type veth peer name v1
         ip link set lo up; ip link set v0 up; ip link set v1 up
         ip addr add 10.0.0.1/24 brd + dev v0
         ip addr add 10.0.0.2/24 dev v0
         ip addr add 10.1.0.1/16 dev v0 scope link noprefixroute
         ip addr add 10.9.0.1 peer 10.9.0.2/32 dev v0
         ip addr add fd00::1/64 dev v0 nodad
         ip addr add fd00::2/64 dev v0 nodad preferred_lft 0
         ip addr add fd00::3 peer fd00::4/128 dev v0 nodad
         ip addr add fd00::5/64 dev v1 valid_lft 5000 preferred_lft 4000 nodad",
    );
    // Link-local addresses come some time after the link, and are probed first.
    here.sh("for i in $(seq 100); do ip -6 addr show tentative | grep -q inet6 || break; sleep 0.1; done");
    let facts = here.facts();
    let addresses = known(&facts.addresses);
    assert_same(addresses, &ip::addresses("ip addr", &here.sh("ip -d -j addr")).unwrap());

    let find = |text: &str| {
        addresses.iter().find(|it| it.address == text.parse().unwrap()).unwrap_or_else(|| panic!("{text}"))
    };
    let v0 = facts.link("v0").unwrap().index;
    assert_eq!(find("10.0.0.1/24").link, v0);
    assert_eq!(find("10.0.0.1/24").broadcast, "10.0.0.255".parse().ok());
    assert!(!find("10.0.0.1/24").flags.contains(AddressFlags::SECONDARY));
    assert!(find("10.0.0.2/24").flags.contains(AddressFlags::SECONDARY | AddressFlags::PERMANENT));
    assert_eq!(find("10.1.0.1/16").scope, 253);
    assert!(find("10.1.0.1/16").flags.contains(AddressFlags::NOPREFIXROUTE));
    assert_eq!(find("10.9.0.1/32").peer, "10.9.0.2".parse().ok());
    assert_eq!(find("fd00::3/128").peer, "fd00::4".parse().ok());
    assert!(find("fd00::2/64").flags.contains(AddressFlags::DEPRECATED));
    assert!(!find("fd00::5/64").flags.contains(AddressFlags::PERMANENT));
    assert_eq!(find("127.0.0.1/8").scope, 254);
    assert!(addresses.iter().all(hopwise_snapshot::Address::is_usable));
}

const ROUTED: &str = "ip link set lo up
    ip link add v0 type veth peer name v1
    ip link add v2 type veth peer name v3
    ip link set v0 up; ip link set v1 up; ip link set v2 up; ip link set v3 up
    ip addr add 10.0.0.1/24 dev v0
    ip addr add 10.20.0.1/24 dev v2
    ip addr add fd00::1/64 dev v0 nodad";

#[test]
fn every_kind_of_route_is_what_ip_says() {
    let here = Namespace::with(ROUTED);
    here.sh(
        "ip route add 10.3.0.0/16 nexthop via 10.0.0.2 dev v0 weight 3 nexthop via 10.0.0.3 dev v0 onlink
             ip route add 10.4.0.0/16 via 10.0.0.9 dev v0 mtu lock 1400 metric 7 src 10.0.0.1 proto static
             ip route add 10.4.0.0/16 via 10.0.0.8 dev v0 metric 8 mtu 1300 advmss 1200
             ip route add 10.5.0.0/16 via 10.0.0.9 dev v0 table 77
             ip route add 10.5.0.0/16 via 10.0.0.9 dev v0 table 7777 proto bird
             ip route add blackhole 10.6.0.0/16; ip route add unreachable 10.7.0.0/16
             ip route add prohibit 10.8.0.0/16; ip route add throw 10.9.0.0/16
             ip route add 10.10.0.0/16 via inet6 fe80::1 dev v0
             ip route add tos 0x08 10.11.0.0/16 dev v0
             ip route add 10.13.0.0/16 encap ip id 100 dst 1.2.3.4 dev v0
             ip route add 10.14.0.0/16 via 10.99.0.1 dev v0 onlink
             ip route add local 10.15.0.0/16 dev lo
             ip route add default via 10.0.0.254
             ip route add 10.16.0.0/16 via 10.20.0.9 dev v2
             ip -6 route add fd01::/64 via fd00::2 dev v0
             ip -6 route add fd02::/64 nexthop via fd00::2 nexthop via fd00::3 weight 4
             ip -6 route add blackhole fd03::/64; ip -6 route add unreachable fd04::/64 metric 5
             ip -6 route add prohibit fd06::/64; ip -6 route add throw fd07::/64
             ip -6 route add default via fd00::9 metric 99 mtu 1280
             ip -6 route add fd05::/64 from fd00::/64 dev v0
             ip link set v3 down",
    );
    let facts = here.facts();
    let routes = known(&facts.routes);
    let links = known(&facts.links);
    let mut printed = ip::routes("ip route", &here.sh("ip -4 -d -j route show table all"), links).unwrap();
    printed.extend(ip::routes("ip -6 route", &here.sh("ip -6 -d -j route show table all"), links).unwrap());
    let mut collected = routes.clone();
    // JSON does not tell whether an MTU is locked.
    for route in &mut collected {
        route.mtu_locked = false;
    }
    assert_same(&collected, &printed);

    let find = |text: &str| {
        routes.iter().find(|it| it.destination == text.parse().unwrap()).unwrap_or_else(|| panic!("{text}"))
    };
    let v0 = Some(facts.link("v0").unwrap().index);
    let hop = |via: &str, weight| NextHop { link: v0, via: via.parse().ok(), weight, ..NextHop::default() };
    let onlink = |it: NextHop| NextHop { onlink: true, ..it };
    assert_eq!(find("10.3.0.0/16").next_hops, [hop("10.0.0.2", 3), onlink(hop("10.0.0.3", 1))]);
    let locked = find("10.4.0.0/16");
    assert_eq!((locked.mtu, locked.mtu_locked, locked.metric, locked.protocol), (Some(1400), true, 7, 4));
    assert_eq!(locked.preferred_source, "10.0.0.1".parse().ok());
    assert!(routes.iter().any(|it| it.metric == 8 && it.mtu == Some(1300) && !it.mtu_locked));
    assert!(routes.iter().any(|it| it.table == 7777 && it.protocol == 12));
    for (net, kind) in [
        ("10.6.0.0/16", RouteKind::Blackhole),
        ("10.7.0.0/16", RouteKind::Unreachable),
        ("10.8.0.0/16", RouteKind::Prohibit),
        ("10.9.0.0/16", RouteKind::Throw),
        ("fd03::/64", RouteKind::Blackhole),
        ("fd04::/64", RouteKind::Unreachable),
        ("fd06::/64", RouteKind::Prohibit),
        ("fd07::/64", RouteKind::Throw),
    ] {
        assert_eq!((find(net).kind, find(net).next_hops.as_slice()), (kind, &[][..]), "{net}");
    }
    assert_eq!(find("10.10.0.0/16").next_hops, [hop("fe80::1", 1)]);
    assert_eq!(find("10.11.0.0/16").tos, 8);
    assert_eq!(find("10.13.0.0/16").encapsulation.as_deref(), Some("ip"));
    assert_eq!(find("10.14.0.0/16").next_hops, [onlink(hop("10.99.0.1", 1))]);
    assert_eq!(find("10.15.0.0/16").kind, RouteKind::Local);
    let down = &find("10.16.0.0/16").next_hops[0];
    assert!(down.linkdown && !down.dead);
    assert_eq!(find("fd02::/64").next_hops, [hop("fd00::2", 1), hop("fd00::3", 4)]);
    assert_eq!(find("fd05::/64").source, "fd00::/64".parse().ok());
    assert_eq!((find("::/0").metric, find("::/0").mtu), (99, Some(1280)));
}

#[test]
fn a_large_table_is_read_whole() {
    let here = Namespace::with(ROUTED);
    here.sh("i=0; while [ $i -lt 20000 ]; do echo route add 10.$((100 + i / 10000)).$((i / 100 % 100)).$((i % 100)) via 10.0.0.9; i=$((i + 1)); done | ip -batch -");
    let facts = here.facts();
    let routes = known(&facts.routes);
    let through =
        routes.iter().filter(|it| it.next_hops.first().is_some_and(|it| it.via == "10.0.0.9".parse().ok()));
    assert_eq!(through.count(), 20_000);
}

#[test]
fn a_table_that_changes_while_it_is_read_is_read_again_or_not_at_all() {
    let here = Namespace::with(ROUTED);
    here.sh("for i in $(seq 500); do echo route add fd10::$i via fd00::2; done | ip -6 -batch -");
    let churn = "for i in $(seq 20000); do echo route add fd20::/64 via fd00::2; echo route del fd20::/64; done | ip -6 -batch -";
    std::thread::scope(|scope| {
        let churning = scope.spawn(|| here.sh(churn));
        let mut n_read = 0;
        while !churning.is_finished() {
            match here.facts().routes {
                Observed::Known(routes) => {
                    let stable = routes
                        .iter()
                        .filter(|it| it.next_hops.first().is_some_and(|it| it.via == "fd00::2".parse().ok()));
                    assert!((500..=501).contains(&stable.count()));
                    n_read += 1;
                }
                Observed::NotCollected(Reason::Failed(what)) => {
                    assert!(what.contains("changed during each"), "{what}");
                }
                other => panic!("{other:?}"),
            }
        }
        println!("read {n_read} times");
    });
}

#[test]
fn cached_routes_are_left_out() {
    let far = Namespace::new();
    let here = Namespace::with("ip link set lo up");
    here.sh(&format!("ip link add v0 mtu 1500 type veth peer name v1 netns {}", far.path()));
    here.sh("ip addr add 10.0.0.1/24 dev v0; ip link set v0 up; ip route add 10.9.0.0/16 via 10.0.0.2");
    far.sh("ip addr add 10.0.0.2/24 dev v1; ip link set v1 up; ip link set lo up
            ip link add d0 mtu 1280 type veth peer name d1; ip link set d0 up; ip link set d1 up
            ip addr add 10.9.0.1/16 dev d0; sysctl -qw net.ipv4.ip_forward=1
            ip neigh add 10.9.0.5 lladdr 02:00:00:00:00:05 dev d0");
    // The answer "fragmentation needed" makes an exception with a lifetime.
    here.sh("ping -q -c 1 -W 1 -M do -s 1400 10.9.0.5 >&2 || true");
    assert!(here.sh("ip route get 10.9.0.5").contains("mtu 1280"), "no exception was made");
    let facts = here.facts();
    assert!(known(&facts.routes).iter().all(|it| it.destination != "10.9.0.5/32".parse().unwrap()));
}

#[test]
fn next_hop_objects_and_their_routes_are_resolved() {
    let here = Namespace::with(ROUTED);
    here.sh("ip nexthop add id 1 via 10.0.0.2 dev v0 onlink
             ip nexthop add id 2 via 10.0.0.3 dev v0
             ip nexthop add id 3 blackhole
             ip nexthop add id 4 via fd00::7 dev v0
             ip nexthop add id 10 group 1,7/2,200
             ip route add 10.12.0.0/16 nhid 10
             ip route add 10.13.0.0/16 nhid 3
             ip -6 route add fd09::/64 nhid 4");
    let check = || {
        let facts = here.facts();
        let objects = known(&facts.next_hop_objects);
        let links = known(&facts.links);
        assert_same(objects, &ip::next_hop_objects("ip nexthop", &here.sh("ip -j nexthop"), links).unwrap());
        let group = NextHopObject { id: 10, hop: None, group: vec![(1, 7), (2, 200)], blackhole: false };
        assert!(objects.contains(&group));
        let routes = known(&facts.routes);
        let find = |text: &str| routes.iter().find(|it| it.destination == text.parse().unwrap()).unwrap();
        let through = find("10.12.0.0/16");
        assert_eq!(through.next_hop_object, Some(10));
        let hops: Vec<_> =
            through.next_hops.iter().map(|it| (it.via.unwrap().to_string(), it.weight)).collect();
        assert_eq!(hops, [("10.0.0.2".to_owned(), 7), ("10.0.0.3".to_owned(), 200)]);
        assert!(through.next_hops[0].onlink);
        assert!(find("10.13.0.0/16").next_hops.is_empty());
        assert_eq!(find("fd09::/64").next_hops[0].via, "fd00::7".parse().ok());
    };
    check();
    // With this the kernel sends the number alone.
    here.sh("sysctl -qw net.ipv4.nexthop_compat_mode=0");
    check();
}

#[test]
fn every_selector_of_a_rule_is_what_ip_says() {
    let here = Namespace::with(ROUTED);
    here.sh("ip rule add not from 10.1.0.0/16 to 10.2.0.0/24 iif v0 fwmark 0x10/0xf0 ipproto tcp sport 1000-2000 dport 80 lookup 100 pref 100
             ip rule add oif v1 uidrange 0-0 tos 0x10 lookup main pref 101
             ip rule add pref 102 lookup 101 suppress_prefixlength 0
             ip rule add pref 103 goto 32766
             ip rule add pref 104 blackhole; ip rule add pref 105 prohibit iif gone; ip rule add pref 106 unreachable
             ip rule add pref 107 l3mdev; ip rule add pref 108 nop
             ip rule add pref 109 tun_id 7 lookup 55; ip rule add pref 110 lookup main suppress_ifgroup 3
             ip rule add pref 111 fwmark 0x4000 lookup 9999
             ip -6 rule add pref 200 from fd00::/8 to fd01::1 ipproto udp dport 53-54 lookup 200
             ip -6 rule add pref 201 blackhole");
    let facts = here.facts();
    let rules = known(&facts.rules);
    let mut printed = ip::rules("ip rule", &here.sh("ip -4 -d -j rule"), false).unwrap();
    printed.extend(ip::rules("ip -6 rule", &here.sh("ip -6 -d -j rule"), true).unwrap());
    assert_same(rules, &printed);

    let find = |priority| rules.iter().find(|it| it.priority == priority).unwrap();
    let all = find(100);
    assert!(all.inverted && !all.is_ipv6);
    assert_eq!((all.source, all.destination), ("10.1.0.0/16".parse().ok(), "10.2.0.0/24".parse().ok()));
    assert_eq!((all.input.as_deref(), all.mark, all.ip_protocol), (Some("v0"), Some((0x10, 0xf0)), Some(6)));
    assert_eq!((all.source_ports, all.destination_ports), (Some((1000, 2000)), Some((80, 80))));
    assert_eq!((all.action, all.not_modelled.len()), (RuleAction::Lookup(100), 0));
    assert_eq!(
        (find(101).output.as_deref(), find(101).users, find(101).tos),
        (Some("v1"), Some((0, 0)), 0x10)
    );
    assert_eq!((find(102).suppress_prefix_length, find(101).suppress_prefix_length), (Some(0), None));
    assert_eq!(find(103).action, RuleAction::Goto(32766));
    assert_eq!(find(104).action, RuleAction::Blackhole);
    assert_eq!(find(105).action, RuleAction::Prohibit);
    assert_eq!(find(105).input.as_deref(), Some("gone"));
    assert_eq!(find(106).action, RuleAction::Unreachable);
    assert!(find(107).l3mdev);
    assert_eq!(find(108).action, RuleAction::Nop);
    assert_eq!(find(109).not_modelled, ["tun_id 7"]);
    assert_eq!(find(110).not_modelled, ["suppress_ifgroup 3"]);
    assert_eq!(find(111).mark, Some((0x4000, u32::MAX)));
    let ipv6 = find(200);
    assert!(ipv6.is_ipv6);
    assert_eq!((ipv6.destination, ipv6.destination_ports), ("fd01::1/128".parse().ok(), Some((53, 54))));
}

#[test]
fn neighbours_of_every_state_are_what_ip_says() {
    let here = Namespace::with(ROUTED);
    here.sh("sysctl -qw net.ipv4.neigh.v0.gc_stale_time=10000
             ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev v0
             ip neigh add 10.0.0.3 lladdr 02:00:00:00:00:03 dev v0 nud stale
             ip neigh add 10.0.0.4 lladdr 02:00:00:00:00:04 dev v0 nud noarp
             ip neigh add 10.0.0.5 dev v0 nud failed
             ip neigh add proxy 10.0.0.6 dev v0
             ip -6 neigh add fd00::2 lladdr 02:00:00:00:00:22 dev v0
             ip -6 neigh add proxy fd00::3 dev v0");
    let (facts, printed) = here.settled(|it| it.neighbours.clone(), "ip -j neigh show nud all");
    let proxies = [here.sh("ip -4 -j neigh show proxy"), here.sh("ip -6 -j neigh show proxy")];
    let links = known(&facts.links);
    let mut printed = ip::neighbours("ip neigh", &printed, links).unwrap();
    for proxy in &proxies {
        printed.extend(ip::neighbours("ip neigh show proxy", proxy, links).unwrap());
    }
    printed.dedup();
    assert_same(known(&facts.neighbours).as_slice(), &printed);
    let find = |text: &str| {
        let address: std::net::IpAddr = text.parse().unwrap();
        known(&facts.neighbours).iter().find(|it| it.address == address).unwrap_or_else(|| panic!("{text}"))
    };
    assert_eq!(
        (find("10.0.0.2").state, find("10.0.0.2").mac),
        (NeighbourState::Permanent, Some(mac("02:00:00:00:00:02")))
    );
    assert_eq!(find("10.0.0.3").state, NeighbourState::Stale);
    assert_eq!(find("10.0.0.4").state, NeighbourState::NoArp);
    assert_eq!((find("10.0.0.5").state, find("10.0.0.5").mac), (NeighbourState::Failed, None));
    assert!(find("10.0.0.6").proxy && find("fd00::3").proxy && !find("fd00::2").proxy);
}

#[test]
fn forwarding_databases_are_what_bridge_says() {
    let here = Namespace::with(
        "ip link set lo up
         ip link add br0 type bridge; ip link set br0 up
         ip link add p0 type veth peer name p1; ip link set p0 master br0; ip link set p0 up; ip link set p1 up
         ip link add vx0 type vxlan id 42 dstport 8472 dev p1 local 192.0.2.1; ip link set vx0 up
         bridge fdb add 02:00:00:00:00:01 dev p0 master static
         bridge fdb add 02:00:00:00:00:02 dev p0 master
         bridge fdb add 02:00:00:00:00:03 dev vx0 dst 192.0.2.3
         bridge fdb add 02:00:00:00:00:04 dev vx0 dst 192.0.2.4 port 4789 vni 77 via p1
         bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.5
         bridge fdb append 00:00:00:00:00:00 dev vx0 dst 192.0.2.6
         bridge fdb add 02:00:00:00:00:07 dev vx0 dst 192.0.2.7 dynamic",
    );
    let (facts, printed) = here.settled(|it| it.fdb.clone(), "bridge -j fdb");
    let fdb = known(&facts.fdb);
    let links = known(&facts.links);
    assert_same(fdb, &bridge::fdb("bridge fdb", &printed, links).unwrap());

    let find = |text: &str| fdb.iter().find(|it| it.mac == mac(text)).unwrap_or_else(|| panic!("{text}"));
    let index = |name: &str| facts.link(name).unwrap().index;
    assert_eq!((find("02:00:00:00:00:01").state, find("02:00:00:00:00:01").vlan), (FdbState::Static, None));
    assert!(!find("02:00:00:00:00:01").on_device);
    assert_eq!(find("02:00:00:00:00:02").state, FdbState::Permanent);
    let vxlan = find("02:00:00:00:00:04");
    assert_eq!((vxlan.link, vxlan.remote), (index("vx0"), "192.0.2.4".parse().ok()));
    assert_eq!((vxlan.port, vxlan.vni, vxlan.via), (Some(4789), Some(77), Some(index("p1"))));
    assert!(vxlan.on_device);
    assert_eq!(find("02:00:00:00:00:07").state, FdbState::Learned);
    let flooded = fdb.iter().filter(|it| it.mac == Mac::ZERO && it.link == index("vx0"));
    assert_eq!(flooded.count(), 2);
    let ports = bridge::ports("bridge link", &here.sh("bridge -d -j link")).unwrap();
    for (index, settings) in ports {
        let link = known(&facts.links).iter().find(|it| it.index == IfIndex(index.0)).unwrap();
        assert_eq!(link.port.as_ref(), Some(&settings));
    }
}

#[test]
fn ipsec_policies_are_read() {
    let here = Namespace::with(
        "ip link set lo up
         ip xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/24 dir out priority 7 tmpl src 1.1.1.1 dst 2.2.2.2 proto esp mode tunnel
         ip xfrm policy add src fd00::/8 dst ::/0 proto udp dport 53 dir fwd priority 9 action block mark 1 mask 0xff",
    );
    let facts = here.facts();
    let policies = known(&facts.xfrm_policies);
    assert_eq!(policies.len(), 2, "{policies:#?}");
    let out = policies.iter().find(|it| it.direction == "out").unwrap();
    assert_eq!((out.priority, out.blocks, out.n_templates, out.protocol), (7, false, 1, 0));
    assert_eq!(
        (out.source, out.destination),
        ("10.1.0.0/16".parse().unwrap(), "10.2.0.0/24".parse().unwrap())
    );
    assert!(out.not_modelled.is_empty());
    let forward = policies.iter().find(|it| it.direction == "fwd").unwrap();
    assert_eq!((forward.priority, forward.blocks, forward.n_templates, forward.protocol), (9, true, 0, 17));
    assert_eq!(forward.destination, "::/0".parse().unwrap());
    assert_eq!(forward.not_modelled, ["dport 53/0xffff", "mark 0x1/0xff"]);
}
