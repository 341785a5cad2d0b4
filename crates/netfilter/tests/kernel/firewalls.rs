//! Rules as Docker, ufw and firewalld write them.

use hopwise_netfilter::Verdict;

use crate::{
    BACK_ENDS,
    bench::Bench,
    packets::Packet,
    space::{Router, feed},
    tracer::answer,
};

#[test]
fn rules_of_docker() {
    for back_end in BACK_ENDS {
        let mut router = Router::new();
        router.listens(&[22, 8080]);
        let rules = include_str!("rules/docker.iptables").replace("docker0", "right");
        feed(&format!("iptables-{back_end}-restore"), &rules);
        let mut bench = Bench::new(router);
        // A published port, its answer, and what goes on.
        let syn = Packet::syn("10.1.0.9", "10.1.0.1", 8080);
        let first = bench.sends(&syn);
        assert_eq!(first.view.header().unwrap().destination.to_string(), "172.17.0.2");
        let back = bench.sends(&answer(&first.view));
        assert_eq!(back.view.header().unwrap().source.to_string(), "10.1.0.1");
        bench.sends(&syn);
        let query = bench.sends(&Packet::udp("10.1.0.9", "10.1.0.1", 5353));
        assert_eq!(bench.sends(&answer(&query.view)).verdict, Verdict::Accept);
        // Past the published port.
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", "172.17.0.2", 80)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", "172.17.0.2", 81)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::syn("10.1.66.9", "172.17.0.2", 80)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::ping("10.1.0.9", "172.17.0.9")).verdict, Verdict::Drop);
        // Outwards, translated.
        let out = bench.sends(&Packet::udp("172.17.0.2", "10.1.0.9", 53));
        assert_eq!(out.view.header().unwrap().source.to_string(), "10.1.0.1");
        assert_eq!(bench.sends(&answer(&out.view)).verdict, Verdict::Accept);
        bench.sends(&Packet::syn("172.18.0.2", "10.1.0.9", 80));
        // To the host, from a container.
        bench.sends(&Packet::syn("172.17.0.2", "10.2.0.1", 8080));
        bench.sends(&Packet::syn("10.1.0.9", "10.1.0.1", 22));
    }
}

#[test]
fn rules_of_ufw() {
    for back_end in BACK_ENDS {
        let mut router = Router::new();
        router.listens(&[22, 80, 161, 443, 40000]);
        feed(&format!("iptables-{back_end}-restore"), include_str!("rules/ufw.iptables"));
        let mut bench = Bench::new(router);
        let own = "10.1.0.1";
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", own, 22)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", own, 443)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", own, 81)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::udp("10.1.7.9", own, 161)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::udp("10.1.0.9", own, 161)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::udp("10.1.0.9", own, 138)).verdict, Verdict::Drop);
        assert_eq!(bench.sends(&Packet::ping("10.1.0.9", own)).verdict, Verdict::Accept);
        assert!(matches!(bench.sends(&Packet::udp("10.1.8.9", own, 5)).verdict, Verdict::Reject(_)));
        assert_eq!(bench.sends(&Packet::syn("10.1.0.9", "10.2.0.9", 443)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::syn("10.2.0.9", "10.1.0.9", 443)).verdict, Verdict::Drop);
        let first = bench.sends(&Packet::syn("10.1.0.9", "10.2.0.9", 6003));
        assert_eq!(bench.sends(&answer(&first.view)).verdict, Verdict::Accept);
        let first = bench.sends_itself(&Packet::udp(own, "10.1.0.9", 53));
        assert_eq!(bench.sends(&answer(&first.view)).verdict, Verdict::Accept);
    }
}

#[test]
fn rules_of_firewalld() {
    let mut router = Router::new();
    router.listens(&[22, 80, 9090]);
    feed("nft -f -", include_str!("rules/firewalld.nft"));
    let mut bench = Bench::new(router);
    for (left, right) in [("10.1.0.", "10.2.0."), ("fd01::", "fd02::")] {
        let (from, own, to) = (format!("{left}9"), format!("{left}1"), format!("{right}9"));
        assert_eq!(bench.sends(&Packet::syn(&from, &own, 22)).verdict, Verdict::Accept);
        assert!(matches!(bench.sends(&Packet::syn(&from, &own, 23)).verdict, Verdict::Reject(_)));
        assert_eq!(bench.sends(&Packet::ping(&from, &own)).verdict, Verdict::Accept);
        assert_eq!(bench.sends(&Packet::udp(&to, &format!("{right}1"), 80)).verdict, Verdict::Accept);
        let first = bench.sends(&Packet::syn(&from, &to, 443));
        assert_eq!(bench.sends(&answer(&first.view)).verdict, Verdict::Accept);
        assert!(matches!(bench.sends(&Packet::udp(&from, &to, 443)).verdict, Verdict::Reject(_)));
        let out = bench.sends(&Packet::udp(&to, &from, 53));
        assert_eq!(bench.sends(&answer(&out.view)).verdict, Verdict::Accept);
        bench.sends_itself(&Packet::udp(&own, &from, 53));
    }
    // Forwarded ports, by mark and by redirection.
    let first = bench.sends(&Packet::syn("10.1.0.9", "10.1.0.1", 8022));
    assert_eq!(first.view.header().unwrap().destination.to_string(), "10.2.0.50");
    assert_eq!(bench.sends(&answer(&first.view)).verdict, Verdict::Accept);
    assert_eq!(bench.sends(&Packet::syn("10.1.0.9", "10.1.0.1", 8080)).verdict, Verdict::Accept);
    // A source that is shut out.
    assert_eq!(bench.sends(&Packet::syn("10.1.66.9", "10.1.0.1", 22)).verdict, Verdict::Drop);
}
