//! Connections: states, marks, translation, and where chains that translate run.

use hopwise_netfilter::Verdict;

use crate::{
    BACK_ENDS,
    bench::Bench,
    packets::Packet,
    space::{Router, feed},
    tracer::answer,
};

#[test]
fn conditions_on_connections_hold_for_the_packets_that_the_kernel_says() {
    for back_end in BACK_ENDS {
        let router = Router::new();
        for (tool, net) in [("iptables", "10.1.0.0/16"), ("ip6tables", "fd01::/64")] {
            let mut text = include_str!("rules/connections.iptables").replace("10.1.0.0/16", net);
            if tool == "ip6tables" {
                let is_v4 = |it: &str| it.contains("10.") || it.contains("--dport 2000");
                text = text.lines().filter(|it| !is_v4(it)).flat_map(|it| [it, "\n"]).collect();
            }
            feed(&format!("{tool}-{back_end}-restore"), &text);
        }
        let mut bench = Bench::new(router);
        for (left, right) in [("10.1.0.", "10.2.0."), ("fd01::", "fd02::")] {
            talk(&mut bench, &format!("{left}9"), &format!("{right}9"));
        }
    }
}

#[test]
fn connections_in_the_words_of_nft_hold_for_the_packets_that_the_kernel_says() {
    let router = Router::new();
    feed("nft -f -", include_str!("rules/connections.nft"));
    let mut bench = Bench::new(router);
    for (left, right) in [("10.1.0.", "10.2.0."), ("fd01::", "fd02::")] {
        talk(&mut bench, &format!("{left}9"), &format!("{right}9"));
    }
}

/// Connections of several protocols, begun, answered and gone on with.
#[track_caller]
fn talk(bench: &mut Bench, from: &str, to: &str) {
    for (at, packet) in [
        Packet::syn(from, to, 80),
        Packet::udp(from, to, 53),
        Packet::ping(from, to),
        Packet::udp(from, to, 2000),
        Packet::udp(from, to, 9999),
    ]
    .into_iter()
    .enumerate()
    {
        let first = bench.sends(&packet);
        if first.verdict != Verdict::Accept {
            continue;
        }
        let back = bench.sends(&answer(&first.view));
        if at != 2 {
            let again = Packet { tos: 0x10, ..packet };
            bench.sends(&again);
        }
        assert_eq!(back.verdict, Verdict::Accept);
    }
}

#[test]
fn translation_runs_at_its_own_place_whatever_its_priority() {
    let router = Router::new();
    feed(
        "nft -f -",
        "table ip t {
	chain early {
		type nat hook prerouting priority -190; policy accept;
		counter
		udp dport 53 counter dnat to 10.2.0.20:5353
	}
	chain late {
		type nat hook prerouting priority 50; policy accept;
		counter
		udp dport 53 counter dnat to 10.2.0.21
		udp dport 54 counter dnat to 10.2.0.22
	}
	chain before {
		type filter hook prerouting priority -150; policy accept;
		ct status dnat counter
		udp dport 53 counter
	}
	chain between {
		type filter hook prerouting priority -99; policy accept;
		ct status dnat counter
		udp dport 53 counter
		udp dport 5353 counter
	}
	chain out {
		type nat hook postrouting priority -190; policy accept;
		ip daddr 10.2.0.20 counter masquerade
		ip daddr 10.2.0.22 counter snat to 10.2.0.77
	}
	chain outside {
		type filter hook postrouting priority 0; policy accept;
		ct status snat counter
		ip saddr 10.1.0.0/16 counter
	}
	chain outermost {
		type filter hook postrouting priority 300; policy accept;
		ct status snat counter
		ct status dnat counter
		ip saddr 10.2.0.1 counter
		ip saddr 10.2.0.77 counter
	}
}
",
    );
    let mut bench = Bench::new(router);
    for port in [53, 54, 55] {
        let first = bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", port));
        assert_eq!(first.verdict, Verdict::Accept);
        bench.sends(&answer(&first.view));
        bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", port));
    }
}

#[test]
fn of_chains_with_one_priority_the_later_registered_runs_first() {
    for names in [["a", "b"], ["b", "a"]] {
        let router = Router::new();
        for (at, name) in names.into_iter().enumerate() {
            let chain = format!(
                "table ip {name} {{
	chain forward {{
		type filter hook forward priority filter; policy accept;
		counter
		udp dport {} counter drop
	}}
}}
",
                53 + at
            );
            feed("nft -f -", &chain);
        }
        let mut bench = Bench::new(router);
        bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", 53));
        bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", 54));
        bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", 55));
    }
}

#[test]
fn what_the_router_sends_and_gets_passes_output_and_input() {
    for back_end in BACK_ENDS {
        let mut router = Router::new();
        router.listens(&[22, 80, 40000]);
        feed(
            &format!("iptables-{back_end}-restore"),
            "*mangle
:OUTPUT ACCEPT [0:0]
-A OUTPUT -p udp -m udp --dport 53 -j MARK --set-xmark 0x1/0xf
-A OUTPUT -p udp -m udp --dport 53 -j TOS --set-tos 0x10/0x3f
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80
-A PREROUTING -p tcp -m tcp --dport 8081 -j REDIRECT --to-ports 80
-A INPUT -p tcp -m tcp --dport 80
-A OUTPUT -d 10.2.0.8/32 -p tcp -j DNAT --to-destination 10.2.0.9
-A POSTROUTING -m mark --mark 0x1/0xf -j SNAT --to-source 10.2.0.1
COMMIT
*filter
:INPUT DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate DNAT -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A OUTPUT -m owner --uid-owner 0
-A OUTPUT -m owner ! --gid-owner 0
-A OUTPUT -m owner --socket-exists
-A OUTPUT -m tos --tos 0x10/0x3f
-A OUTPUT -m mark --mark 0x1
-A OUTPUT -d 10.2.0.9/32 -o right
-A OUTPUT -o left -j DROP
COMMIT
",
        );
        let mut bench = Bench::new(router);
        for port in [22, 80, 8080, 8081] {
            bench.sends(&Packet::syn("10.1.0.9", "10.1.0.1", port));
        }
        bench.sends(&Packet::syn("10.2.0.9", "10.1.0.1", 80));
        bench.sends(&Packet::udp("10.1.0.9", "10.2.0.1", 22));
        bench.sends_itself(&Packet::syn("10.2.0.1", "10.2.0.8", 80));
        let first = bench.sends_itself(&Packet::udp("10.2.0.1", "10.2.0.9", 53));
        assert_eq!(bench.sends(&answer(&first.view)).verdict, Verdict::Accept);
        bench.sends_itself(&Packet::ping("10.1.0.1", "10.1.0.9"));
    }
}

#[test]
fn forms_of_translation() {
    let router = Router::new();
    feed("nft -f -", include_str!("rules/translation.nft"));
    let mut bench = Bench::new(router);
    for port in 1001..1012 {
        let first = bench.sends(&Packet::udp("10.1.0.9", "10.2.0.9", port));
        bench.sends(&answer(&first.view));
    }
    for port in 1001..1004 {
        let first = bench.sends(&Packet::syn("fd01::9", "fd02::9", port));
        bench.sends(&answer(&first.view));
    }
}
