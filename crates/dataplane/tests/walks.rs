//! What flows do in the committed bases after changes: each seen to be so with packets.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

use std::net::IpAddr;

use hopwise_dataplane::{Disposition, Flow, FlowProtocol, Network, Recipient, Size, State, Traces, trace};
use hopwise_snapshot::{Place, Snapshot};
use hopwise_testkit::{after, base};

fn pod(name: &str) -> Place {
    format!("pod/default/{name}").parse().unwrap()
}

fn address(snapshot: &Snapshot, name: &str, is_ipv6: bool) -> IpAddr {
    let pods = snapshot.cluster.pods.known().unwrap();
    let pod = pods.iter().find(|it| it.metadata.name == name).unwrap();
    pod.ips().into_iter().find(|it| it.is_ipv6() == is_ipv6).unwrap()
}

fn flow(snapshot: &Snapshot, from: &str, to: &str, protocol: FlowProtocol, is_ipv6: bool) -> Flow {
    Flow::new(pod(from), address(snapshot, to, is_ipv6), protocol)
}

fn traced(base_name: &str, lines: &[&str], from: &str, to: &str, protocol: FlowProtocol) -> Traces {
    let is_ipv6 = base_name == "dual-stack";
    let snapshot = after(&base(base_name).unwrap(), lines).unwrap();
    trace(&Network::new(&snapshot), &flow(&snapshot, from, to, protocol, is_ipv6))
}

fn elements(traces: &Traces) -> (Vec<&str>, Vec<&str>) {
    let first = traces.blockers().into_iter().map(|it| it.element.as_str()).collect();
    (first, traces.further.iter().map(|it| it.element.as_str()).collect())
}

#[test]
fn a_stopped_flow_says_what_else_would_stop_it() {
    let lines = [
        "w2: sysctl net.ipv4.ip_forward=0",
        "w2: iptables-insert filter FORWARD 1 -p tcp -m tcp --dport 8080 -j DROP",
        "pod/default/echo-w2: socket-close tcp 8080",
    ];
    let traces = traced("vxlan", &lines, "client-w1", "echo-w2", FlowProtocol::Tcp(8080));
    let (first, further) = elements(&traces);
    assert_eq!(first, ["node/w2/sysctl/net.ipv4.ip_forward"]);
    assert_eq!(further, ["node/w2/iptables-nft/filter/FORWARD/1", "pod/default/echo-w2/socket/tcp/8080"]);
}

#[test]
fn what_stops_only_the_answer_is_found_behind_what_stops_the_question() {
    let lines = [
        "w2: sysctl net.ipv4.conf.all.rp_filter=1",
        "w2: sysctl net.ipv4.ip_forward=0",
        "w1: iptables-insert filter FORWARD 1 -p udp -m udp --sport 8080 -j DROP",
    ];
    let traces = traced("vxlan", &lines, "client-w1", "echo-w2", FlowProtocol::Udp(8080));
    let (first, further) = elements(&traces);
    assert_eq!(first, ["node/w2/sysctl/net.ipv4.ip_forward"]);
    assert_eq!(further, ["node/w1/iptables-nft/filter/FORWARD/1"]);
}

#[test]
fn a_delivered_flow_has_nothing_further_on() {
    let traces = traced("vxlan", &[], "client-w1", "echo-w2", FlowProtocol::Tcp(8080));
    assert!(traces.traces[0].disposition.is_delivered());
    assert!(traces.further.is_empty());
}

/// The program may answer from the address that the kernel chooses, or from the one that was asked.
#[test]
fn where_a_udp_answer_comes_from_is_unknown_where_the_kernel_would_choose_another_address() {
    let snapshot = base("dual-stack").unwrap();
    let lost =
        format!("pod/default/client-w1: address-del eth0 {}/64", address(&snapshot, "client-w1", true));
    let neighbour = |protocol| traced("dual-stack", &[&lost], "client-w1", "echo-w1", protocol);
    let routed = traced("dual-stack", &[&lost], "client-w1", "echo-w2", FlowProtocol::Icmp);
    assert_eq!(
        elements(&routed).0,
        ["node/w1/link/cni0"],
        "a link-local source leaves by no other interface"
    );
    // From a link-local address: the kernel would answer from one too.
    let udp = neighbour(FlowProtocol::Udp(8080));
    assert_eq!(udp.state(), State::Unknown);
    let assumption = udp.assumptions().into_iter().next().unwrap().clone();
    assert_eq!(assumption.element.as_str(), "pod/default/echo-w1/socket/udp/8080");
    assert!(assumption.reason.to_string().contains("an answer from fe80::"), "{}", assumption.reason);
    for protocol in [FlowProtocol::Tcp(8080), FlowProtocol::Icmp] {
        let Disposition::Delivered { by, source_seen } = &neighbour(protocol).traces[0].disposition else {
            panic!("{protocol:?} is not delivered");
        };
        assert_eq!(*by, Recipient::Place(pod("echo-w1")));
        assert!(matches!(source_seen, IpAddr::V6(it) if it.is_unicast_link_local()), "{source_seen}");
    }
}

/// Deleting a rule of the kernel's own tells it nothing until another was added: which of both happened, no state shows.
#[test]
fn what_an_ipv6_rule_that_is_gone_did_is_unknown() {
    let ipv6 =
        traced("dual-stack", &["w1: rule-del -6 pref 32766"], "client-w1", "echo-w2", FlowProtocol::Icmp);
    assert_eq!(ipv6.state(), State::Unknown);
    let lines = ["w1: rule-del -6 pref 32766", "w1: rule-add -6 pref 100 to fd99::/16 lookup 100"];
    let added = traced("dual-stack", &lines, "client-w1", "echo-w2", FlowProtocol::Icmp);
    assert_eq!(added.state(), State::Broken);
    let ipv4 = traced("vxlan", &["w1: rule-del pref 32766"], "client-w1", "echo-w2", FlowProtocol::Icmp);
    assert_eq!(ipv4.state(), State::Broken);
}

/// An echo reply over IPv6 comes in fragments once its host heard that it was too big; a request that must not be cut
/// does not.
#[test]
fn an_echo_reply_is_cut_by_the_host_that_learns_of_a_small_mtu() {
    let snapshot = after(&base("dual-stack").unwrap(), &["w2: mtu flannel-v6.1 1300"]).unwrap();
    let network = Network::new(&snapshot);
    let of_size = |from, to| {
        let flow = flow(&snapshot, from, to, FlowProtocol::Icmp, true);
        trace(&network, &Flow { size: Size::Bytes(1400), ..flow }).state()
    };
    assert_eq!(of_size("client-w1", "echo-w2"), State::Kept);
    assert_eq!(of_size("client-w2", "echo-w1"), State::Broken);
}

#[test]
fn a_packet_out_of_a_tunnel_keeps_the_mark_of_its_wrapping() {
    let lines = [
        "w2: iptables-append mangle PREROUTING -i eth0 -j MARK --set-xmark 0x77/0xffffffff",
        "w2: rule-add pref 90 fwmark 0x77/0xffffffff blackhole",
    ];
    let traces = traced("vxlan", &lines, "client-w1", "echo-w2", FlowProtocol::Icmp);
    assert_eq!(elements(&traces).0, ["node/w2/rule/90"]);
    let traces = traced("vxlan", &lines[..1], "client-w1", "echo-w2", FlowProtocol::Icmp);
    assert_eq!(traces.state(), State::Kept);
}

/// `ip_forward` looks a packet up as one that came, and as one that is to leave (`xfrm4_route_forward`).
#[test]
fn what_is_forwarded_passes_the_ipsec_policies_of_what_leaves() {
    for direction in ["fwd", "out"] {
        let line = format!("w1: xfrm-block {direction} 0.0.0.0/0 10.244.2.0/24");
        let traces = traced("vxlan", &[&line], "client-w1", "echo-w2", FlowProtocol::Icmp);
        let (first, _) = elements(&traces);
        assert!(
            matches!(first[..], [it] if it.starts_with("node/w1/xfrm/policy/")),
            "{direction}: {first:?}"
        );
    }
}
