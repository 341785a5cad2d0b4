//! Statements.

use hopwise_snapshot::Observed;
use serde_json::{Value as Json, json};

use super::{after, does, field, listing, meta, said, that, understood};
use crate::{
    ConnectionState, Effect, FoundSocket, Hook, How, NatKind, Queue, RejectWith, Side, Transport, Verdict,
    testing::{World, address, connected, run, syn, udp, unread},
};

fn chain(name: &str) -> Json {
    json!({ "chain": { "family": "inet", "table": "t", "name": name, "handle": 77 } })
}

fn rule(chain: &str, statements: Json) -> Json {
    json!({ "rule": { "family": "inet", "table": "t", "chain": chain, "handle": 99, "expr": statements } })
}

fn map(name: &str, key: Json, value: Json, elem: Json) -> Json {
    json!({ "map": { "family": "inet", "name": name, "table": "t", "type": key, "handle": 6, "map": value,
                     "elem": elem } })
}

#[test]
fn verdicts() {
    for (statements, verdict, by_policy) in [
        (json!([{ "accept": null }, { "drop": null }]), Verdict::Accept, false),
        (json!([{ "drop": null }]), Verdict::Drop, false),
        (json!([{ "continue": null }, { "drop": null }]), Verdict::Drop, false),
        (json!([{ "return": null }, { "drop": null }]), Verdict::Accept, true),
        (json!([{ "queue": null }]), Verdict::Queue(Queue { from: 0, to: 0, bypass: false }), false),
    ] {
        let outcome = does("forward", &[], &statements, &syn(), &mut World::default());
        assert_eq!((outcome.verdict.clone(), outcome.is_by_policy()), (verdict, by_policy), "{statements}");
    }
}

#[test]
fn jumps_come_back_and_gotos_do_not() {
    let items = [
        chain("a"),
        chain("b"),
        rule("a", json!([{ "goto": { "target": "b" } }])),
        rule("a", json!([{ "drop": null }])),
        rule("b", json!([{ "counter": { "packets": 0, "bytes": 0 } }])),
    ];
    let rules =
        [json!([{ "jump": { "target": "a" } }]), json!([{ "accept": null }]), json!([{ "drop": null }])];
    let ruleset = understood(&listing("forward", &items, &rules));
    let outcome = run(&ruleset, Hook::Forward, &mut syn(), &mut World::default());
    assert_eq!(outcome.verdict, Verdict::Accept);
    let path: Vec<String> = outcome.path.iter().map(|it| ruleset.describe(it.rule)).collect();
    assert_eq!(path, ["inet t f jump a", "inet t a goto b", "inet t b counter", "inet t f accept"]);
}

#[test]
fn verdict_maps() {
    let verdicts = json!([
        [{ "concat": ["10.0.0.2", "tcp", 80] }, { "goto": { "target": "web" } }],
        [{ "concat": ["10.0.0.2", "udp", 53] }, { "drop": null }],
    ]);
    let items = [
        chain("web"),
        map("services", json!(["ipv4_addr", "inet_proto", "inet_service"]), json!("verdict"), verdicts),
        rule("web", json!([{ "reject": { "type": "tcp reset" } }])),
    ];
    let key = json!({ "concat": [field("ip", "daddr"), meta("l4proto"), field("th", "dport")] });
    let vmap = json!([{ "vmap": { "key": key, "data": "@services" } }]);
    let mut world = World::default();
    let web = does("forward", &items, &vmap, &syn(), &mut world);
    assert_eq!(web.verdict, Verdict::Reject(RejectWith::TcpReset));
    let dns = does("forward", &items, &vmap, &udp("10.0.0.1", "10.0.0.2", 53), &mut world);
    assert_eq!((dns.verdict, dns.path.len()), (Verdict::Drop, 1));
    let other = does("forward", &items, &vmap, &udp("10.0.0.1", "10.0.0.2", 54), &mut world);
    assert!(other.is_by_policy() && other.path.is_empty());
    let anything = json!([{ "vmap": { "key": meta("mark"),
        "data": { "set": [[1, { "accept": null }], ["*", { "drop": null }]] } } }]);
    assert_eq!(does("forward", &[], &anything, &syn(), &mut world).verdict, Verdict::Drop);
    let unknown = json!([{ "vmap": { "key": meta("cpu"), "data": { "set": [[1, { "drop": null }]] } } }]);
    let outcome = does("forward", &[], &unknown, &syn(), &mut world);
    assert!(outcome.is_by_policy() && !outcome.is_certain());
}

#[test]
fn chance_picks_a_verdict_with_the_weight_of_its_share() {
    let items = [
        chain("a"),
        chain("b"),
        rule("a", json!([{ "accept": null }])),
        rule("b", json!([{ "drop": null }])),
    ];
    let to = |chain: &str| json!({ "goto": { "target": chain } });
    let vmap = |key: Json, elements: Json| json!([{ "vmap": { "key": key, "data": { "set": elements } } }]);
    let numgen = |modulus: u32| json!({ "numgen": { "mode": "random", "mod": modulus, "offset": 0 } });
    // Equal outcomes are one, and what no element is for goes on.
    let elements = json!([[{ "range": [0, 4] }, to("a")], [5, to("b")], [6, to("a")], [7, to("b")]]);
    for (pick, verdict) in [(0, Verdict::Accept), (1, Verdict::Drop), (2, Verdict::Accept)] {
        let mut world = World { pick, ..World::default() };
        let outcome = does("forward", &items, &vmap(numgen(10), elements.clone()), &syn(), &mut world);
        assert_eq!((&outcome.verdict, outcome.is_by_policy()), (&verdict, pick == 2));
        let weights = world.weights[0].iter().map(|it| (it * 10.0).round());
        assert_eq!(weights.collect::<Vec<_>>(), [6.0, 2.0, 2.0]);
        assert_eq!(outcome.path.first().map(|it| it.how), (pick < 2).then_some(How::Chosen));
    }
    let mut world = World::default();
    let one = vmap(numgen(1), json!([[0, to("b")]]));
    assert_eq!(does("forward", &items, &one, &syn(), &mut world).verdict, Verdict::Drop);
    assert!(world.weights.is_empty());
}

#[test]
fn marks_are_set_from_masks_maps_and_chance() {
    let set = |key: Json, value: Json| json!([{ "mangle": { "key": key, "value": value } }]);
    let mut view = connected(syn(), ConnectionState::New);
    view.mark = 0x4012;
    view.connection.as_mut().unwrap().mark = 0x100;
    let ct_mark = json!({ "ct": { "key": "mark" } });
    for (value, mark) in [
        (json!(7), 7),
        (json!({ "|": [meta("mark"), 0x4000] }), 0x4012),
        (json!({ "^": [meta("mark"), 0x4000] }), 0x12),
        (json!({ "^": [{ "&": [meta("mark"), 0xff] }, 0x64] }), 0x76),
        (json!({ "|": [meta("mark"), ct_mark] }), 0x4112),
        (json!({ "map": { "key": field("ip", "saddr"), "data": { "set": [["10.0.0.1", 9]] } } }), 9),
        (json!({ "numgen": { "mode": "inc", "mod": 4, "offset": 100 } }), 102),
    ] {
        let mut world = World { pick: 2, ..World::default() };
        let (outcome, view) = after("forward", &[], &set(meta("mark"), value.clone()), &view, &mut world);
        assert_eq!(view.mark, mark, "{value}");
        assert!(outcome.is_by_policy() && outcome.is_certain());
        assert!(mark == 0x4012 || matches!(outcome.effects[0].1, Effect::Mark { from: 0x4012, .. }));
    }
    let (outcome, view) =
        after("forward", &[], &set(ct_mark.clone(), meta("mark")), &view, &mut World::default());
    assert_eq!(view.connection.unwrap().mark, 0x4012);
    assert_eq!(outcome.effects[0].1, Effect::ConnectionMark { from: 0x100, to: 0x4012 });
    let (outcome, _) = after("forward", &[], &set(ct_mark, json!(1)), &syn(), &mut World::default());
    assert!(outcome.effects.is_empty(), "no connection to mark");
}

#[test]
fn headers_are_written() {
    let set = |key: Json, value: Json| json!([{ "mangle": { "key": key, "value": value } }]);
    let mut world = World::default();
    let mut change = |key, value| after("forward", &[], &set(key, value), &syn(), &mut world).1;
    assert_eq!(change(field("ip", "ttl"), json!(5)).header().unwrap().ttl, 5);
    assert_eq!(change(field("ip", "dscp"), json!("ef")).header().unwrap().tos, 46 << 2);
    assert_eq!(change(field("ip", "ecn"), json!("ce")).header().unwrap().tos, 3);
    let to = address("10.9.9.9");
    assert_eq!(change(field("ip", "daddr"), json!("10.9.9.9")).header().unwrap().destination, to);
    assert_eq!(change(field("tcp", "dport"), json!(8080)).ports().unwrap().1, 8080);
    // Not its header: the rule does not match.
    assert_eq!(change(field("udp", "dport"), json!(8080)).ports().unwrap().1, 80);
    let size = json!({ "tcp option": { "name": "maxseg", "field": "size" } });
    let Transport::Tcp(tcp) = change(size.clone(), json!(1360)).transport else { unreachable!() };
    assert_eq!(tcp.mss, Some(1360));
    let Transport::Tcp(tcp) = change(size, json!({ "rt": { "key": "mtu" } })).transport else {
        unreachable!()
    };
    assert_eq!(tcp.mss, Some(1460), "the route is not known");
}

#[test]
fn translations() {
    let nat = |hook: &str, statement: Json, view| {
        let outcome = does(hook, &[], &json!([statement]), &view, &mut World::default());
        match outcome.verdict {
            Verdict::Nat(action) => Some(action),
            _ => None,
        }
    };
    let to = |text: &str| Some((address(text), address(text)));
    let action =
        nat("prerouting", json!({ "dnat": { "family": "ip", "addr": "10.1.1.1", "port": 8080 } }), syn());
    let action = action.unwrap();
    assert_eq!(
        (action.kind, action.side, action.addresses),
        (NatKind::Dnat, Side::Destination, to("10.1.1.1"))
    );
    assert_eq!((action.ports, action.random), (Some((8080, 8080)), false));
    let v6 = udp("fd00::1", "fd00::2", 53);
    let only_v4 = json!({ "dnat": { "family": "ip", "addr": "10.1.1.1" } });
    assert_eq!(nat("prerouting", only_v4, v6.clone()), None);
    let range = json!({ "snat": { "family": "ip", "addr": { "range": ["10.1.1.1", "10.1.1.9"] },
        "port": { "range": [1000, 2000] }, "flags": ["random", "persistent"] } });
    let action = nat("postrouting", range, syn()).unwrap();
    assert_eq!(action.addresses, Some((address("10.1.1.1"), address("10.1.1.9"))));
    assert_eq!((action.ports, action.random, action.persistent), (Some((1000, 2000)), true, true));
    let action = nat("postrouting", json!({ "masquerade": { "flags": "fully-random" } }), v6).unwrap();
    assert_eq!((action.kind, action.side, action.random), (NatKind::Masquerade, Side::Source, true));
    let action = nat("postrouting", json!({ "masquerade": null }), syn()).unwrap();
    assert_eq!((action.kind, action.addresses), (NatKind::Masquerade, None));
    let action = nat("prerouting", json!({ "redirect": { "port": 8080 } }), syn()).unwrap();
    assert_eq!((action.kind, action.ports), (NatKind::Redirect, Some((8080, 8080))));
    let network = json!({ "dnat": { "family": "ip", "addr": { "map": { "key": field("ip", "daddr"), "data": { "set":
        [[{ "prefix": { "addr": "10.0.0.0", "len": 24 } }, { "prefix": { "addr": "10.9.9.0", "len": 24 } }]] } } },
        "flags": "netmap", "type_flags": "prefix" } });
    let action = nat("prerouting", network, syn()).unwrap();
    assert_eq!((action.kind, action.addresses), (NatKind::Netmap, to("10.9.9.2")));
}

#[test]
fn translations_by_map_and_by_chance() {
    let data = json!([[{ "concat": ["10.0.0.2", "tcp", 80] }, { "concat": ["10.7.7.7", 8443] }]]);
    let key = json!(["ipv4_addr", "inet_proto", "inet_service"]);
    let items = [map("services", key, json!(["ipv4_addr", "inet_service"]), data)];
    let key = json!({ "concat": [field("ip", "daddr"), meta("l4proto"), field("th", "dport")] });
    let dnat =
        json!([{ "dnat": { "family": "ip", "addr": { "map": { "key": key, "data": "@services" } } } }]);
    let outcome = does("prerouting", &items, &dnat, &syn(), &mut World::default());
    let Verdict::Nat(action) = outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(action.addresses, Some((address("10.7.7.7"), address("10.7.7.7"))));
    assert_eq!(action.ports, Some((8443, 8443)));
    let miss = does("prerouting", &items, &dnat, &udp("10.0.0.1", "10.0.0.2", 80), &mut World::default());
    assert!(miss.is_by_policy() && miss.path.is_empty());
    let hash = json!({ "jhash": { "mod": 3, "expr": field("ip", "saddr") } });
    let ends = json!({ "set": [[0, "10.7.7.1"], [1, "10.7.7.2"], [2, "10.7.7.1"]] });
    let dnat =
        json!([{ "dnat": { "family": "ip", "addr": { "map": { "key": hash, "data": ends } }, "port": 80 } }]);
    let mut world = World { pick: 1, ..World::default() };
    let outcome = does("prerouting", &[], &dnat, &syn(), &mut world);
    let Verdict::Nat(action) = outcome.verdict else { panic!("{outcome:?}") };
    assert_eq!(action.addresses.unwrap().0, address("10.7.7.2"));
    assert_eq!(world.weights.len(), 1);
    assert!((world.weights[0][0] - 2.0 / 3.0).abs() < 1e-9);
}

#[test]
fn rejections_by_family() {
    let reject =
        |body: Json, view| does("forward", &[], &json!([{ "reject": body }]), &view, &mut World::default());
    let icmp = |kind, code| Verdict::Reject(RejectWith::Icmp { kind, code });
    let (v4, v6) = (syn(), udp("fd00::1", "fd00::2", 53));
    for (code, in_v4, in_v6) in [
        ("no-route", (3, 0), (1, 0)),
        ("port-unreachable", (3, 3), (1, 4)),
        ("host-unreachable", (3, 1), (1, 3)),
        ("admin-prohibited", (3, 13), (1, 1)),
    ] {
        let body = json!({ "type": "icmpx", "expr": code });
        assert_eq!(reject(body.clone(), v4.clone()).verdict, icmp(in_v4.0, in_v4.1), "{code}");
        assert_eq!(reject(body, v6.clone()).verdict, icmp(in_v6.0, in_v6.1), "{code}");
    }
    let body = json!({ "type": "icmp", "expr": "host-prohibited" });
    assert_eq!(reject(body.clone(), v4.clone()).verdict, icmp(3, 10));
    assert!(reject(body, v6.clone()).is_by_policy());
    assert_eq!(reject(json!({ "type": "icmpv6", "expr": "policy-fail" }), v6.clone()).verdict, icmp(1, 5));
    assert_eq!(
        reject(json!({ "type": "tcp reset" }), v4.clone()).verdict,
        Verdict::Reject(RejectWith::TcpReset)
    );
    assert!(reject(json!({ "type": "tcp reset" }), v6.clone()).is_by_policy());
    assert_eq!(reject(Json::Null, v4).verdict, icmp(3, 3));
    assert_eq!(reject(Json::Null, v6).verdict, icmp(1, 4));
}

#[test]
fn what_depends_on_history_may_go_either_way() {
    for statement in [
        json!({ "limit": { "rate": 20, "burst": 5, "per": "second" } }),
        json!({ "limit": { "rate": 1, "burst": 0, "per": "second", "rate_unit": "kbytes", "inv": true } }),
        json!({ "quota": { "val": 1025, "val_unit": "kbytes", "used": 3, "used_unit": "bytes", "inv": true } }),
        json!({ "ct count": { "val": 3, "inv": true } }),
    ] {
        for follow in [true, false] {
            let mut world = World { follow, ..World::default() };
            let rule = json!([statement, { "drop": null }]);
            let outcome = does("forward", &[], &rule, &syn(), &mut world);
            assert_eq!(outcome.verdict == Verdict::Drop, follow, "{statement}");
            assert_eq!(world.asked.len(), 1);
        }
    }
}

#[test]
fn what_changes_nothing_is_passed() {
    for statement in [
        json!({ "counter": { "packets": 1, "bytes": 2 } }),
        json!({ "log": null }),
        json!({ "log": { "prefix": "a b ", "group": 2, "snaplen": 33 } }),
        json!({ "last": { "used": 5000 } }),
        json!({ "last": null }),
    ] {
        let rule = json!([statement, { "drop": null }]);
        let outcome = does("forward", &[], &rule, &syn(), &mut World::default());
        assert!(outcome.verdict == Verdict::Drop && outcome.is_certain(), "{statement}");
    }
}

#[test]
fn sets_are_told_of_elements() {
    let elem = field("ip", "saddr");
    let items =
        [json!({ "set": { "family": "inet", "name": "seen", "table": "t", "type": "ipv4_addr", "handle": 5,
        "size": 100, "flags": ["timeout", "dynamic"], "timeout": 60, "gc-interval": 10 } })];
    let update = |op: &str| json!([{ "set": { "op": op, "elem": elem, "set": "@seen" } }, { "drop": null }]);
    for op in ["add", "update", "delete"] {
        let outcome = does("forward", &items, &update(op), &syn(), &mut World::default());
        assert_eq!(outcome.effects[0].1, Effect::SetChanged("seen".to_owned()), "{op}");
        assert_eq!(outcome.verdict, Verdict::Drop);
    }
    // Without the header there is nothing to add.
    let outcome =
        does("forward", &items, &update("add"), &udp("fd00::1", "fd00::2", 1), &mut World::default());
    assert!(outcome.is_by_policy());
    // A limit within an element, as a meter.
    let limit = json!([{ "limit": { "rate": 20, "burst": 5, "per": "second" } }]);
    let meter =
        json!([{ "set": { "op": "add", "elem": elem, "set": "@seen", "stmt": limit } }, { "drop": null }]);
    let outcome = does("forward", &items, &meter, &syn(), &mut World::default());
    assert!(outcome.is_by_policy() && !outcome.is_certain());
    // As version 1.0.6 prints changes of maps.
    let text = json!(["add @map1 { ip saddr . ip daddr : meta mark }", { "drop": null }]);
    let outcome = does("forward", &[], &text, &syn(), &mut World::default());
    assert_eq!((outcome.verdict, outcome.assumptions.len()), (Verdict::Drop, 0));
}

#[test]
fn tracking_is_left_and_told() {
    let outcome = does("forward", &[], &json!([{ "notrack": null }]), &syn(), &mut World::default());
    assert_eq!(outcome.effects[0].1, Effect::NoTrack);
    let zone = json!([{ "mangle": { "key": { "ct": { "key": "zone" } }, "value": 7 } }]);
    let outcome = does("forward", &[], &zone, &syn(), &mut World::default());
    assert_eq!(outcome.effects[0].1, Effect::Zone(7));
    let tracked = connected(syn(), ConnectionState::New);
    assert!(does("forward", &[], &zone, &tracked, &mut World::default()).effects.is_empty());
    let items = [json!({ "ct helper": { "family": "inet", "name": "ftp-std", "table": "t", "handle": 9,
        "type": "ftp", "protocol": "tcp", "l3proto": "inet" } })];
    let helper = json!([{ "ct helper": "ftp-std" }]);
    let outcome = does("forward", &items, &helper, &tracked, &mut World::default());
    assert_eq!(outcome.effects[0].1, Effect::Helper("ftp-std".to_owned()));
}

#[test]
fn packets_go_elsewhere() {
    let does =
        |statement: Json, view, world: &mut World| does("forward", &[], &json!([statement]), &view, world);
    let mut world = World::default();
    let queue =
        does(json!({ "queue": { "num": { "range": [1, 3] }, "flags": ["bypass"] } }), syn(), &mut world);
    assert_eq!(queue.verdict, Verdict::Queue(Queue { from: 1, to: 3, bypass: true }));
    let copy = does(json!({ "dup": { "addr": "10.7.7.7", "dev": "eth1" } }), syn(), &mut world);
    let (to, by) = (Some(address("10.7.7.7")), Some("\"eth1\"".to_owned()));
    assert_eq!(copy.effects[0].1, Effect::Duplicate { to, by });
    let forward = does(json!({ "fwd": { "dev": "eth1" } }), syn(), &mut world);
    assert_eq!(forward.verdict, Verdict::Stolen("fwd to eth1".to_owned()));
    let synproxy = json!({ "synproxy": { "mss": 1460, "wscale": 7, "flags": ["timestamp", "sack-perm"] } });
    let shake = does(synproxy.clone(), syn(), &mut world);
    assert_eq!(shake.verdict, Verdict::Stolen("synproxy".to_owned()));
    assert!(does(synproxy, udp("10.0.0.1", "10.0.0.2", 1), &mut world).is_by_policy());
    let offload = does(json!({ "flow": { "op": "add", "flowtable": "@ft" } }), syn(), &mut world);
    assert_eq!(offload.effects[0].1, Effect::Offload("ft".to_owned()));
}

#[test]
fn transparent_proxies_need_a_listener() {
    let tproxy =
        json!([{ "tproxy": { "family": "ip", "addr": "127.0.0.1", "port": 50080 } }, { "accept": null }]);
    let mut world = World { socket: Observed::Absent, ..World::default() };
    assert!(does("forward", &[], &tproxy, &syn(), &mut world).is_by_policy());
    world.socket = Observed::Known(FoundSocket { transparent: true, ..FoundSocket::default() });
    let outcome = does("forward", &[], &tproxy, &syn(), &mut world);
    let to = Verdict::Tproxy { address: Some(address("127.0.0.1")), port: Some(50080) };
    assert_eq!(outcome.verdict, to);
    assert!(does("forward", &[], &tproxy, &udp("fd00::1", "fd00::2", 1), &mut world).is_by_policy());
    world.socket = unread();
    assert!(!does("forward", &[], &tproxy, &syn(), &mut world).is_certain());
}

#[test]
fn modules_that_are_known_by_name_alone() {
    let xt = |kind: &str, name: &str| json!([{ "xt": { "type": kind, "name": name } }, { "drop": null }]);
    let mut world = World::default();
    let comment = does("forward", &[], &xt("match", "comment"), &syn(), &mut world);
    assert!(comment.verdict == Verdict::Drop && comment.is_certain());
    let state = does("forward", &[], &xt("match", "conntrack"), &syn(), &mut world);
    assert!(state.is_by_policy() && state.assumptions[0].why.contains("`conntrack`"));
    let target =
        does("forward", &[], &json!([{ "xt": { "type": "target", "name": "MARK" } }]), &syn(), &mut world);
    assert!(target.is_by_policy() && target.assumptions[0].why.contains("`MARK`"));
}

#[test]
fn rules_are_said_in_the_words_of_nft() {
    for (statements, words) in [
        (
            json!([that(&field("ip", "saddr"), "==", &json!({ "set": ["10.0.0.1", { "prefix": { "addr": "10.1.0.0", "len": 16 } }] })),
                { "drop": null }]),
            "ip saddr { 10.0.0.1, 10.1.0.0/16 } drop",
        ),
        (
            json!([that(&json!({ "ct": { "key": "state" } }), "in", &json!(["established", "related"])), { "accept": null }]),
            "ct state established,related accept",
        ),
        (
            json!([that(&meta("iifname"), "!=", &json!("eth*")), { "counter": { "packets": 7, "bytes": 9 } },
                { "jump": { "target": "x" } }]),
            "iifname != \"eth*\" jump x",
        ),
        (
            json!([{ "mangle": { "key": meta("mark"), "value": { "|": [meta("mark"), 16384] } } }]),
            "meta mark set meta mark | 0x00004000",
        ),
        (
            json!([{ "dnat": { "family": "ip6", "addr": "fd00::9", "port": 443 } }]),
            "dnat ip6 to [fd00::9]:443",
        ),
        (json!([{ "log": { "prefix": "in: ", "level": "info" } }]), "log prefix \"in: \" level info"),
    ] {
        let hook = if words.starts_with("dnat") { "prerouting" } else { "forward" };
        let ruleset = understood(&listing(hook, &[chain("x")], std::slice::from_ref(&statements)));
        assert_eq!(said(&ruleset), words);
    }
}

#[test]
fn counters_and_comments_belong_to_the_rule() {
    let mut listing =
        listing("forward", &[], &[json!([{ "counter": { "packets": 7, "bytes": 9 } }, { "accept": null }])]);
    listing["nftables"][3]["rule"]["comment"] = json!("why not");
    let ruleset = understood(&listing);
    let rule = &ruleset.tables[0].chains.get("f").unwrap().rules[0];
    assert_eq!((rule.handle, rule.position, rule.line), (Some(10), 1, None));
    assert_eq!(rule.counters.map(|it| (it.packets, it.bytes)), Some((7, 9)));
    assert_eq!(rule.comment.as_deref(), Some("why not"));
    assert_eq!(rule.text, "accept comment \"why not\"");
}
