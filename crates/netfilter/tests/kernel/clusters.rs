//! Rules of Kubernetes nodes: kube-proxy in both modes, flannel, Calico.

use hopwise_netfilter::Verdict;
use serde_json::{Value as Json, json};

use crate::{
    BACK_ENDS,
    bench::Bench,
    packets::Packet,
    space::{Router, feed},
    tracer::answer,
};

/// The number of a node of a real cluster.
fn number(node: &str) -> &str {
    &node[node.len() - 1..]
}

/// A text of a node of a real cluster, in which the node has the router's address.
fn sample(node: &str, file: &str) -> String {
    let path = format!("{}/tests/samples/data/{node}/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // n1 is 192.168.50.11, and so on.
    let own = format!("192.168.50.1{}", number(node));
    text.replace(&own, "10.1.0.1")
}

/// The rules without the one module whose objects no tool here can make.
fn without_nfacct(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let (before, after) = line.split_once(" -m nfacct --nfacct-name  ").unwrap_or((line, ""));
        let after = after.split_once(' ').map_or("", |(_, after)| after);
        out.extend([before, if after.is_empty() { "" } else { " " }, after, "\n"]);
    }
    out
}

/// Packets that come by at a node of a cluster whose pods have 10.244.0.0/16.
#[track_caller]
fn visit(node: &str, bench: &mut Bench) {
    // A pod of the node's own.
    let pod = match number(node) {
        "1" => "10.244.0.9",
        "2" => "10.244.2.9",
        _ => "10.244.1.9",
    };
    let (outside, own) = ("10.1.0.9", "10.1.0.1");
    for packet in [
        Packet::udp(pod, "10.96.0.10", 53),
        Packet::udp(outside, "10.96.0.10", 53),
        Packet::syn(pod, "10.96.0.10", 53),
        Packet::syn(pod, "10.96.0.10", 9153),
        Packet::syn(pod, "10.96.0.1", 443),
        Packet::syn(outside, own, 30080),
        Packet::syn(pod, own, 30080),
        Packet::syn(pod, outside, 80),
        Packet::syn(pod, "10.244.1.7", 80),
        Packet::syn(outside, "10.244.1.7", 80),
        Packet::udp("10.244.1.7", pod, 53),
        Packet::ping(pod, "10.96.0.10"),
        Packet::udp(pod, "10.96.77.77", 53),
        Packet::syn(pod, "10.96.0.10", 99),
        Packet::syn(outside, "10.2.0.9", 80),
    ] {
        bench.sends(&packet);
        bench.sends(&packet.by(50000));
    }
    bench.sends_itself(&Packet::syn(own, "10.96.0.1", 443));
    bench.sends_itself(&Packet::udp(own, "10.96.0.10", 53));
    bench.sends_itself(&Packet::syn(own, "10.244.1.7", 80));
    bench.sends(&Packet::syn("fd01::9", "fd02::9", 80));
    // An answer is translated back.
    let query = Packet::udp(pod, "10.96.0.10", 53).by(50001);
    let first = bench.sends(&query);
    let back = bench.sends(&answer(&first.view));
    assert_eq!(back.view.header().unwrap().source.to_string(), "10.96.0.10");
    bench.sends(&query);
}

#[test]
fn rules_of_a_real_cluster_with_kube_proxy_in_iptables_mode() {
    for (node, back_end) in [("iptables-n1", "nft"), ("iptables-n2", "legacy"), ("iptables-n3", "nft")] {
        let mut router = Router::new();
        router.listens(&[30080, 53, 80, 443, 6443, 9153]);
        for (tool, file) in [("iptables", "iptables-save.txt"), ("ip6tables", "ip6tables-save.txt")] {
            feed(&format!("{tool}-{back_end}-restore"), &without_nfacct(&sample(node, file)));
        }
        visit(node, &mut Bench::new(router));
    }
}

/// The tables of kube-proxy out of a listing, with a counter in every rule that ends in a simple statement.
fn countable(text: &str) -> String {
    let mut json: Json = serde_json::from_str(text).unwrap();
    let items = json["nftables"].as_array_mut().unwrap();
    items.retain(|it| {
        let body = it.as_object().unwrap().values().next().unwrap();
        body["table"].as_str().or(body["name"].as_str()).is_some_and(|it| it == "kube-proxy")
    });
    // Elements of maps name chains.
    items.sort_by_key(|it| ["table", "chain", "set", "map", "rule"].map(|kind| it.get(kind).is_none()));
    for item in items {
        let body = item.as_object_mut().unwrap().values_mut().next().unwrap();
        body.as_object_mut().unwrap().remove("handle");
        let Some(statements) = body.get_mut("expr").and_then(Json::as_array_mut) else { continue };
        if statements.iter().any(|it| it.get("vmap").is_some()) {
            continue;
        }
        let at = statements.iter().position(|it| it.get("match").is_none()).unwrap_or(statements.len());
        statements.insert(at, json!({ "counter": { "packets": 0, "bytes": 0 } }));
    }
    json.to_string()
}

#[test]
fn rules_of_a_real_cluster_with_kube_proxy_in_nftables_mode() {
    for node in ["nftables-n1", "nftables-n2", "nftables-n3"] {
        let mut router = Router::new();
        router.listens(&[30080, 53, 80, 443, 6443, 9153]);
        for (tool, file) in [("iptables", "iptables-save.txt"), ("ip6tables", "ip6tables-save.txt")] {
            feed(&format!("{tool}-nft-restore"), &without_nfacct(&sample(node, file)));
        }
        feed("nft -j -f -", &countable(&sample(node, "nft.json")));
        visit(node, &mut Bench::new(router));
    }
}

#[test]
fn rules_of_kube_proxy_for_services_of_every_kind() {
    let mut router = Router::new();
    router.listens(&[31999, 30080]);
    feed("nft -f -", include_str!("rules/kube-proxy.nft"));
    let mut bench = Bench::new(router);
    let (outside, pod, own) = ("10.1.0.9", "10.244.2.9", "10.1.0.1");
    for packet in [
        Packet::syn(pod, "172.30.0.1", 443),
        Packet::syn(outside, "172.30.0.1", 443),
        Packet::udp(pod, "172.30.0.10", 53),
        Packet::udp("10.244.1.2", "172.30.0.10", 53),
        Packet::syn(pod, "172.30.0.30", 80),
        Packet::udp(pod, "172.30.0.40", 53),
        Packet::syn(pod, "172.30.0.1", 444),
        Packet::syn(pod, "172.30.0.99", 80),
        Packet::syn(outside, "10.1.0.150", 443),
        Packet::syn("10.1.9.9", "10.1.0.150", 443),
        Packet::syn("10.1.9.11", "10.1.0.150", 443),
        Packet::syn(outside, own, 30080),
        Packet::syn(outside, own, 30081),
        Packet::syn(pod, own, 30081),
        Packet::syn(outside, own, 31999),
        Packet::udp(outside, own, 31998),
        Packet::syn(pod, outside, 80),
    ] {
        bench.sends(&packet);
        bench.sends(&packet.by(50000));
    }
    bench.sends_itself(&Packet::syn(own, "172.30.0.1", 443));
    bench.sends_itself(&Packet::udp(own, "172.30.0.99", 53));
    // A client stays with the endpoint that it got.
    let first = bench.sends(&Packet::syn(pod, "172.30.0.20", 80));
    assert_eq!(first.n_outcomes, [2]);
    bench.reads_again();
    for port in 50001..50005 {
        let next = bench.sends(&Packet::syn(pod, "172.30.0.20", 80).by(port));
        assert!(next.n_outcomes.is_empty());
        assert_eq!(next.view.header().unwrap().destination, first.view.header().unwrap().destination);
    }
}

#[test]
fn rules_of_calico() {
    for back_end in BACK_ENDS {
        let mut router = Router::new();
        router.listens(&[179, 80, 40000]);
        feed("ipset restore", include_str!("rules/calico.ipset"));
        let rules = include_str!("rules/calico.iptables");
        // What is behind `right` is the workload.
        let rules = rules.replace("i cali1a2b3c4d5e6", "i right").replace("o cali1a2b3c4d5e6", "o right");
        let rules = rules.replace("i cali+", "i righ+").replace("o cali+", "o righ+");
        feed(&format!("iptables-{back_end}-restore"), &rules);
        let mut bench = Bench::new(router);
        let pod = "192.168.1.5";
        for packet in [
            Packet::syn("10.1.4.1", pod, 80),
            Packet::syn("10.1.4.9", pod, 80),
            Packet::syn("10.1.4.1", pod, 81),
            Packet::syn("10.1.0.9", pod, 8443),
            Packet::udp("10.1.0.9", pod, 9443),
            Packet::udp("10.1.0.9", pod, 8443),
            Packet::ping("10.1.5.9", pod),
            Packet::ping("10.1.0.9", pod),
            Packet::syn("10.1.4.1", "10.1.0.200", 443),
            Packet::syn("192.168.1.7", pod, 80),
            Packet::udp(pod, "10.1.0.9", 53),
            Packet::udp(pod, "10.1.0.9", 4789),
            Packet::syn(pod, "192.168.9.9", 80),
            Packet::syn(pod, "10.1.0.1", 80),
            Packet::syn("10.1.0.9", "10.1.0.1", 179),
        ] {
            bench.sends(&packet);
        }
        let first = bench.sends(&Packet::syn("10.1.4.1", pod, 443));
        assert_eq!(bench.sends(&answer(&first.view)).verdict, Verdict::Accept);
        bench.sends(&Packet::syn("10.1.4.1", pod, 443));
        bench.sends_itself(&Packet::syn("10.2.0.1", pod, 80));
        bench.sends_itself(&Packet::syn("10.1.0.1", "10.1.0.9", 80));
    }
}
