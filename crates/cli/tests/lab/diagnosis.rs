//! Labs that are read: the demo, and whether model and packets speak of the same flows.

use std::{
    collections::BTreeSet,
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{Labs, Remains, User, plain_user, program, users};

/// `hopwise` with these words, which must end with this code; its standard output.
fn hopwise(labs: &Labs, code: i32, words: &[&str]) -> String {
    let output = labs.command(program()).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "hopwise {words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_demo_finds_all_faults_and_leaves_nothing() {
    for user in users() {
        let labs = Labs::new(*user);
        let told = hopwise(&labs, 0, &["demo"]);
        assert!(told.contains("nothing is broken: all"), "{told}");
        for (code, kind) in [("HW1001", "proven"), ("HW2004", "proven"), ("HW1501", "located")] {
            let line =
                told.lines().find(|it| it.starts_with(code)).unwrap_or_else(|| panic!("{code}: {told}"));
            assert!(line.ends_with(kind), "{line}");
        }
        assert!(told.contains("done (run 1): it holds"), "{told}");
        assert!(told.contains("is taken back: all is as it was before"), "{told}");
        Remains::of(&labs).assert_none("after a demo");
    }
}

/// Waits until the demo's lab is there, or the demo is over.
fn wait_for_lab(demo: &mut Child, labs: &Labs) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let is_there = || Remains::of(labs).n_namespaces() > 10;
    while !is_there() && demo.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "no lab after 30 s");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    for signal in ["INT", "TERM"] {
        let labs = Labs::new(User::Own);
        let mut command = labs.command(program());
        let mut demo = command.arg("demo").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for_lab(&mut demo, &labs);
        let kill = ["-s", signal, &demo.id().to_string()].map(str::to_owned);
        assert!(std::process::Command::new("kill").args(kill).status().unwrap().success());
        let code = demo.wait().unwrap().code();
        assert_eq!(code, Some(if signal == "INT" { 130 } else { 143 }), "{signal}");
        Remains::of(&labs).assert_none("after an interrupted demo");
    }
}

#[test]
fn a_lab_is_diagnosed_by_whoever_made_it() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "x"]);
    assert!(hopwise(&labs, 0, &["diagnose", "--lab", "x"]).contains("nothing is broken"));
    labs.ok(&["inject", "x", "w2: sysctl net.ipv4.ip_forward=0"]);
    let found: Value =
        serde_json::from_str(&hopwise(&labs, 1, &["diagnose", "--lab", "x", "-o", "json"])).unwrap();
    assert_eq!(found["verdict"], "broken");
    assert_eq!(found["findings"][0]["code"], "HW1001");
    assert_eq!(found["snapshot"]["source"], "lab/x");
}

/// Model and truth name a pair alike, so that a program can lay one upon the other.
#[test]
fn every_pair_of_the_matrix_is_one_of_the_truth() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", "x"]);
    let key = |it: &Value| {
        let word = |field: &str| it[field].as_str().unwrap().to_owned();
        (word("from"), word("to"), word("proto"), it["family"].as_u64(), it["size"].as_u64())
    };
    let matrix: Value =
        serde_json::from_str(&hopwise(&labs, 0, &["matrix", "--lab", "x", "-o", "json"])).unwrap();
    let truth: BTreeSet<_> = labs.truth("x", &[]).iter().map(key).collect();
    let unknown: Vec<_> =
        matrix["pairs"].as_array().unwrap().iter().map(key).filter(|it| !truth.contains(it)).collect();
    assert_eq!(unknown, [], "pairs that packets are not sent for");
}
