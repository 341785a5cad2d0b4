//! What a healthy lab's packets say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::harness::{Labs, lost, users};

fn text<'a>(pair: &'a Value, key: &str) -> &'a str {
    pair[key].as_str().unwrap_or_default()
}

#[test]
fn in_a_healthy_lab_everything_is_reached_by_whom_it_should_be() {
    for (user, base) in users().iter().flat_map(|user| ["vxlan", "dual-stack"].map(|base| (*user, base))) {
        let labs = Labs::new(user);
        labs.ok(&["up", "demo", "--base", base]);
        let truth = labs.truth("demo", &[]);
        assert_eq!(lost(&truth), Vec::<String>::new(), "as {user:?}, {base}");
        let families: BTreeSet<u64> = truth.iter().filter_map(|it| it["family"].as_u64()).collect();
        assert_eq!(families.contains(&6), base == "dual-stack");
        // 20 sources; 15 plain pods by tcp, udp and two echo requests, 2 pods of DNS by two more; names beside.
        let n_to_pods = truth.iter().filter(|it| text(it, "to").starts_with("pod/")).count();
        assert_eq!(n_to_pods, 20 * families.len() * (15 * 4 + 2 * 5));
        who_answers_is_whom_one_asks(&truth);
        sources_are_as_kubernetes_promises(&labs, &truth);
        names_are_resolved(&truth);
    }
}

fn who_answers_is_whom_one_asks(truth: &[Value]) {
    for pair in truth {
        let (to, answered_by) = (text(pair, "to"), text(pair, "answeredBy"));
        if pair["proto"] == "dns" {
            continue;
        }
        if to.starts_with("svc/default/echo") || to.contains(":30080/") {
            assert!(answered_by.starts_with("pod/default/echo-"), "{pair}");
        } else if to.starts_with("svc/shop/cart") {
            assert!(answered_by.starts_with("pod/shop/cart-"), "{pair}");
        } else if to.starts_with("svc/kube-system/kube-dns") {
            assert!(answered_by.starts_with("pod/kube-system/coredns-"), "{pair}");
        } else if to.starts_with("svc/default/kubernetes") {
            assert_eq!(answered_by, "node/cp", "{pair}");
        } else if to.starts_with("ip/") {
            assert_eq!(answered_by, "outside", "{pair}");
        } else {
            let place = to.split(':').next().unwrap_or_default();
            assert_eq!(answered_by, place, "{pair}");
        }
    }
}

/// Pods see each other without translation, and the outside sees nodes.
fn sources_are_as_kubernetes_promises(labs: &Labs, truth: &[Value]) {
    let mut addresses: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for pod in labs.objects("demo", "pods") {
        let ips = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|it| text(it, "ip").to_owned()).collect()
        };
        let name = format!("pod/{}/{}", text(&pod["metadata"], "namespace"), text(&pod["metadata"], "name"));
        addresses.insert(name, (ips(&pod["status"]["podIPs"]), ips(&pod["status"]["hostIPs"])));
    }
    for pair in truth.iter().filter(|it| it["proto"] != "dns") {
        let Some((own, node)) = addresses.get(text(pair, "from")) else { continue };
        let seen = text(pair, "sourceSeen").to_owned();
        let to = text(pair, "to");
        if to.starts_with("pod/") {
            assert!(own.contains(&seen), "{pair}");
        } else if to.starts_with("ip/") {
            assert!(node.contains(&seen), "{pair}");
        }
    }
}

fn names_are_resolved(truth: &[Value]) {
    let names: Vec<&Value> = truth.iter().filter(|it| it["proto"] == "dns").collect();
    let of = |name: &str| names.iter().filter(|it| it["to"] == name).copied().collect::<Vec<_>>();
    assert_eq!(of("www.example.test").len(), 20);
    // CoreDNS itself asks whom its node asks.
    assert_eq!(of("kubernetes.default.svc.cluster.local").len(), 15);
    for pair in of("www.example.test") {
        assert_eq!(pair["addresses"][0], "203.0.113.10", "{pair}");
    }
    for pair in of("kubernetes.default.svc.cluster.local") {
        assert_eq!(pair["addresses"], serde_json::json!(["10.96.0.1"]), "{pair}");
    }
}

#[test]
fn full_packets_are_as_large_as_the_sources_interface_lets_through() {
    let labs = Labs::new(crate::harness::plain_user());
    labs.ok(&["up", "demo", "--nodes", "2"]);
    let truth = labs.truth("demo", &["icmp"]);
    let sizes = |from: &str, to: &str| -> BTreeSet<u64> {
        let pairs =
            truth.iter().filter(|it| text(it, "from").starts_with(from) && text(it, "to").starts_with(to));
        pairs.filter_map(|it| it["size"].as_u64()).collect()
    };
    assert_eq!(sizes("pod/", ""), BTreeSet::from([1450]));
    assert_eq!(sizes("node/", "ip/"), BTreeSet::from([1500]));
    assert_eq!(sizes("node/", "pod/"), BTreeSet::from([1450]));
}

#[test]
fn errors_are_told_apart() {
    let labs = Labs::new(crate::harness::plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let errors = |only: &str| -> BTreeSet<String> {
        let truth = labs.truth("demo", &[only]);
        let from_client = truth.iter().filter(|it| it["from"] == "pod/default/client-cp");
        from_client.map(|it| text(it, "error").to_owned()).collect()
    };
    let echo = ["pod/default/echo-cp:8080/tcp", "pod/default/echo-cp:8080/udp"];
    for (rule, expected) in [
        ("-j DROP", "timeout"),
        ("-j REJECT --reject-with icmp-port-unreachable", "refused"),
        ("-j REJECT --reject-with icmp-host-unreachable", "unreachable"),
        ("-j REJECT --reject-with icmp-admin-prohibited", "prohibited"),
    ] {
        let words = format!("pod/default/echo-cp: iptables -I INPUT -p {{}} --dport 8080 {rule}");
        for proto in ["tcp", "udp"] {
            labs.ok(&["inject", "demo", &words.replace("{}", proto)]);
        }
        for to in echo {
            assert_eq!(errors(to), BTreeSet::from([expected.to_owned()]), "{to} {rule}");
        }
        labs.ok(&["heal", "demo"]);
    }
    labs.ok(&["inject", "demo", "pod/default/client-cp: ip route del default"]);
    assert_eq!(errors("ip/203.0.113.10:8080/tcp"), BTreeSet::from(["unreachable".to_owned()]));
}

#[test]
fn a_packet_that_another_answers_names_that_other() {
    let labs = Labs::new(crate::harness::plain_user());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    // cart-cp has the address of echo-cp too, and the node sends there.
    let pods = labs.objects("demo", "pods");
    let address = |name: &str| {
        let pod = pods.iter().find(|it| it["metadata"]["name"] == name).unwrap();
        text(&pod["status"], "podIP").to_owned()
    };
    let nat = format!(
        "cp: iptables -t nat -I PREROUTING -d {} -j DNAT --to-destination {}",
        address("echo-cp"),
        address("cart-cp")
    );
    labs.ok(&["inject", "demo", &nat]);
    let truth = labs.truth("demo", &["pod/default/echo-cp"]);
    let from_client = truth.iter().filter(|it| it["from"] == "pod/default/client-cp");
    let to: Vec<&Value> = from_client
        .filter(|it| text(it, "to").split(':').next() == Some("pod/default/echo-cp") && it["size"].is_null())
        .collect();
    assert_eq!(to.len(), 3);
    for pair in to {
        assert_eq!(
            (&pair["reached"], &pair["answeredBy"]),
            (&true.into(), &"pod/shop/cart-cp".into()),
            "{pair}"
        );
    }
}

#[test]
fn few_open_files_make_the_truth_slower_but_not_another() {
    let labs = Labs::new(crate::harness::plain_user());
    labs.ok(&["up", "demo"]);
    let program = crate::harness::program().display().to_string();
    let mut truth = labs.command("prlimit");
    truth.args(["--nofile=400:400", "--", &program, "lab", "truth", "demo"]);
    let said = String::from_utf8(truth.output().unwrap().stdout).unwrap();
    assert_eq!(said, "1818 of 1818 probes answered\n");
}
