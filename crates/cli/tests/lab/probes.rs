//! `hopwise probe`: packets, beside what the model says of them.

use std::{fs, path::Path};

use serde_json::Value;

use crate::harness::{Labs, program, users};

/// Runs `hopwise probe` on the lab, which must end with this code, and gives its document, which must be of its schema.
fn probed(labs: &Labs, code: i32, words: &[&str]) -> Vec<Value> {
    let words = [&["probe"], words, &["--lab", "demo", "-o", "json"]].concat();
    let output = labs.command(program()).args(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "hopwise {words:?}: {said}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas/probes.v1.json");
    let schema: Value = serde_json::from_slice(&fs::read(schema).unwrap()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<String> = validator.iter_errors(&document).map(|it| it.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    document["questions"].as_array().unwrap().clone()
}

/// The questions in short: from node, to node, whether answered, what the model says.
fn told(questions: &[Value]) -> Vec<String> {
    let word = |it: &Value| it.as_str().unwrap_or("-").to_owned();
    let line = |it: &Value| {
        let is_answered = it["answered"].as_u64().unwrap() > 0;
        format!("{} {} {is_answered} {}", word(&it["fromNode"]), word(&it["toNode"]), word(&it["model"]))
    };
    questions.iter().map(line).collect()
}

#[test]
fn packets_pass_between_nodes_where_the_model_says_so() {
    for user in users() {
        let labs = Labs::new(*user);
        labs.ok(&["up", "demo"]);
        let healthy = ["cp w1 true delivered", "cp w2 true delivered", "w1 w2 true delivered"];
        assert_eq!(told(&probed(&labs, 0, &["mesh"])), healthy);
        labs.ok(&["inject", "demo", "node-ip-forward-off@w2"]);
        let broken = ["cp w1 true delivered", "cp w2 false dropped", "w1 w2 false dropped"];
        assert_eq!(told(&probed(&labs, 1, &["mesh"])), broken);
    }
}

#[test]
fn one_path_is_asked_by_each_way_that_is_promised() {
    let labs = Labs::new(*users().first().unwrap());
    labs.ok(&["up", "demo"]);
    let path = |code: i32, to: &str| probed(&labs, code, &["path", "pod/default/client-w1", to]);
    let ends = |all: &[Value]| all.iter().map(|it| it["to"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        ends(&path(0, "pod/default/echo-w2")),
        ["pod/default/echo-w2", "pod/default/echo-w2:8080/tcp", "pod/default/echo-w2:8080/udp"]
    );
    assert_eq!(ends(&path(0, "svc/default/echo:80/tcp")), ["svc/default/echo:80/tcp"]);
    assert_eq!(ends(&path(0, "svc/default/echo:81/udp")), ["svc/default/echo:81/udp"]);
    labs.exec("demo", "w2", &["iptables", "-I", "FORWARD", "-p", "tcp", "--dport", "8080", "-j", "REJECT"]);
    let refused = path(1, "pod/default/echo-w2:8080/tcp");
    assert_eq!(told(&refused), ["w1 w2 false rejected"]);
    assert_eq!(refused[0]["refused"], refused[0]["sent"], "{refused:?}");
}

#[test]
fn every_name_server_is_asked_from_every_node() {
    let labs = Labs::new(*users().first().unwrap());
    labs.ok(&["up", "demo"]);
    let healthy = probed(&labs, 0, &["dns"]);
    // The Service and both of its endpoints, from each of three nodes.
    assert_eq!(healthy.len(), 9, "{healthy:#?}");
    assert!(healthy.iter().all(|it| it["name"] == "kubernetes.default.svc.cluster.local"), "{healthy:#?}");
    // A name that nobody has is refused by whoever answers.
    let refused = probed(&labs, 1, &["dns", "nobody.default.svc.cluster.local"]);
    assert!(refused.iter().all(|it| it["refused"] == it["sent"]), "{refused:#?}");
    // Without the kernel's way to one endpoint, that one is silent, from everywhere but its own node.
    labs.exec("demo", "w1", &["iptables", "-I", "FORWARD", "-p", "udp", "--dport", "53", "-j", "DROP"]);
    let silent = probed(&labs, 1, &["dns"]);
    let one =
        silent.iter().filter(|it| it["to"] == "pod/kube-system/coredns-a:53/udp" && it["fromNode"] != "w1");
    assert_eq!(told(&one.cloned().collect::<Vec<_>>()), ["cp w1 false dropped", "w2 w1 false dropped"]);
}

#[test]
fn who_does_not_exist_is_not_asked() {
    let labs = Labs::new(*users().first().unwrap());
    labs.ok(&["up", "demo", "--nodes", "1"]);
    let words = ["probe", "path", "pod/default/client-cp", "pod/default/nobody", "--lab", "demo"];
    let output = labs.command(program()).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no pod `default/nobody` in lab/demo"), "{said}");
}
