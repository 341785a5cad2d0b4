//! Queueing disciplines and filters.

use hopwise_snapshot::{Link, Qdisc, TcAction, TokenBucket, U32Key};
use serde_json::Value;

use crate::harness::{Namespace, known};

const LINKS: &str = "ip link set lo up
    ip link add v0 type veth peer name v1
    ip link add v2 type veth peer name v3
    ip link set v0 up; ip link set v1 up; ip link set v2 up; ip link set v3 up";

/// `1:2` or `ffff:` as a handle.
fn handle(text: &str) -> u32 {
    let (major, minor) = text.split_once(':').unwrap();
    let number = |it: &str| u32::from_str_radix(it, 16).unwrap_or(0);
    number(major) << 16 | number(minor)
}

/// Checks every field that `tc -s -j qdisc` prints of what was collected.
fn check(qdisc: &Qdisc, printed: &Value, links: &[Link]) {
    let link = links.iter().find(|it| it.index == qdisc.link).unwrap();
    assert_eq!(printed["dev"], link.name.as_str());
    assert_eq!(printed["kind"], qdisc.kind.as_str());
    assert_eq!(handle(printed["handle"].as_str().unwrap()), qdisc.handle);
    assert_eq!(printed["root"].as_bool().unwrap_or(false), qdisc.is_root());
    if let Some(parent) = printed["parent"].as_str() {
        assert_eq!(handle(parent), qdisc.parent);
    }
    assert_eq!(printed["drops"].as_u64().unwrap(), qdisc.drops);
    let options = &printed["options"];
    match &qdisc.token_bucket {
        Some(bucket) => {
            assert_eq!(options["rate"].as_u64().unwrap(), bucket.rate);
            // tc(8) counts in whole microseconds of the rate, and so prints less.
            let (burst, printed) = (u64::from(bucket.burst), options["burst"].as_u64().unwrap());
            assert!((printed..=printed + bucket.rate / 1_000_000 + 1).contains(&burst), "{burst}, {printed}");
        }
        None => assert!(options["burst"].is_null()),
    }
    if let Some(limit) = qdisc.limit {
        assert_eq!(options["limit"].as_u64().unwrap(), u64::from(limit));
    }
}

#[test]
fn queueing_disciplines_are_what_tc_says() {
    let here = Namespace::with(LINKS);
    here.sh("tc qdisc add dev v0 root handle 5: tbf rate 1mbit burst 32kb limit 100kb
             tc qdisc add dev v1 root pfifo limit 7
             tc qdisc add dev v2 clsact
             tc qdisc add dev v3 ingress
             tc qdisc add dev v2 root handle 1: htb default 10
             tc class add dev v2 parent 1: classid 1:10 htb rate 5gbit
             tc qdisc add dev v2 parent 1:10 handle 2: bfifo limit 9000
             tc qdisc add dev v3 root tbf rate 40gbit burst 1mb limit 10mb");
    let facts = here.facts();
    let qdiscs = known(&facts.qdiscs);
    let links = known(&facts.links);
    let printed: Vec<Value> = serde_json::from_str(&here.sh("tc -s -j qdisc show")).unwrap();
    assert_eq!(qdiscs.len(), printed.len());
    for (qdisc, printed) in qdiscs.iter().zip(&printed) {
        check(qdisc, printed, links);
    }

    let index = |name: &str| facts.link(name).unwrap().index;
    let root = |name: &str| qdiscs.iter().find(|it| it.link == index(name) && it.is_root()).unwrap();
    let bucket = root("v0").token_bucket.unwrap();
    assert_eq!((bucket.rate, bucket.limit), (125_000, 102_400));
    assert!((32_760..=32_768).contains(&bucket.burst), "{bucket:?}");
    assert_eq!(root("v1").limit, Some(7));
    let fast = root("v3").token_bucket.unwrap();
    assert_eq!(
        TokenBucket { burst: 0, ..fast },
        TokenBucket { rate: 5_000_000_000, burst: 0, limit: 10_485_760 }
    );
    assert_eq!(facts.link("v0").unwrap().qdisc, "tbf");
    let kinds = |name: &str| {
        let mut kinds: Vec<_> =
            qdiscs.iter().filter(|it| it.link == index(name)).map(|it| it.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds
    };
    assert_eq!(kinds("v2"), ["bfifo", "clsact", "htb"]);
    assert!(qdiscs.iter().any(|it| it.kind == "ingress" && it.is_ingress()));
}

#[test]
fn drops_are_counted() {
    let here = Namespace::with(LINKS);
    here.sh("ip addr add 10.0.0.1/24 dev v0; ip neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev v0
             tc qdisc add dev v0 root tbf rate 8bit burst 100 limit 100
             ping -q -c 3 -i 0.2 -W 1 -s 1000 10.0.0.2 >&2 || true");
    let facts = here.facts();
    let index = facts.link("v0").unwrap().index;
    let qdisc = known(&facts.qdiscs).iter().find(|it| it.link == index).unwrap();
    assert!(qdisc.drops >= 3, "{qdisc:?}");
    let printed: Vec<Value> = serde_json::from_str(&here.sh("tc -s -j qdisc show dev v0")).unwrap();
    assert!(printed[0]["drops"].as_u64().unwrap() >= qdisc.drops);
}

#[test]
fn filters_are_read_with_keys_and_actions() {
    let here = Namespace::with(LINKS);
    here.sh("tc qdisc add dev v0 clsact; tc qdisc add dev v1 ingress; tc qdisc add dev v3 clsact
             tc qdisc add dev v2 root handle 1: htb default 10
             tc filter add dev v0 ingress prio 10 protocol ip u32 match ip dst 10.1.0.0/16 match ip dport 80 0xffff action mirred egress redirect dev v2
             tc filter add dev v0 egress prio 20 protocol all u32 match u32 0 0 action mirred egress mirror dev v3
             tc filter add dev v1 ingress prio 5 protocol ip u32 match u8 0x06 0xff at 9 action mirred ingress redirect dev v2
             tc filter add dev v2 parent 1: prio 1 protocol ip u32 match ip src 10.0.0.7 flowid 1:10
             tc filter add dev v3 egress prio 7 protocol all bpf da bytecode '1,6 0 0 0'
             tc filter add dev v0 ingress prio 11 protocol ip u32 match tcp dst 443 0xffff flowid 1:1");
    let facts = here.facts();
    let filters = known(&facts.tc_filters);
    let index = |name: &str| facts.link(name).unwrap().index;
    let find = |link: &str, direction: &str, priority: u32| {
        let mut found = filters
            .iter()
            .filter(|it| it.link == index(link) && it.direction == direction && it.priority == priority);
        let filter = found.next().unwrap_or_else(|| panic!("{link} {direction} {priority}: {filters:#?}"));
        assert!(found.next().is_none(), "twice");
        filter
    };
    assert_eq!(filters.len(), 6, "{filters:#?}");
    let redirect = find("v0", "ingress", 10);
    assert_eq!((redirect.kind.as_str(), redirect.protocol), ("u32", 0x0800));
    assert_eq!(
        redirect.keys,
        [
            U32Key { mask: 0xffff_0000, value: 0x0a01_0000, offset: 16 },
            U32Key { mask: 0x0000_ffff, value: 80, offset: 20 },
        ]
    );
    assert_eq!(redirect.actions, [TcAction::Redirect { link: index("v2"), ingress: false }]);
    assert!(redirect.not_modelled.is_empty(), "{redirect:?}");
    let mirror = find("v0", "egress", 20);
    assert_eq!((mirror.protocol, mirror.keys[0].mask), (3, 0));
    assert_eq!(mirror.actions, [TcAction::Mirror { link: index("v3"), ingress: false }]);
    let upwards = find("v1", "ingress", 5);
    assert_eq!(upwards.actions, [TcAction::Redirect { link: index("v2"), ingress: true }]);
    assert_eq!(upwards.keys, [U32Key { mask: 0x00ff_0000, value: 0x0006_0000, offset: 8 }]);
    assert!(find("v2", "1:0", 1).actions.is_empty());
    // Where the transport header begins depends on the packet.
    assert!(!find("v0", "ingress", 11).not_modelled.is_empty());

    let program = find("v3", "egress", 7);
    assert_eq!(program.not_modelled, ["bpf program without a name (direct action)"]);

    // As many as tc prints with keys, and at the same places with the same handles.
    for (link, place, direction) in [
        ("v0", "ingress", "ingress"),
        ("v0", "egress", "egress"),
        ("v1", "ingress", "ingress"),
        ("v2", "parent 1:", "1:0"),
    ] {
        let printed = here.sh(&format!("tc -j filter show dev {link} {place}"));
        let printed: Vec<Value> = serde_json::from_str(&printed).unwrap();
        let mut wanted: Vec<_> = printed
            .iter()
            .filter(|it| it["options"]["match"].is_object() || it["options"]["match"].is_array())
            .map(|it| (it["pref"].as_u64().unwrap(), it["options"]["fh"].as_str().unwrap().to_owned()))
            .collect();
        // Table and number; the bucket between them is the first.
        let fh = |it: u32| format!("{:x}::{:x}", it >> 20, it & 0xfff);
        let mut collected: Vec<_> = filters
            .iter()
            .filter(|it| it.link == index(link) && it.direction == direction)
            .map(|it| (u64::from(it.priority), fh(it.handle)))
            .collect();
        wanted.sort();
        collected.sort();
        assert_eq!(collected, wanted, "{link} {place}");
    }
}
