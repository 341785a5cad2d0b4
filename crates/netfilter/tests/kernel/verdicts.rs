//! How rules, chains, tables and hooks follow each other, and what rules do to packets.

use std::{
    io::{ErrorKind, Read as _},
    net::IpAddr,
    time::{Duration, Instant},
};

use hopwise_netfilter::{Hook, RejectWith, Verdict};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    BACK_ENDS,
    bench::Bench,
    packets::Packet,
    space::{Router, feed, run},
    tracer::answer,
};

#[test]
fn an_accept_ends_one_table_and_a_drop_ends_all() {
    for back_end in BACK_ENDS {
        let router = Router::new();
        feed(
            &format!("iptables-{back_end}-restore"),
            "*raw
:PREROUTING ACCEPT [0:0]
-A PREROUTING -p udp -j ACCEPT
-A PREROUTING -j ACCEPT
COMMIT
*filter
:FORWARD DROP [0:0]
:A - [0:0]
:A2 - [0:0]
-A FORWARD -j A
-A FORWARD -p udp -m udp --dport 53 -j ACCEPT
-A A -p icmp -j RETURN
-A A -p tcp -g A2
-A A2 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
",
        );
        let mut bench = Bench::new(router);
        assert_eq!(bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", 53)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", 54)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", "10.2.0.9", 80)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", "10.2.0.9", 81)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::ping("10.1.0.9", "10.2.0.9")).verdict, Verdict::Drop);
        let back = answer(&bench.sends(&Packet::udp("10.1.0.8", "10.2.0.9", 53)).view);
        assert_eq!(bench.sends(&back).verdict, Verdict::Drop);
    }
}

#[test]
fn verdicts_and_verdict_maps_of_nft_at_all_kinds_of_hooks() {
    let router = Router::new();
    feed("nft -f -", include_str!("rules/verdicts.nft"));
    let mut bench = Bench::new(router);
    for table in &mut bench.ruleset.tables {
        for chain in &mut table.chains {
            let Some(base) = chain.base.as_mut().filter(|it| matches!(it.hook, Hook::Ingress | Hook::Egress))
            else {
                continue;
            };
            // Not every version of nft lists them.
            let device = if chain.name.starts_with("in") { "left" } else { "right" };
            base.devices = vec![device.to_owned()];
        }
    }
    for (net, other) in [("10.1.0.", "10.2.0."), ("fd01::", "fd02::")] {
        let host = |number: u8| format!("{net}{number}");
        let to = format!("{other}9");
        for port in [53, 55, 60, 61, 62, 63, 64, 65] {
            bench.sends(&Packet::udp(&host(9), &to, port));
        }
        for from in [7, 8, 66, 67] {
            bench.sends(&Packet::udp(&host(from), &to, 53));
            bench.sends(&Packet::udp(&host(from), &format!("{other}10"), 64));
        }
        for port in [80, 443, 81] {
            bench.sends(&Packet::syn(&host(9), &to, port));
        }
        bench.sends(&Packet::ping(&host(9), &format!("{other}10")));
        bench.sends(&Packet::ping(&host(9), &format!("{other}66")));
        bench.sends(&Packet { ttl: 5, ..Packet::udp(&host(9), &to, 65) });
        bench.sends(&Packet::udp(&to, &host(9), 65));
        let first = bench.sends(&Packet::udp(&host(7), &to, 70));
        bench.sends(&answer(&first.view));
    }
}

#[test]
fn what_rules_write_is_what_later_rules_read() {
    for back_end in BACK_ENDS {
        let router = Router::new();
        feed(
            &format!("iptables-{back_end}-restore"),
            "*mangle
:PREROUTING ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
-A PREROUTING -p udp -j TTL --ttl-set 42
-A PREROUTING -p tcp -j TTL --ttl-inc 10
-A PREROUTING -p icmp -j TTL --ttl-dec 10
-A PREROUTING -p udp -j TOS --set-tos 0x0c/0x3c
-A PREROUTING -p tcp -j DSCP --set-dscp 0x2e
-A PREROUTING -p icmp -j TOS --set-tos 0xff/0x0f
-A PREROUTING -p udp -j MARK --set-xmark 0xf0/0xff
-A PREROUTING -p udp -j MARK --set-xmark 0x11/0x0
-A PREROUTING -p udp -j MARK --set-xmark 0x0/0xfffffff0
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1200
COMMIT
*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -m ttl --ttl-eq 41
-A FORWARD -m ttl --ttl-eq 73
-A FORWARD -m ttl --ttl-eq 53
-A FORWARD -m tos --tos 0x0c/0xff
-A FORWARD -m dscp --dscp 0x2e
-A FORWARD -m tos --tos 0x0f/0xff
-A FORWARD -m mark --mark 0xe1
-A FORWARD -m mark --mark 0x1
-A FORWARD -p tcp -m tcpmss --mss 1000
-A FORWARD -p tcp -m tcpmss --mss 536
COMMIT
",
        );
        let mut bench = Bench::new(router);
        for packet in [
            Packet::udp("10.1.0.9", "10.2.0.9", 53),
            Packet::syn("10.1.0.9", "10.2.0.9", 80),
            Packet::ping("10.1.0.9", "10.2.0.9"),
        ] {
            bench.sends(&packet);
            bench.sends(&Packet { tos: 0xa2, ..packet });
        }
    }
}

#[test]
fn what_rules_of_nft_write_is_what_later_rules_read() {
    let router = Router::new();
    feed(
        "nft -f -",
        "table inet t {
	map classes {
		type ipv4_addr : mark
		elements = { 10.1.0.9 : 0x9, 10.1.0.8 : 0x8 }
	}
	chain pre {
		type filter hook prerouting priority mangle; policy accept;
		meta l4proto udp ip ttl set 42
		meta l4proto udp ip6 hoplimit set 42
		meta l4proto tcp ip dscp set ef
		udp dport 53 udp dport set 5353
		udp dport 54 udp sport set 4000
		meta mark set ip saddr map @classes
		udp dport 55 meta mark set meta mark << 8
		udp dport 56 meta mark set (meta mark | 0xf00) ^ 0x1
		tcp dport 82 meta mark set tcp dport map { 80-81 : 0x1, 82 : 0x52 }
		tcp dport 83 meta mark set jhash ip saddr mod 1 offset 7
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
		tcp flags syn tcp option maxseg size set 1000
		ip ttl 41 counter
		ip6 hoplimit 41 counter
		ip dscp ef counter
		udp dport 5353 counter
		udp dport 53 counter
		udp sport 4000 counter
		meta mark 0x9 counter
		meta mark 0x8 counter
		meta mark 0x900 counter
		meta mark 0xf08 counter
		meta mark 0x52 counter
		meta mark 0x7 counter
		meta mark 0 counter
		tcp option maxseg size 1000 counter
		tcp option maxseg size 536 counter
	}
}
",
    );
    let mut bench = Bench::new(router);
    for (from, to) in [("10.1.0.9", "10.2.0.9"), ("10.1.0.6", "10.2.0.9"), ("fd01::9", "fd02::9")] {
        for port in 53..57 {
            bench.sends(&Packet::udp(from, to, port));
        }
        for port in 80..84 {
            bench.sends(&Packet::syn(from, to, port));
        }
    }
}

#[test]
fn whoever_is_rejected_is_told_what_the_model_says() {
    let of_ipv4 = [
        "icmp-net-unreachable",
        "icmp-host-unreachable",
        "icmp-port-unreachable",
        "icmp-proto-unreachable",
        "icmp-net-prohibited",
        "icmp-host-prohibited",
        "icmp-admin-prohibited",
    ];
    let of_ipv6 = [
        "icmp6-no-route",
        "icmp6-adm-prohibited",
        "icmp6-addr-unreachable",
        "icmp6-port-unreachable",
        "icmp6-policy-fail",
        "icmp6-reject-route",
    ];
    for back_end in BACK_ENDS {
        let router = Router::new();
        for (tool, kinds) in [("iptables", &of_ipv4[..]), ("ip6tables", &of_ipv6[..])] {
            let mut text = "*filter\n:FORWARD DROP [0:0]\n".to_owned();
            for (at, kind) in kinds.iter().enumerate() {
                let port = (1000 + at).to_string();
                text.extend([
                    "-A FORWARD -p udp -m udp --dport ",
                    &port,
                    " -j REJECT --reject-with ",
                    kind,
                    "\n",
                ]);
            }
            text.push_str("-A FORWARD -p tcp -j REJECT --reject-with tcp-reset\nCOMMIT\n");
            feed(&format!("{tool}-{back_end}-restore"), &text);
        }
        is_told(router, [of_ipv4.len(), of_ipv6.len()]);
    }
    let router = Router::new();
    let kinds = ["", " with icmpx no-route", " with icmpx host-unreachable", " with icmpx admin-prohibited"];
    let mut text =
        "add table inet t\nadd chain inet t f { type filter hook forward priority 0; }\n".to_owned();
    for (at, kind) in kinds.iter().enumerate() {
        let port = (1000 + at).to_string();
        text.extend(["add rule inet t f udp dport ", &port, " counter reject", kind, "\n"]);
    }
    text.push_str("add rule inet t f meta l4proto tcp counter reject with tcp reset\n");
    feed("nft -f -", &text);
    is_told(router, [kinds.len(); 2]);
}

/// Sends packets that are refused and compares what comes back.
fn is_told(router: Router, n_kinds: [usize; 2]) {
    router.left.inside(|| {
        run("ip address add 10.1.0.9/32 dev lo");
        run("ip address add fd01::9/128 dev lo");
    });
    let mut bench = Bench::new(router);
    for ((from, to), n_kinds) in [("10.1.0.9", "10.2.0.9"), ("fd01::9", "fd02::9")].into_iter().zip(n_kinds) {
        let address: IpAddr = from.parse().unwrap();
        let (domain, icmp) = if address.is_ipv4() { (Domain::IPV4, 1) } else { (Domain::IPV6, 58) };
        let (icmp, tcp) = bench.router.left.inside(|| {
            let open = |protocol| Socket::new(domain, Type::RAW, Some(Protocol::from(protocol))).unwrap();
            (open(icmp), open(6))
        });
        let at_transport = if address.is_ipv4() { 20 } else { 0 };
        for port in 0..n_kinds {
            let port = 1000 + u16::try_from(port).unwrap();
            let trace = bench.sends(&Packet::udp(from, to, port).by(port));
            let told = next(&icmp);
            let (kind, code) = (told[at_transport], told[at_transport + 1]);
            assert_eq!(trace.verdict, Verdict::Reject(RejectWith::Icmp { kind, code }), "{from} {port}");
        }
        let trace = bench.sends(&Packet::syn(from, to, 80));
        assert_eq!(trace.verdict, Verdict::Reject(RejectWith::TcpReset));
        assert_eq!(next(&tcp)[at_transport + 13] & 4, 4, "RST");
    }
}

/// The next packet that comes in.
#[track_caller]
fn next(mut socket: &Socket) -> Vec<u8> {
    socket.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let mut bytes = vec![0; 2000];
        match socket.read(&mut bytes) {
            Ok(_) => return bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(Instant::now() < deadline, "nothing came");
        std::thread::sleep(Duration::from_millis(5));
    }
}
