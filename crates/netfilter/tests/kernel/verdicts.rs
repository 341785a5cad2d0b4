//! How chains, tables and hooks follow each other.

use hopwise_netfilter::Verdict;

use crate::{
    BACK_ENDS,
    bench::Bench,
    packets::Packet,
    space::{Router, feed},
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
