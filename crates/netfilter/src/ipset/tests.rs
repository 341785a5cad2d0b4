//! What `ipset save` prints, and what sets say of packets.

use hopwise_snapshot::Mac;

use super::{Entry, IpSet, Part, Storage, Value, emit, parse};
use crate::{
    Device, Ether, Fragment, Network, Transport, View, Weight,
    testing::{World, holds_in, icmp, syn, tcp, udp},
};

/// As version 7.17 prints them.
const SAVED: &str = "\
create a hash:ip family inet hashsize 1024 maxelem 65536 timeout 300 counters comment skbinfo bucketsize 12 initval 0xfeb71634
add a 10.0.0.1 timeout 199 packets 3 bytes 4 comment \"a b\" skbmark 0x10/0xff skbprio 1:10 skbqueue 3
create a24 hash:ip family inet hashsize 1024 maxelem 65536 netmask 24 bucketsize 12 initval 0x1514244b
add a24 10.0.1.0
create b hash:net family inet6 hashsize 1024 maxelem 65536 bucketsize 12 initval 0x182edec5
add b fd00::/64
add b fd00::/80 nomatch
create c hash:ip,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xc8c2641b
add c 10.0.0.2,icmp:host-unknown
add c 10.0.0.2,udp:53
add c 10.0.0.2,tcp:80
add c 10.0.0.2,icmp:echo-request
add c 10.0.0.2,gre:0
create d hash:net,iface family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x54c9c53b
add d 10.1.0.0/16,eth wildcard
add d 10.0.0.0/8,eth0
add d 0.0.0.0/0,physdev:eth3
create e bitmap:port range 0-100
add e 80
create f bitmap:ip range 10.0.0.0-10.0.0.255
add f 10.0.0.4
create g bitmap:ip,mac range 10.0.0.0-10.0.0.255
add g 10.0.0.4
add g 10.0.0.5,02:00:00:00:00:01
create i hash:ip,port,ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1bb5e908
add i 10.0.0.1,tcp:80,10.0.0.2
create j hash:ip,port,net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xff8f757f
add j 10.0.0.1,tcp:80,10.0.0.2 nomatch
add j 10.0.0.1,tcp:80,10.0.0.0/24
create k hash:net,port family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0xa424681a
add k 10.0.0.0/24,sctp:80
create l hash:ip,mark family inet markmask 0x0000ffff hashsize 1024 maxelem 65536
add l 10.0.0.1,0x00000063
create m hash:net,port,net family inet hashsize 1024 maxelem 65536
add m 10.0.0.0/8,tcp:80,10.0.0.0/24
create n hash:net,net family inet6 hashsize 1024 maxelem 65536
add n fd00::/64,fd01::1
create o hash:mac hashsize 1024 maxelem 65536
add o 02:00:00:00:00:01
create p hash:ip,mac family inet hashsize 1024 maxelem 65536
add p 10.0.0.1,02:00:00:00:00:01
create h list:set size 8
add h a
add h f
";

#[test]
fn sets_are_read_and_written_as_they_were() {
    let (sets, remarks) = parse(SAVED);
    assert_eq!(remarks, []);
    assert_eq!(sets.len(), 17);
    // Written by name, lists last.
    let written = emit(&sets);
    assert_eq!(parse(&written), (sets, Vec::new()));
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    assert_eq!(sorted(&written), sorted(SAVED));
    assert!(written.ends_with("create h list:set size 8\nadd h a\nadd h f\n"));
}

#[test]
fn an_entry_keeps_its_options() {
    let (sets, _) = parse(SAVED);
    let entry = &sets["a"].entries()[0];
    assert_eq!((entry.timeout, entry.comment.as_deref()), (Some(199), Some("a b")));
    assert_eq!(entry.counters.map(|it| (it.packets, it.bytes)), Some((3, 4)));
    assert_eq!((entry.mark, entry.priority, entry.queue), (Some((0x10, 0xff)), Some((1, 0x10)), Some(3)));
    assert_eq!(sets["c"].entries()[0].key[1], Value::Port(Some(1), 3 << 8 | 7));
    assert!(sets["d"].entries()[0].wildcard && sets["b"].entries()[1].nomatch);
}

#[test]
fn what_is_not_understood_names_its_line_and_column() {
    for (text, line, column, found) in [
        ("create a hash:moon family inet\n", 1, 10, "hash:moon"),
        ("create a hash:ip family inet\nadd a fd00::1\n", 2, 7, "fd00::1"),
        ("create a hash:ip family inet\nadd b 10.0.0.1\n", 2, 5, "b"),
        ("create a hash:ip family inet\nadd a 10.0.0.1 colour red\n", 2, 16, "colour"),
        ("create a hash:ip family inet\nadd a 10.0.0.1 timeout\n", 2, 23, ""),
        ("create a hash:ip,port family inet\nadd a 10.0.0.1\n", 2, 7, "10.0.0.1"),
        ("frobnicate\n", 1, 1, "frobnicate"),
        ("create a hash:ip family inet\nadd a 10.0.0.1 comment \"cut", 2, 24, "\"cut"),
    ] {
        let (_, remarks) = parse(text);
        assert_eq!(remarks.len(), 1, "{text}");
        let remark = &remarks[0];
        assert_eq!((remark.line, remark.column, remark.weight), (line, column, Weight::Lost), "{text}");
        assert!(remark.found.contains(found), "{text}: {remark}");
    }
}

/// Whether sets say that a packet is in one of them.
fn asks(text: &str, condition: &str, view: &View<'_>) -> String {
    let (sets, remarks) = parse(text);
    assert_eq!(remarks, [], "{text}");
    let sets: Vec<(&str, &IpSet)> = sets.iter().map(|(name, set)| (name.as_str(), set)).collect();
    holds_in(condition, view, &mut World::default(), &sets)
}

/// Asks one set `s` with these entries.
#[track_caller]
fn check(kind: &str, entries: &[&str], directions: &str, yes: &[View<'_>], no: &[View<'_>]) {
    let mut text = format!("create s {kind}\n");
    text.extend(entries.iter().flat_map(|it| ["add s ", it, "\n"]));
    for (views, answers) in [(yes, ["yes", "no"]), (no, ["no", "yes"])] {
        for view in views {
            let matched = asks(&text, &format!("-m set --match-set s {directions}"), view);
            let negated = asks(&text, &format!("-m set ! --match-set s {directions}"), view);
            assert_eq!([matched.as_str(), negated.as_str()], answers, "{view:?}");
        }
    }
}

fn from(address: &str) -> View<'static> {
    udp(address, if address.contains(':') { "fd02::2" } else { "10.9.9.9" }, 53)
}

#[test]
fn addresses() {
    let entries = ["10.0.0.1", "10.0.0.3"];
    check("hash:ip family inet", &entries, "src", &[from("10.0.0.1")], &[from("10.0.0.2"), from("fd00::1")]);
    check(
        "hash:ip family inet",
        &["10.9.9.9"],
        "dst",
        &[from("10.0.0.1")],
        &[udp("10.9.9.9", "10.0.0.1", 1)],
    );
    check("hash:ip family inet netmask 24", &["10.0.1.0"], "src", &[from("10.0.1.77")], &[from("10.0.2.1")]);
    let holes = "hash:ip family inet bitmask 255.0.0.255";
    check(holes, &["10.0.0.7"], "src", &[from("10.5.6.7")], &[from("10.5.6.8")]);
    check(
        "hash:ip family inet6",
        &["fd00::1"],
        "src",
        &[from("fd00::1")],
        &[from("fd00::2"), from("10.0.0.1")],
    );
    check(
        "bitmap:ip range 10.0.0.0-10.0.0.255",
        &["10.0.0.4"],
        "src",
        &[from("10.0.0.4")],
        &[from("10.0.1.4")],
    );
}

#[test]
fn networks_and_their_exceptions() {
    let entries = ["10.0.0.0/8", "10.1.0.0/16 nomatch", "10.1.2.0/24", "10.1.2.3 nomatch"];
    let (inside, outside) =
        ([from("10.2.0.1"), from("10.1.2.9")], [from("10.1.9.9"), from("10.1.2.3"), from("11.0.0.1")]);
    check("hash:net family inet", &entries, "src", &inside, &outside);
    // Asked for the exceptions themselves.
    let text = "create s hash:net family inet\nadd s 10.0.0.0/8\nadd s 10.1.0.0/16 nomatch\n";
    let nomatch = "-m set --match-set s src --return-nomatch";
    assert_eq!(asks(text, nomatch, &from("10.1.9.9")), "yes");
    assert_eq!(asks(text, nomatch, &from("10.2.9.9")), "no");
    check("hash:net family inet6", &["fd00::/64"], "src", &[from("fd00::9")], &[from("fd00:0:0:1::9")]);
}

#[test]
fn addresses_with_ports_by_protocol() {
    let kind = "hash:ip,port family inet";
    let syn80 = || tcp("10.0.0.1", 40000, "10.0.0.2", 80, crate::TcpFlags::SYN);
    let entries = ["10.0.0.2,tcp:80", "10.0.0.2,icmp:echo-request", "10.0.0.2,gre:0"];
    let mut gre = udp("10.0.0.1", "10.0.0.2", 1);
    let Network::Ip(header) = &mut gre.network else { unreachable!() };
    header.protocol = 47;
    gre.transport = Transport::Other;
    let ping = icmp("10.0.0.1", "10.0.0.2", 8, 0);
    let others = [udp("10.0.0.1", "10.0.0.2", 80), icmp("10.0.0.1", "10.0.0.2", 0, 0)];
    check(kind, &entries, "dst,dst", &[syn80(), ping, gre], &others);
    check(kind, &["10.0.0.1,tcp:40000"], "src,src", &[syn80()], &[]);
    check(kind, &["10.0.0.2,tcp:40000"], "dst,src", &[syn80()], &[]);
    let mut fragment = syn80();
    let Network::Ip(header) = &mut fragment.network else { unreachable!() };
    header.fragment = Some(Fragment { offset: 8, more: false });
    fragment.transport = Transport::Other;
    check(kind, &["10.0.0.2,tcp:80", "10.0.0.2,tcp:0"], "dst,dst", &[], &[fragment]);
    // Too few directions hold nothing.
    check(kind, &["10.0.0.2,tcp:80"], "dst", &[], &[syn80()]);
    check(
        "bitmap:port range 0-100",
        &["80"],
        "dst",
        &[syn80(), others[0].clone()],
        &[icmp("10.0.0.1", "10.0.0.2", 0, 80)],
    );
}

#[test]
fn several_addresses_and_networks() {
    let view = || tcp("10.0.0.1", 40000, "10.0.0.2", 80, crate::TcpFlags::SYN);
    let other = || udp("10.0.0.1", "10.0.0.2", 80);
    check("hash:ip,port,ip family inet", &["10.0.0.1,tcp:80,10.0.0.2"], "src,dst,dst", &[view()], &[other()]);
    let entries =
        ["10.0.0.1,tcp:80,10.0.0.0/24", "10.0.0.1,udp:80,10.0.0.0/24", "10.0.0.1,udp:80,10.0.0.2 nomatch"];
    check("hash:ip,port,net family inet", &entries, "src,dst,dst", &[view()], &[other()]);
    check("hash:net,port family inet", &["10.0.0.0/24,udp:80"], "dst,dst", &[other()], &[view()]);
    let entries = ["10.0.0.0/24,tcp:80,10.0.0.0/8", "10.0.0.0/24,udp:80,10.0.0.0/30"];
    check("hash:net,port,net family inet", &entries, "src,dst,dst", &[view(), other()], &[from("10.0.0.1")]);
    let entries = ["10.0.0.0/24,10.0.0.0/24", "10.0.0.0/30,10.0.0.2 nomatch"];
    check(
        "hash:net,net family inet",
        &entries,
        "src,dst",
        &[udp("10.0.0.1", "10.0.0.3", 1)],
        &[view(), from("10.0.0.1")],
    );
}

#[test]
fn networks_at_devices() {
    let mut view = from("10.1.0.7");
    view.input = Some(Device::named("eth0"));
    view.output = Some(Device::named("cali7"));
    let kind = "hash:net,iface family inet";
    check(kind, &["10.0.0.0/8,eth0"], "src,src", &[view.clone()], &[from("10.1.0.7")]);
    check(kind, &["10.0.0.0/8,eth wildcard", "10.0.0.0/8,lo"], "src,src", &[view.clone()], &[]);
    check(kind, &["10.0.0.0/8,cali wildcard"], "src,dst", &[view.clone()], &[]);
    // The longest network decides, whatever its device.
    check(kind, &["10.0.0.0/8,eth0", "10.1.0.0/16,eth1"], "src,src", &[], &[view.clone()]);
    check(kind, &["10.0.0.0/8,eth0", "10.1.0.0/16,eth0 nomatch"], "src,src", &[], &[view.clone()]);
    check(kind, &["10.0.0.0/8,physdev:eth0"], "src,src", &[], &[view]);
}

#[test]
fn stations_and_marks() {
    let mut view = from("10.0.0.5");
    let bare = view.clone();
    view.mark = 0x10063;
    view.ether = Some(Ether {
        source: Mac([2, 0, 0, 0, 0, 1]),
        destination: Mac([2, 0, 0, 0, 0, 2]),
        ethertype: 0x0800,
        vlan: None,
    });
    check("hash:mac", &["02:00:00:00:00:01"], "src", &[view.clone()], std::slice::from_ref(&bare));
    check("hash:mac", &["02:00:00:00:00:01"], "dst", &[], &[view.clone()]);
    check(
        "hash:ip,mac family inet",
        &["10.0.0.5,02:00:00:00:00:01"],
        "src,src",
        &[view.clone()],
        std::slice::from_ref(&bare),
    );
    let range = "bitmap:ip,mac range 10.0.0.0-10.0.0.255";
    check(range, &["10.0.0.5"], "src,src", &[view.clone()], &[]);
    check(range, &["10.0.0.5,02:00:00:00:00:01"], "src,src", &[view.clone()], std::slice::from_ref(&bare));
    check(range, &["10.0.0.5,02:00:00:00:00:09"], "src,src", &[], &[view.clone()]);
    let masked = "hash:ip,mark family inet markmask 0x0000ffff";
    check(masked, &["10.0.0.5,0x00000063"], "src,src", &[view], &[bare]);
}

#[test]
fn lists_ask_their_members_in_turn() {
    let text = "create a hash:ip family inet\nadd a 10.0.0.1\ncreate b hash:net family inet6\nadd b fd00::/64\n\
                create l list:set size 8\nadd l a\nadd l b\nadd l gone\n";
    assert_eq!(asks(text, "-m set --match-set l src", &from("10.0.0.1")), "yes");
    assert_eq!(asks(text, "-m set --match-set l src", &from("fd00::1")), "yes");
    assert_eq!(asks(text, "-m set --match-set l src", &from("10.0.0.2")), "set `gone` is not known");
    assert_eq!(asks(text, "-m set --match-set nowhere src", &syn()), "ipset `nowhere` is not known");
}

#[test]
fn counters_of_entries_are_not_known() {
    let text = "create s hash:ip family inet counters\nadd s 10.0.0.1 packets 3 bytes 99\n";
    let counted = "-m set --match-set s src --packets-gt 3";
    assert!(asks(text, counted, &from("10.0.0.1")).contains("counters"));
    assert_eq!(asks(text, counted, &from("10.0.0.2")), "no");
}

#[test]
fn entries_can_be_replaced_and_removed() {
    let mut set = IpSet::new("s", Storage::Hash, vec![Part::Net, Part::Iface], Vec::new()).unwrap();
    let key = |net: &str, device: &str| {
        vec![Value::Net(net.parse().unwrap()), Value::Iface(device.to_owned(), false)]
    };
    let entry =
        |net: &str, device: &str, nomatch| Entry { key: key(net, device), nomatch, ..Entry::default() };
    set.insert(entry("10.0.0.0/8", "eth0", false));
    set.insert(entry("10.0.0.0/8", "eth1", false));
    set.insert(entry("10.0.0.0/8", "eth0", true));
    set.insert(entry("10.1.0.0/16", "eth0", false));
    assert_eq!(set.entries().len(), 3);
    assert!(set.entries()[0].nomatch);
    set.remove(&key("10.1.0.0/16", "eth0"));
    set.remove(&key("10.2.0.0/16", "eth0"));
    assert_eq!(set.entries().len(), 2);
    assert_eq!(IpSet::new("s", Storage::Hash, vec![Part::Ip], vec!["family".into(), "moon".into()]), None);
    assert_eq!(IpSet::new("s", Storage::Hash, vec![Part::Ip], vec!["netmask".into(), "33".into()]), None);
}

#[test]
fn large_sets_are_read_and_asked_quickly() {
    let mut text = "create s hash:net family inet\ncreate d hash:net,iface family inet\n".to_owned();
    for number in 0..50_000u32 {
        let net = std::net::Ipv4Addr::from_bits(number << 12).to_string();
        text.extend(["add s ", &net, "/20\nadd d 10.0.0.0/8,eth", &number.to_string(), "\n"]);
    }
    let began = std::time::Instant::now();
    assert_eq!(asks(&text, "-m set --match-set s src", &from("10.0.0.1")), "yes");
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
}
