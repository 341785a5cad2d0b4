//! Switches, sockets, counters, connection tracking.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
};

use hopwise_collect::{Limits, net_ns, samples};
use hopwise_snapshot::{Observed, Reason, Socket, SocketProtocol, SocketState, SysctlKey};
use socket2::{Domain, Protocol, Type};

use crate::harness::{Namespace, known};

#[test]
fn every_switch_is_what_sysctl_says() {
    let here = Namespace::with(
        "ip link set lo up
         ip link add a.b type veth peer name v1
         sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.v1.forwarding=0 net.ipv4.conf.a/b.rp_filter=2
         sysctl -qw net.bridge.bridge-nf-call-iptables=0 net.ipv6.conf.all.forwarding=1
         sysctl -qw net.ipv4.ip_local_reserved_ports=30000-32767,9999",
    );
    let facts = here.facts();
    let sysctls = known(&facts.sysctls);
    let printed = here.sh("sysctl -a --deprecated 2>/dev/null");
    let printed = samples::text::sysctls("sysctl -a", &printed).unwrap();
    let mut collected = sysctls.values.clone();
    let mut wanted = printed.values;
    // The tool shows the key and the seeds that are never collected.
    let is_secret = |key: &SysctlKey| key.path().ends_with("_key") || key.path().ends_with("_secret");
    wanted.retain(|key, _| !is_secret(key));
    for values in [&mut collected, &mut wanted] {
        // The tool prints the lines of a list one by one.
        for value in values.values_mut() {
            *value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        }
    }
    for (key, value) in &wanted {
        assert_eq!(collected.get(key), Some(value), "{key}");
    }
    for key in collected.keys() {
        assert!(wanted.contains_key(key), "{key} is not printed");
    }
    assert!(collected.len() > 500, "{}", collected.len());

    let get = |text: &str| sysctls.get(&SysctlKey::from_dotted(text));
    assert_eq!(get("net.ipv4.ip_forward"), Observed::Known("1"));
    assert_eq!(get("net.ipv4.conf.v1.forwarding"), Observed::Known("0"));
    assert_eq!(sysctls.get(&SysctlKey::of_link(false, "a.b", "rp_filter")), Observed::Known("2"));
    assert_eq!(get("net.bridge.bridge-nf-call-iptables"), Observed::Known("0"));
    assert_eq!(get("net.ipv4.ip_local_reserved_ports"), Observed::Known("9999,30000-32767"));
    assert_eq!(get("net.ipv4.no_such_switch"), Observed::Absent);
    assert!(matches!(get("net.ipv4.route.flush"), Observed::NotCollected(Reason::Unsupported(_))));
    assert_eq!(
        get("net.ipv4.tcp_fastopen_key"),
        Observed::NotCollected(Reason::Failed("a secret, never read".to_owned()))
    );
}

#[test]
fn a_switch_longer_than_a_page_is_read_whole() {
    let here = Namespace::new();
    let ports: Vec<String> = (1..4000).map(|it| (it * 2).to_string()).collect();
    let ports = ports.join(",");
    here.sh(&format!("echo {ports} > /proc/sys/net/ipv4/ip_local_reserved_ports"));
    let facts = here.facts();
    let key = SysctlKey::from_dotted("net.ipv4.ip_local_reserved_ports");
    assert_eq!(known(&facts.sysctls).get(&key), Observed::Known(ports.as_str()));
}

#[test]
fn waiting_sockets_are_what_ss_says() {
    let here = Namespace::with("ip link set lo up; ip addr add fd00::1/64 dev lo nodad");
    let sockets = here.ns.run(|| {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).unwrap();
        let dual = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 9090)).unwrap();
        let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, 8080)).unwrap();
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53)).unwrap();
        let udp6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 54)).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 55)).unwrap();
        peer.connect((Ipv4Addr::LOCALHOST, 53)).unwrap();
        peer.send(b"twelve bytes").unwrap();
        let raw = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).unwrap();
        let raw6 = socket2::Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
        let bound = socket2::Socket::new(Domain::IPV6, Type::STREAM, None).unwrap();
        bound.set_only_v6(true).unwrap();
        bound.bind_device(Some(b"lo")).unwrap();
        bound.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 7070)).into()).unwrap();
        bound.listen(17).unwrap();
        (tcp, dual, connected, udp, udp6, peer, raw, raw6, bound)
    });
    let sockets = sockets.unwrap();
    let facts = here.facts();
    let collected = known(&facts.sockets);
    let links = known(&facts.links);
    let mut wanted = samples::text::sockets("ss", &here.sh("ss -H -lntuw"), links).unwrap();
    // ss(8) does not say whether an IPv6 socket that is bound to an interface takes IPv4.
    wanted.iter_mut().filter(|it| it.port == 7070).for_each(|it| it.is_v6_only = true);
    wanted.sort();
    assert_eq!(collected, &wanted);

    let find = |port: u16| {
        collected.iter().find(|it| it.port == port && it.protocol != SocketProtocol::Raw).unwrap()
    };
    let tcp = Socket {
        protocol: SocketProtocol::Tcp,
        address: Ipv4Addr::LOCALHOST.into(),
        port: 8080,
        state: SocketState::Listening,
        is_v6_only: false,
        link: None,
        receive_queue: 1,
        backlog: 128,
        program: None,
    };
    assert_eq!(find(8080), &Socket { backlog: find(8080).backlog, ..tcp });
    assert!(find(8080).backlog >= 128);
    assert!(find(9090).address.is_ipv6() && !find(9090).is_v6_only);
    assert_eq!((find(53).state, find(53).backlog), (SocketState::Unconnected, 0));
    assert!(find(53).receive_queue > 0, "a packet waits");
    assert!(collected.iter().all(|it| it.port != 55), "a connected socket waits for nobody");
    let bound = find(7070);
    assert!(bound.is_v6_only && bound.backlog == 17);
    assert_eq!(bound.link, Some(facts.link("lo").unwrap().index));
    let raw = collected.iter().find(|it| it.protocol == SocketProtocol::Raw).unwrap();
    assert_eq!((raw.port, raw.state), (1, SocketState::Unconnected));
    drop(sockets);
}

#[test]
fn counters_are_called_and_counted_as_by_nstat() {
    let here =
        Namespace::with("ip link set lo up; ping -q -c 2 -i 0.2 127.0.0.1 >&2; ping -q -c 2 -i 0.2 ::1 >&2");
    let (facts, printed) = here.settled(|it| it.counters.clone(), "nstat -asz");
    let collected = known(&facts.counters);
    let mut wanted = BTreeMap::new();
    for line in printed.lines().filter(|it| !it.starts_with('#')) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        wanted.insert(words[0].to_owned(), words[1].parse::<u64>().unwrap());
    }
    assert!(wanted.len() > 200);
    for (name, value) in &wanted {
        assert_eq!(collected.get(name), Some(value), "{name}");
    }
    assert_eq!((collected["IcmpInEchos"], collected["Icmp6InEchos"]), (2, 2));
}

#[test]
fn connections_are_counted_and_listed() {
    let here = Namespace::with(
        "ip link set lo up
         iptables-nft -A OUTPUT -m conntrack --ctstate INVALID -j DROP
         iptables-nft -t mangle -A PREROUTING -j CONNMARK --set-mark 9",
    );
    here.sh("ping -q -c 1 -W 1 127.0.0.1 >&2");
    let sockets = here.ns.run(|| {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 5300)).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 5301)).unwrap();
        client.send_to(b"x", (Ipv4Addr::LOCALHOST, 5300)).unwrap();
        (server, client)
    });
    let facts = here.facts();
    let conntrack = &facts.conntrack;
    let entries = known(&conntrack.entries);
    assert_eq!(known(&conntrack.count), &(entries.len() as u64));
    let number =
        |leaf: &str| here.sh(&format!("sysctl -n net.netfilter.{leaf}")).trim().parse::<u64>().unwrap();
    assert_eq!(known(&conntrack.max), &number("nf_conntrack_max"));
    assert_eq!(known(&conntrack.buckets), &number("nf_conntrack_buckets"));
    let printed = here.sh("conntrack -L 2>/dev/null");
    let mut wanted = samples::text::connections("conntrack -L", &printed).unwrap();
    let mut collected = entries.clone();
    wanted.sort_by_key(|it| it.original.clone());
    collected.sort_by_key(|it| it.original.clone());
    assert_eq!(collected, wanted);
    let udp = entries.iter().find(|it| it.original.protocol == 17).unwrap();
    assert_eq!((udp.original.source_port, udp.original.destination_port), (5301, 5300));
    assert_eq!((udp.reply.source_port, udp.replied, udp.mark), (5300, false, 9));
    let echo = entries.iter().find(|it| it.original.protocol == 1).unwrap();
    assert_eq!((echo.original.destination_port, echo.reply.destination_port), (0x0800, 0));
    assert!(echo.replied);

    let printed = here.sh("conntrack -S");
    let wanted = samples::text::conntrack_statistics("conntrack -S", &printed).unwrap();
    for (name, value) in wanted {
        assert_eq!(known(&conntrack.statistics).get(&name), Some(&value), "{name}");
    }
    let limits = Limits { connections: 1, ..Limits::default() };
    let facts = net_ns(&here.ns, &[], &limits);
    assert_eq!(facts.conntrack.entries, Observed::NotCollected(Reason::TooLarge { limit: 1 }));
    drop(sockets);
}
