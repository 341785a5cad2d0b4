//! Packets between nodes, each with an agent of its own.

use hopwise_agent::Nodes;
use hopwise_snapshot::{Answers, Crossing, Mac, Message, Observation, Packet, Place, Probe, Question, Seen};

use crate::harness::{FakeNode, Fakes, Namespace};

/// Two nodes with a bridge between them.
fn nodes() -> (FakeNode, FakeNode, Namespace) {
    let (w1, w2, fabric) = (FakeNode::new("w1"), FakeNode::new("w2"), Namespace::new());
    fabric.sh("ip link add br0 type bridge; ip link set br0 up");
    for (node, address) in [(&w1, "192.0.2.11/24"), (&w2, "192.0.2.12/24")] {
        let name = node.name;
        fabric.sh(&format!("ip link add {name} type veth peer name eth0 netns {}", node.netns.path()));
        fabric.sh(&format!("ip link set {name} master br0 up"));
        node.netns.sh(&format!("ip addr add {address} dev eth0; ip link set eth0 up"));
    }
    (w1, w2, fabric)
}

fn crossing() -> Crossing {
    Crossing {
        from: "w1".into(),
        source: "192.0.2.11".parse().unwrap(),
        to: "w2".into(),
        destination: "192.0.2.12".parse().unwrap(),
        packets: vec![
            Packet::Vxlan { port: 8472, vni: 1, station: Mac([2, 0, 0, 0, 0, 1]), size: None },
            Packet::Udp { port: 8473 },
            Packet::Echo,
            Packet::Tcp { port: 9 },
        ],
    }
}

fn seen(nodes: &Nodes, crossing: &Crossing) -> Vec<Seen> {
    let mut observed = nodes.observe(&[Probe::Cross(vec![crossing.clone()])]);
    assert_eq!(observed.len(), 1);
    match observed.remove(0).unwrap().as_slice() {
        [Observation::Crossed { crossing: sent, seen, .. }] => {
            assert_eq!(sent, crossing);
            seen.clone()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_crosses_is_seen_at_both_ends_and_what_is_lost_between_is_not() {
    let (w1, w2, fabric) = nodes();
    let nodes = Nodes::new(Fakes::to(&[&w1, &w2]), vec![w1.target(), w2.target()]);
    let all = Seen { n_left: 5, n_arrived: 5 };
    assert_eq!(seen(&nodes, &crossing()), [all; 4]);
    // The recipient's own rules do not matter, the underlay's do.
    w2.netns.sh("nft 'table inet f { chain c { type filter hook input priority 0; policy drop; }; }'");
    fabric.sh(
        "nft 'table bridge f { chain c { type filter hook forward priority 0; udp dport 8472 drop; }; }'",
    );
    let lost = Seen { n_left: 5, n_arrived: 0 };
    assert_eq!(seen(&nodes, &crossing()), [lost, all, all, all]);
    // And the sender's.
    w1.netns
        .sh("nft 'table inet f { chain c { type filter hook output priority 0; udp dport 8473 drop; }; }'");
    assert_eq!(seen(&nodes, &crossing()), [lost, Seen::default(), all, all]);
}

#[test]
fn questions_are_asked_from_nodes_and_pods_and_answered_in_their_order() {
    const A: &str = "0f3a9a1e-7c55-4f0e-9a58-2d1f6b1c7e01";
    let (mut w1, w2, _fabric) = nodes();
    let a = w1.pod("a", A, &format!("0::/kubepods/pod{A}"));
    a.sh("ip addr add 10.244.1.2/24 dev eth0");
    w1.netns.sh("ip addr add 10.244.1.1/24 dev va");
    w1.expect("gone", "deadbeef-0000-4111-8222-333344445555");
    let nodes = Nodes::new(Fakes::to(&[&w1, &w2]), vec![w1.target(), w2.target()]);
    let ask = |from: Place, to: &str| {
        Probe::Ask(Question { from, to: to.parse().unwrap(), message: Message::Echo { size: None } })
    };
    let probes = [
        ask(Place::node("w2"), "192.0.2.11"),
        ask(Place::pod("default", "a"), "10.244.1.1"),
        ask(Place::pod("default", "gone"), "10.244.1.1"),
        ask(Place::pod("default", "a"), "192.0.2.12"),
        ask(Place::node("w9"), "192.0.2.12"),
        Probe::Cross(vec![Crossing { to: "w9".into(), ..crossing() }]),
    ];
    let observed = nodes.observe(&probes);
    let answers = |at: usize| match observed[at].as_deref() {
        Ok([Observation::Asked { question, answers }]) => {
            assert_eq!(Probe::Ask(question.clone()), probes[at]);
            *answers
        }
        other => panic!("{other:?}"),
    };
    let answered = Answers { n_sent: 5, n_answered: 5, n_refused: 0 };
    assert_eq!((answers(0), answers(1)), (answered, answered));
    assert_eq!(answers(3).n_answered, 0, "the pod has no route there");
    let said = |at: usize| {
        let error = observed[at].as_ref().unwrap_err();
        hopwise_wire::Refusal::of(error).to_string()
    };
    assert!(said(2).contains("there is no pod/default/gone on this node: no process runs"), "{}", said(2));
    assert_eq!(said(4), "no node has node/w9");
    assert_eq!(said(5), "no node has node/w9");
}

#[test]
fn a_sender_that_cannot_send_is_told_from_a_recipient_that_cannot_watch() {
    let (w1, w2, _fabric) = nodes();
    let nodes = Nodes::new(Fakes::to(&[&w1, &w2]), vec![w1.target(), w2.target()]);
    let wrong = Crossing { source: "192.0.2.99".parse().unwrap(), ..crossing() };
    let error = nodes.observe(&[Probe::Cross(vec![wrong])]).remove(0).unwrap_err();
    let said = hopwise_wire::Refusal::of(&error).to_string();
    assert!(said.starts_with("node w1 gave no answer: failed to send packets between nodes"), "{said}");
    // Both agents are still there.
    assert_eq!(seen(&nodes, &crossing()).len(), 4);
}
