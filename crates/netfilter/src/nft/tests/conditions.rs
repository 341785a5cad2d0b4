//! Conditions.

use hopwise_snapshot::{Mac, Observed, RouteKind};
use serde_json::json;

use super::{check, does, field, holds, holds_in, meta, that};
use crate::{
    ConnectionState, ConnectionStatus, Device, Ether, FoundSocket, Fragment, IpHeader, Network, Owner,
    PacketRoute, PacketType, RouteDevice, Transport, Verdict, View,
    testing::{World, address, connected, icmp, syn, udp, unread},
};

fn at_devices() -> View<'static> {
    let mut view = syn();
    let device = |name, index| Device {
        name,
        index: Some(index),
        kind: Observed::Known("veth"),
        hardware_type: Some(1),
        group: Some(3),
    };
    view.input = Some(device("eth0", 2));
    view.output = Some(device("cali12", 7));
    view
}

#[test]
fn devices_by_name_index_kind_type_and_group() {
    check(
        &at_devices(),
        &[
            that(&meta("iifname"), "==", &json!("eth0")),
            that(&meta("oifname"), "==", &json!("cali*")),
            that(&meta("iifname"), "!=", &json!("eth*1")),
            that(&meta("iif"), "==", &json!("eth0")),
            that(&meta("oifkind"), "==", &json!("veth")),
            that(&meta("iiftype"), "==", &json!("ether")),
            that(&meta("iifgroup"), "==", &json!(3)),
            that(&meta("iifname"), "==", &json!({ "set": ["lo", "eth0"] })),
        ],
        &[
            that(&meta("iifname"), "!=", &json!("eth*")),
            that(&meta("oif"), "==", &json!("eth0")),
            that(&meta("iiftype"), "==", &json!("loopback")),
            that(&meta("oifgroup"), "!=", &json!(3)),
        ],
    );
    let mut nameless = at_devices();
    nameless.input = Some(Device::named("eth0"));
    assert!(holds(&that(&meta("iifgroup"), "==", &json!(3)), &nameless).contains("attribute of a device"));
    nameless.input = None;
    check(
        &nameless,
        &[that(&meta("iifname"), "!=", &json!("eth0")), that(&meta("iif"), "!=", &json!("eth0"))],
        &[that(&meta("iifgroup"), "!=", &json!(3)), that(&meta("iifkind"), "==", &json!("veth"))],
    );
}

#[test]
fn what_the_packet_is_marked_with_and_where_it_came_from() {
    let mut view = syn();
    view.mark = 0x4012;
    view.priority = 0x0001_0002;
    view.packet_type = PacketType::Multicast;
    view.owner = Some(Owner { uid: Some(1000), gid: None, class_id: Some(0x10_0001), cgroup: None });
    check(
        &view,
        &[
            that(&json!({ "&": [meta("mark"), 0x4000] }), "==", &json!(0x4000)),
            that(&json!({ "|": [meta("mark"), 1] }), "==", &json!(0x4013)),
            that(&json!({ "^": [meta("mark"), 0x4012] }), "==", &json!(0)),
            that(&json!({ ">>": [meta("mark"), 12] }), "==", &json!(4)),
            that(&json!({ "<<": [meta("mark"), 20] }), "==", &json!(0x0120_0000)),
            that(&meta("mark"), "!=", &json!({ "range": [0, 0x4011] })),
            that(&meta("mark"), ">", &json!(0x4011)),
            that(&meta("mark"), "<=", &json!(0x4012)),
            that(&meta("priority"), "==", &json!("1:2")),
            that(&meta("pkttype"), "==", &json!("multicast")),
            that(&meta("skuid"), "==", &json!(1000)),
            that(&meta("cgroup"), "==", &json!(0x10_0001)),
        ],
        &[
            that(&meta("mark"), "<", &json!(0x4012)),
            that(&meta("skuid"), "!=", &json!({ "range": [500, 2000] })),
            that(&meta("pkttype"), "==", &json!("host")),
        ],
    );
    assert!(holds(&that(&meta("skgid"), "==", &json!(0)), &view).contains("owner"));
    check(&syn(), &[], &[that(&meta("skuid"), "==", &json!(0)), that(&meta("skuid"), "!=", &json!(0))]);
}

#[test]
fn clocks_processors_and_what_no_view_has_are_unknown() {
    for (condition, why) in [
        (that(&meta("time"), "==", &json!("1970-05-23 21:07:14")), "clock"),
        (that(&meta("day"), "==", &json!("Saturday")), "clock"),
        (that(&meta("hour"), "==", &json!("17:00")), "clock"),
        (that(&meta("cpu"), "==", &json!(1)), "processor"),
        (that(&field("tcp", "sequence"), "==", &json!(1)), "not known"),
        (that(&field("ip", "id"), "!=", &json!(22)), "not known"),
        (that(&json!({ "payload": { "base": "ih", "offset": 0, "len": 8 } }), "==", &json!(1)), "payload"),
        (that(&json!({ "osf": { "key": "name" } }), "==", &json!("Linux")), "fingerprint"),
        (that(&json!({ "tcp option": { "name": "window", "field": "count" } }), "==", &json!(1)), "options"),
    ] {
        assert!(holds(&condition, &syn()).contains(why), "{condition}: {}", holds(&condition, &syn()));
    }
}

#[test]
fn a_known_bit_can_settle_what_other_bits_leave_open() {
    // The reserved bits beside the data offset are not known, the flags are.
    let word = json!({ "payload": { "base": "th", "offset": 96, "len": 16 } });
    check(
        &syn(),
        &[that(&json!({ "&": [word.clone(), 0x3f] }), "==", &json!(2))],
        &[that(&word, "==", &json!(0x10)), that(&json!({ "&": [word.clone(), 0x12] }), "==", &json!(0x12))],
    );
}

#[test]
fn headers_of_other_protocols_do_not_match_negated_or_not() {
    check(
        &syn(),
        &[that(&field("tcp", "dport"), "!=", &json!(81)), that(&field("th", "dport"), "==", &json!(80))],
        &[
            that(&field("udp", "dport"), "!=", &json!(81)),
            that(&field("icmp", "type"), "!=", &json!("echo-request")),
            that(&field("ip6", "saddr"), "!=", &json!("::1")),
            that(&field("arp", "operation"), "!=", &json!("request")),
            that(&field("ether", "saddr"), "!=", &json!("02:00:00:00:00:01")),
            that(&field("vlan", "id"), "!=", &json!(1)),
        ],
    );
    let ping = icmp("10.0.0.1", "10.0.0.2", 8, 0);
    check(
        &ping,
        &[
            that(&field("icmp", "type"), "==", &json!("echo-request")),
            that(&field("icmp", "id"), "==", &json!(7)),
            that(&field("icmp", "code"), "==", &json!({ "set": [0, 1] })),
        ],
        // Only messages of these types have the field.
        &[that(&field("icmp", "mtu"), "!=", &json!(0)), that(&field("icmp", "id"), "!=", &json!(7))],
    );
    // Where ports would be, an ICMP message has its checksum.
    assert!(holds(&that(&field("th", "dport"), "==", &json!(53)), &ping).contains("not known"));
}

#[test]
fn link_layer_and_tags() {
    let mut view = syn();
    view.ether = Some(Ether {
        source: Mac([2, 0, 0, 0, 0, 1]),
        destination: Mac([2, 0, 0, 0, 0, 2]),
        ethertype: 0x0800,
        vlan: Some(0x6064),
    });
    check(
        &view,
        &[
            that(&field("ether", "saddr"), "==", &json!("02:00:00:00:00:01")),
            that(&field("vlan", "id"), "==", &json!(100)),
            that(&field("vlan", "pcp"), "==", &json!(3)),
            that(&meta("protocol"), "==", &json!("ip")),
        ],
        &[that(&field("ether", "daddr"), "==", &json!("02:00:00:00:00:01"))],
    );
}

#[test]
fn of_a_later_fragment_the_header_is_not_known() {
    let mut view = udp("10.0.0.1", "10.0.0.2", 53);
    let Network::Ip(header) = &mut view.network else { unreachable!() };
    header.fragment = Some(Fragment { offset: 185, more: false });
    view.transport = Transport::Other;
    assert!(holds(&that(&field("udp", "dport"), "==", &json!(53)), &view).contains("not known"));
    assert!(holds(&that(&field("udp", "dport"), "!=", &json!(53)), &view).contains("not known"));
    check(
        &view,
        &[
            that(&meta("l4proto"), "==", &json!("udp")),
            that(&json!({ "&": [field("ip", "frag-off"), 0x1fff] }), "!=", &json!(0)),
        ],
        &[that(&field("tcp", "dport"), "==", &json!(53))],
    );
}

#[test]
fn extension_headers_and_options() {
    let exists = |body: serde_json::Value, it: bool| that(&body, "==", &json!(it));
    let frag = json!({ "exthdr": { "name": "frag" } });
    let mut fragment = syn();
    let mut header = IpHeader::new(address("fd00::1"), address("fd00::2"), 6);
    check(&fragment, &[], &[exists(frag.clone(), true), exists(frag.clone(), false)]);
    fragment.network = Network::Ip(header.clone());
    check(&fragment, &[exists(frag.clone(), false)], &[exists(frag.clone(), true)]);
    header.fragment = Some(Fragment { offset: 0, more: true });
    fragment.network = Network::Ip(header);
    let more = json!({ "exthdr": { "name": "frag", "field": "more-fragments" } });
    let hops = json!({ "exthdr": { "name": "hbh" } });
    check(&fragment, &[exists(frag.clone(), true), that(&more, "==", &json!(1)), exists(hops, false)], &[]);
    let size = json!({ "tcp option": { "name": "maxseg", "field": "size" } });
    check(&syn(), &[that(&size, "==", &json!({ "range": [1400, 1500] }))], &[that(&size, "<", &json!(1460))]);
    let route = json!({ "ip option": { "name": "lsrr" } });
    check(&syn(), &[exists(route.clone(), false)], &[exists(route, true)]);
}

#[test]
fn states_and_bits_of_connections() {
    let ct = |key: &str| json!({ "ct": { "key": key } });
    let way = |key: &str, dir: &str| json!({ "ct": { "key": key, "dir": dir } });
    let mut view = connected(syn(), ConnectionState::Established);
    let connection = view.connection.as_mut().unwrap();
    connection.status |= ConnectionStatus::SEEN_REPLY | ConnectionStatus::DESTINATION_NAT;
    connection.mark = 0x33;
    connection.reply.source = address("10.9.9.9");
    check(
        &view,
        &[
            that(&ct("state"), "in", &json!(["established", "related"])),
            that(&ct("state"), "==", &json!({ "set": ["established", "related"] })),
            that(&ct("state"), "!=", &json!("new")),
            that(&ct("state"), "!", &json!(["new", "invalid"])),
            that(&ct("status"), "in", &json!("dnat")),
            that(&ct("status"), "in", &json!(["snat", "dnat"])),
            that(&ct("status"), "!", &json!("assured")),
            that(&ct("direction"), "==", &json!("original")),
            that(&ct("mark"), "==", &json!(0x33)),
            that(&way("ip saddr", "reply"), "==", &json!("10.9.9.9")),
            that(&way("proto-dst", "original"), "==", &json!(80)),
            that(&ct("l3proto"), "==", &json!("ipv4")),
            that(&ct("protocol"), "==", &json!("tcp")),
            that(&ct("zone"), "==", &json!(0)),
        ],
        &[
            that(&ct("state"), "in", &json!("new")),
            that(&ct("state"), "!", &json!(["established", "new"])),
            that(&ct("status"), "in", &json!("snat")),
            that(&ct("direction"), "!=", &json!("original")),
            that(&way("ip6 saddr", "reply"), "!=", &json!("::1")),
            that(&ct("helper"), "==", &json!("ftp")),
        ],
    );
    for (key, right) in [("expiration", json!(30)), ("id", json!(12345)), ("label", json!(127))] {
        let answer = holds(&that(&ct(key), "==", &right), &view);
        assert!(answer.contains("not known"), "{key}: {answer}");
    }
    // Before tracking a packet has no connection, but its state is a question all the same.
    check(
        &syn(),
        &[that(&ct("state"), "in", &json!("invalid"))],
        &[that(&ct("mark"), "==", &json!(0)), that(&ct("direction"), "!=", &json!("reply"))],
    );
    check(
        &connected(syn(), ConnectionState::Untracked),
        &[that(&ct("state"), "in", &json!("untracked"))],
        &[],
    );
}

#[test]
fn lookups_of_routes_and_types_of_addresses() {
    let fib = |result: &str, flags: &[&str]| json!({ "fib": { "result": result, "flags": flags } });
    let mut world = World::default();
    world.kinds.insert(address("10.0.0.2"), RouteKind::Local);
    let view = at_devices();
    let is = |world: &mut World, condition| holds_in(&[], &condition, &view, world);
    assert_eq!(is(&mut world, that(&fib("type", &["daddr"]), "==", &json!("local"))), "yes");
    assert_eq!(is(&mut world, that(&fib("type", &["saddr"]), "==", &json!({ "set": ["local"] }))), "no");
    assert_eq!(is(&mut world, that(&fib("type", &["daddr", "iif"]), "!=", &json!("local"))), "no");
    assert!(world.queries.borrow().iter().any(|it| it == "kind 10.0.0.2 Some(\"eth0\")"));
    // No route: what nft calls missing.
    world.device = Observed::Absent;
    assert_eq!(is(&mut world, that(&fib("oif", &["saddr", "mark", "iif"]), "==", &json!(false))), "yes");
    assert_eq!(is(&mut world, that(&fib("oif", &["saddr", "iif"]), "==", &json!(true))), "no");
    assert_eq!(is(&mut world, that(&fib("oifname", &["daddr"]), "==", &json!("eth0"))), "no");
    world.device = Observed::Known(RouteDevice { name: "eth0".to_owned(), index: Some(2) });
    assert_eq!(is(&mut world, that(&fib("oif", &["saddr", "iif"]), "==", &json!(false))), "no");
    assert_eq!(is(&mut world, that(&fib("oif", &["saddr", "iif"]), "!=", &json!("0"))), "yes");
    assert_eq!(is(&mut world, that(&fib("oifname", &["daddr"]), "==", &json!("eth*"))), "yes");
    world.device = unread();
    assert!(is(&mut world, that(&fib("oif", &["saddr", "iif"]), "==", &json!(false))).contains("route"));
}

#[test]
fn sockets_routes_and_transforms() {
    let mut world = World::default();
    let socket = |key: &str| json!({ "socket": { "key": key } });
    let is = |world: &mut World, condition| holds_in(&[], &condition, &syn(), world);
    assert!(is(&mut world, that(&socket("transparent"), "==", &json!(1))).contains("socket"));
    world.socket = Observed::Absent;
    assert_eq!(is(&mut world, that(&socket("transparent"), "==", &json!(0))), "no");
    world.socket = Observed::Known(FoundSocket { transparent: true, wildcard: false, mark: 7 });
    assert_eq!(is(&mut world, that(&socket("transparent"), "==", &json!(1))), "yes");
    assert_eq!(is(&mut world, that(&socket("mark"), "==", &json!(7))), "yes");
    assert_eq!(is(&mut world, that(&socket("wildcard"), "==", &json!(1))), "no");
    let route =
        PacketRoute { next_hop: address("10.0.0.254"), class_id: 0x2a, tcp_mss: 1400, is_transformed: false };
    world.route = Observed::Known(route);
    let rt = |key: &str| json!({ "rt": { "key": key } });
    let hop = json!({ "rt": { "key": "nexthop", "family": "ip" } });
    assert_eq!(is(&mut world, that(&hop, "==", &json!("10.0.0.254"))), "yes");
    assert_eq!(is(&mut world, that(&rt("classid"), "==", &json!(42))), "yes");
    assert_eq!(is(&mut world, that(&rt("mtu"), "<", &json!(1400))), "no");
    assert_eq!(is(&mut world, that(&rt("ipsec"), "==", &json!(true))), "no");
    let reqid = json!({ "ipsec": { "key": "reqid", "dir": "in", "spnum": 0 } });
    assert_eq!(is(&mut world, that(&reqid, "==", &json!(1))), "no");
    assert_eq!(is(&mut world, that(&meta("ipsec"), "==", &json!(true))), "no");
}

#[test]
fn chance_is_asked_with_the_probability_of_the_condition() {
    let mut world = World::default();
    let numgen = json!({ "numgen": { "mode": "random", "mod": 10, "offset": 0 } });
    assert_eq!(holds_in(&[], &that(&numgen, "<", &json!(3)), &syn(), &mut world), "yes");
    let random = that(&meta("random"), "<=", &json!(0x3fff_ffff_u32));
    assert_eq!(holds_in(&[], &random, &syn(), &mut world), "yes");
    let hash = json!({ "jhash": { "mod": 4, "expr": field("ip", "saddr") } });
    world.pick = 1;
    assert_eq!(holds_in(&[], &that(&hash, "==", &json!({ "set": [0, 3] })), &syn(), &mut world), "no");
    assert_eq!(world.weights, [vec![0.3, 0.7], vec![0.25, 0.75], vec![0.5, 0.5]]);
    // What is certain is not left to chance, and what is hashed must be there.
    world.weights.clear();
    assert_eq!(holds_in(&[], &that(&numgen, "!=", &json!(11)), &syn(), &mut world), "yes");
    assert_eq!(holds_in(&[], &that(&hash, "!=", &json!(9)), &udp("fd00::1", "fd00::2", 1), &mut world), "no");
    assert!(world.weights.is_empty());
}

fn set(name: &str, kind: serde_json::Value, flags: &[&str], elem: serde_json::Value) -> serde_json::Value {
    let mut set =
        json!({ "family": "inet", "name": name, "table": "t", "type": kind, "handle": 5, "elem": elem });
    if !flags.is_empty() {
        set["flags"] = json!(flags);
    }
    json!({ "set": set })
}

#[test]
fn named_sets_of_addresses_networks_ranges_and_names() {
    let nets = json!([
        { "prefix": { "addr": "10.1.0.0", "len": 16 } },
        { "range": ["10.0.0.5", "10.0.0.9"] },
        "192.168.0.1",
    ]);
    let items = [
        set("nets", json!("ipv4_addr"), &["interval"], nets),
        set("names", json!("ifname"), &["interval"], json!(["eth*", "lo"])),
        set(
            "seen",
            json!("ipv4_addr"),
            &["timeout", "dynamic"],
            json!([
                { "elem": { "val": "10.0.0.1", "timeout": 60, "expires": 30, "comment": "a host",
                            "counter": { "packets": 3, "bytes": 4 } } },
            ]),
        ),
    ];
    let mut world = World::default();
    let mut is = |left, op, right: &str, from: &str| {
        holds_in(&items, &that(&left, op, &json!(right)), &udp(from, "10.0.0.2", 53), &mut world)
    };
    let source = field("ip", "saddr");
    assert_eq!(is(source.clone(), "==", "@nets", "10.1.200.3"), "yes");
    assert_eq!(is(source.clone(), "==", "@nets", "10.0.0.9"), "yes");
    assert_eq!(is(source.clone(), "==", "@nets", "10.0.0.10"), "no");
    assert_eq!(is(source.clone(), "!=", "@nets", "10.0.0.4"), "yes");
    assert_eq!(is(source.clone(), "==", "@seen", "10.0.0.1"), "yes");
    assert_eq!(is(source.clone(), "!=", "@nets", "fd00::1"), "no");
    assert_eq!(
        holds_in(&items, &that(&meta("iifname"), "==", &json!("@names")), &at_devices(), &mut world),
        "yes"
    );
    assert_eq!(
        holds_in(&items, &that(&meta("oifname"), "==", &json!("@names")), &at_devices(), &mut world),
        "no"
    );
    let missing = holds_in(&items, &that(&source, "==", &json!("@gone")), &syn(), &mut world);
    assert_eq!(missing, "a set is not known");
}

#[test]
fn concatenations_with_ranges_in_any_part() {
    let key = json!({ "concat": [field("ip", "saddr"), meta("l4proto"), field("th", "dport")] });
    let elements = json!([
        { "concat": [{ "prefix": { "addr": "10.0.0.0", "len": 24 } }, "tcp", { "range": [80, 90] }] },
        { "concat": ["10.0.0.7", "udp", 53] },
    ]);
    let items =
        [set("services", json!(["ipv4_addr", "inet_proto", "inet_service"]), &["interval"], elements)];
    let mut world = World::default();
    let condition = that(&key, "==", &json!("@services"));
    assert_eq!(holds_in(&items, &condition, &syn(), &mut world), "yes");
    assert_eq!(holds_in(&items, &condition, &udp("10.0.0.7", "1.1.1.1", 53), &mut world), "yes");
    assert_eq!(holds_in(&items, &condition, &udp("10.0.0.8", "1.1.1.1", 53), &mut world), "no");
    // The port of an ICMP message is not known, but no element is for its protocol.
    assert_eq!(holds_in(&items, &condition, &icmp("10.0.0.7", "1.1.1.1", 8, 0), &mut world), "no");
    let anonymous = json!({ "set": [{ "concat": ["new", 1] }, { "concat": ["established", 2] }] });
    let key = json!({ "concat": [{ "ct": { "key": "state" } }, { "ct": { "key": "mark" } }] });
    let mut view = connected(syn(), ConnectionState::New);
    view.connection.as_mut().unwrap().mark = 1;
    assert_eq!(holds(&that(&key, "==", &anonymous), &view), "yes");
    view.connection.as_mut().unwrap().mark = 2;
    assert_eq!(holds(&that(&key, "==", &anonymous), &view), "no");
}

#[test]
fn flags_of_segments() {
    let flags = field("tcp", "flags");
    check(
        &syn(),
        &[
            that(&flags, "==", &json!("syn")),
            that(&flags, "in", &json!(["syn", "rst"])),
            that(&flags, "!", &json!("ack")),
            that(
                &json!({ "&": [flags.clone(), { "|": ["fin", "syn", "rst", "ack"] }] }),
                "==",
                &json!("syn"),
            ),
            that(&flags, "==", &json!({ "set": [{ "|": ["syn", "ack"] }, "syn"] })),
        ],
        &[
            that(&flags, "!=", &json!("syn")),
            that(&flags, "!", &json!(["syn", "ack"])),
            that(&flags, "==", &json!({ "|": ["syn", "ack"] })),
            that(&flags, "==", &json!({ "set": [{ "|": ["syn", "ack"] }] })),
        ],
    );
}

#[test]
fn conditions_stand_before_one_another() {
    // What is known to fail keeps what is not known from being asked.
    let mut world = World { follow: true, ..World::default() };
    let time = that(&meta("hour"), "==", &json!("17:00"));
    let never = that(&field("tcp", "dport"), "==", &json!(81));
    let counter = json!({ "counter": { "packets": 1, "bytes": 60 } });
    let statements = json!([time, counter, never, { "drop": null }]);
    let outcome = does("forward", &[], &statements, &syn(), &mut world);
    assert!(outcome.is_by_policy() && outcome.is_certain() && outcome.verdict == Verdict::Accept);
    let always = that(&field("tcp", "dport"), "==", &json!(80));
    let statements = json!([time, always, { "drop": null }]);
    let outcome = does("forward", &[], &statements, &syn(), &mut world);
    assert_eq!((outcome.verdict, outcome.assumptions.len()), (Verdict::Drop, 1));
}
