//! Every condition against packets of every kind: a rule counts the packets that its conditions hold for.

use hopwise_netfilter::TcpFlags;

use crate::{
    BACK_ENDS,
    bench::Bench,
    packets::{Load, Packet},
    space::{Router, feed},
};

/// Packets that differ in everything that conditions ask for.
fn packets(left: &str, right: &str) -> Vec<Packet> {
    let host = |net: &str, number: u8| format!("{net}{number}");
    let (from, to) = (host(left, 9), host(right, 9));
    let segment =
        |flags: TcpFlags, mss| Packet::new(&from, &to, Load::Tcp { from: 40000, to: 80, flags, mss });
    let mut marked = Packet::udp(&from, &to, 53);
    marked.tos = 0x11;
    let mut slow = Packet::ping(&from, &host(right, 10));
    slow.tos = 0x10;
    slow.ttl = 50;
    let kind = if left.contains(':') { 128 } else { 13 };
    vec![
        Packet::syn(&from, &to, 80),
        Packet::syn(&from, &host(right, 7), 81).by(40011),
        Packet::syn(&host(left, 8), &to, 22),
        segment(TcpFlags::ACK | TcpFlags::PSH, None),
        segment(TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG | TcpFlags::CWR, None),
        segment(TcpFlags::empty(), None),
        segment(TcpFlags::SYN | TcpFlags::ACK, Some(536)),
        segment(TcpFlags::RST, None),
        marked,
        Packet::udp(&host(left, 8), &host(right, 8), 9000).by(38000),
        Packet::ping(&from, &to),
        slow,
        Packet::new(&from, &to, Load::Icmp { kind, code: 1, id: 5 }),
        Packet::syn(&to, &from, 80),
    ]
}

/// The last fragments of packets whose first ones have these headers.
fn fragments() -> [Packet; 2] {
    [Packet::udp("10.1.0.9", "10.2.0.9", 53), Packet::syn("10.1.0.9", "10.2.0.9", 80)]
        .map(|it| Packet { is_last_fragment: true, ..it })
}

#[test]
fn conditions_of_iptables_hold_for_the_packets_that_the_kernel_says() {
    for back_end in BACK_ENDS {
        let router = Router::new();
        feed("ipset restore", include_str!("rules/sets.ipset"));
        for (tool, matches) in [
            ("iptables", include_str!("rules/matches.iptables")),
            ("ip6tables", include_str!("rules/matches.ip6tables")),
        ] {
            let mut text = "*mangle\n:PREROUTING ACCEPT [0:0]\n\
                            -A PREROUTING -m tos --tos 0x01/0x01 -j MARK --set-xmark 0x10/0xffffffff\nCOMMIT\n\
                            *filter\n:FORWARD ACCEPT [0:0]\n"
                .to_owned();
            text.extend(matches.lines().flat_map(|it| ["-A FORWARD ", it, "\n"]));
            text.push_str("COMMIT\n");
            feed(&format!("{tool}-{back_end}-restore"), &text);
        }
        let mut bench = Bench::new(router);
        for packet in packets("10.1.0.", "10.2.0.").iter().chain(&packets("fd01::", "fd02::")) {
            bench.sends(packet);
        }
        if back_end == "legacy" {
            for packet in fragments() {
                bench.sends(&packet);
            }
        }
    }
}

#[test]
fn nft_takes_the_bytes_of_a_fragment_for_a_header() {
    let router = Router::new();
    feed(
        "iptables-nft-restore",
        "*filter
:FORWARD ACCEPT [0:0]
-A FORWARD -p udp -m udp --dport 53
-A FORWARD -p udp -m udp --dport 54
-A FORWARD -p tcp -m multiport --dports 80
-A FORWARD -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
",
    );
    feed(
        "nft -f -",
        "table inet own {
	chain forward {
		type filter hook forward priority 1; policy accept;
		udp dport 53 counter
		udp length 12 counter
		icmp type echo-request counter
	}
}
",
    );
    let mut bench = Bench::new(router);
    let unknown: Vec<usize> = fragments().map(|it| bench.sends(&it).n_outcomes.len()).to_vec();
    // The bytes sent are those of the header, which decides what the kernel counts, and nobody else knows.
    assert_eq!(unknown, [4, 1]);
}

#[test]
fn conditions_of_nft_hold_for_the_packets_that_the_kernel_says() {
    let router = Router::new();
    let mut text = include_str!("rules/sets.nft").to_owned();
    let matches = include_str!("rules/matches.nft").lines();
    text.extend(matches.flat_map(|it| ["add rule inet battery forward ", it, " counter\n"]));
    feed("nft -f -", &text);
    let mut bench = Bench::new(router);
    for packet in packets("10.1.0.", "10.2.0.").iter().chain(&packets("fd01::", "fd02::")) {
        bench.sends(packet);
    }
}
