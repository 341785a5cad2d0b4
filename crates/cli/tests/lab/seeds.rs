//! Two incidents as operators met them, from the first look to the proof that it holds.

use std::process::Output;

use serde_json::Value;

use crate::harness::{Labs, plain_user, program};

const LAB: &str = "demo";

fn hopwise(labs: &Labs, words: &[&str]) -> Output {
    labs.command(program()).args(words).args(["--lab", LAB]).output().unwrap()
}

fn document(output: &Output, code: i32) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// Code and first element of each finding, without those that break nothing now.
fn found(diagnosis: &Value) -> Vec<(String, String)> {
    let all = diagnosis["findings"].as_array().unwrap().iter().filter(|it| it["kind"] != "latent");
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let mut all: Vec<_> = all.map(|it| (text(&it["code"]), text(&it["elements"][0]))).collect();
    all.sort();
    all
}

/// How many of five questions for a name are answered in a pod.
fn answered(labs: &Labs, pod: &str, name: &str) -> u64 {
    let output = hopwise(labs, &["probe", "path", pod, name, "-o", "json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|it| panic!("{it}: {said}"));
    let questions = found["questions"].as_array().unwrap();
    assert!(!questions.is_empty(), "{said}");
    questions.iter().map(|it| it["answered"].as_u64().unwrap()).min().unwrap()
}

/// Network cards were changed over night, and each node has kept something else of its four files.
#[test]
fn settings_that_were_lost_with_the_network_cards_come_back() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    let in_node = |node: &str, command: &str| labs.exec(LAB, node, &["sh", "-ec", command]);
    in_node("cp", "rm /etc/modules-load.d/k8s.conf");
    in_node("w1", ": > /etc/sysctl.d/k8s.conf");
    in_node("w2", "rm /etc/sysctl.d/k8s.conf; echo net.ipv4.ip_forward=0 >> /etc/sysctl.conf");
    for worker in ["w1", "w2"] {
        in_node(worker, "sysctl -qw net.ipv4.ip_forward=0; : > /etc/resolv.conf");
    }

    let drift = document(&hopwise(&labs, &["drift", "-o", "json"]), 1);
    let odd: Vec<&str> =
        drift["odd"].as_array().unwrap().iter().map(|it| it["element"].as_str().unwrap()).collect();
    for element in [
        "node/cp/sysctl/net.ipv4.ip_forward",
        "node/cp/file/etc/resolv.conf",
        "node/cp/module/br_netfilter",
        "node/w2/file/etc/sysctl.d/99-sysctl.conf:",
    ] {
        assert!(odd.iter().any(|it| it.starts_with(element)), "{element}: {odd:#?}");
    }

    let diagnosis = document(&hopwise(&labs, &["diagnose", "-o", "json"]), 1);
    let found_now = found(&diagnosis);
    for (code, element) in [
        ("HW1001", "node/w1/sysctl/net.ipv4.ip_forward"),
        ("HW1001", "node/w2/sysctl/net.ipv4.ip_forward"),
        ("HW2004", "node/w1/file/etc/resolv.conf"),
        ("HW2004", "node/w2/file/etc/resolv.conf"),
    ] {
        let wanted = (code.to_owned(), element.to_owned());
        assert!(found_now.contains(&wanted), "{wanted:?}: {found_now:#?}");
    }
    assert_eq!(found_now.len(), 4, "{found_now:#?}");

    let repaired = document(&hopwise(&labs, &["repair", "--apply", "--yes", "-o", "json"]), 0);
    assert_eq!(repaired["healed"], true, "{repaired:#}");
    for pod in ["pod/default/client-w1", "pod/default/client-w2"] {
        assert_eq!(answered(&labs, pod, "www.example.test"), 5, "{pod}");
    }
    let diagnosis = document(&hopwise(&labs, &["diagnose", "-o", "json"]), 0);
    assert_eq!(found(&diagnosis), []);
    let drift = document(&hopwise(&labs, &["drift", "-o", "json"]), 0);
    assert_eq!(drift["after"]["verdict"], "healthy", "{:#}", drift["after"]);
}

/// Names resolve and do not, by turns: the tunnel's port is closed between two nodes, and no node shows it.
#[test]
fn a_tunnel_that_the_underlay_blocks_is_located_and_the_server_behind_it_named() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    let rules = "add table bridge sg; add chain bridge sg f { type filter hook forward priority 0; }; \
                 add rule bridge sg f ip saddr 192.168.50.12 ip daddr 192.168.50.13 udp dport 8472 drop; \
                 add rule bridge sg f ip saddr 192.168.50.13 ip daddr 192.168.50.12 udp dport 8472 drop";
    labs.exec(LAB, "fab", &["nft", rules]);

    // Each server by itself: some pods reach both, others one alone.
    let output = hopwise(&labs, &["probe", "dns", "-o", "json"]);
    let asked: Value = serde_json::from_slice(&output.stdout).unwrap();
    let silent = |it: &&Value| it["answered"] == 0;
    let questions = asked["questions"].as_array().unwrap();
    assert!(questions.iter().any(|it| silent(&it)) && questions.iter().any(|it| !silent(&it)), "{asked:#}");

    let diagnosis = document(&hopwise(&labs, &["diagnose", "-o", "json"]), 1);
    let found_now = found(&diagnosis);
    assert_eq!(found_now, [("HW1501".to_owned(), "underlay/w1-w2/udp/8472".to_owned())], "{diagnosis:#}");
    let finding = &diagnosis["findings"][0];
    assert_eq!(finding["kind"], "located");
    let told = finding["repair"]["actions"].to_string();
    assert!(told.contains("8472") && told.contains("security group"), "{told}");
    assert!(told.to_lowercase().contains("host-gw") || told.to_lowercase().contains("direct"), "{told}");

    // What lies outside of the cluster is printed and not done.
    let refused = document(&hopwise(&labs, &["repair", "--apply", "--yes", "-o", "json"]), 1);
    assert_eq!(refused["run"], Value::Null, "{refused:#}");

    labs.exec(LAB, "fab", &["nft", "delete table bridge sg"]);
    let diagnosis = document(&hopwise(&labs, &["diagnose", "-o", "json"]), 0);
    assert_eq!(found(&diagnosis), []);
}
