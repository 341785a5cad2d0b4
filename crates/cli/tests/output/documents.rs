//! What a program reads.

use std::{fs, path::Path, sync::OnceLock};

use insta::assert_snapshot;
use serde_json::Value;

use crate::harness::{Ran, hopwise, without_ids};

/// The document that a run prints, which its committed schema must allow.
fn document(ran: &Ran) -> Value {
    let document = ran.json();
    let name = document["schema"].as_str().unwrap();
    let file = name.strip_prefix("hopwise/").unwrap().replace('/', ".") + ".json";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas").join(file);
    let schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&document).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    document
}

fn pretty(document: &Value) -> String {
    serde_json::to_string_pretty(&without_ids(document)).unwrap()
}

/// The words of a diagnosis that takes some seconds.
const DIAGNOSE: [&str; 5] = ["diagnose", "--snapshot", "broken.hop", "-o", "json"];

/// What it prints the first time.
fn diagnosed() -> &'static Ran {
    static RAN: OnceLock<Ran> = OnceLock::new();
    RAN.get_or_init(|| hopwise(&DIAGNOSE))
}

#[test]
fn a_diagnosis_is_a_document() {
    let mut found = document(diagnosed());
    // Traces have tests of their own.
    for violation in found["violations"].as_array_mut().unwrap() {
        let hops = violation["trace"].as_array_mut().unwrap();
        hops.truncate(1);
    }
    assert_snapshot!(pretty(&found));
}

#[test]
fn a_healthy_diagnosis_is_a_document() {
    assert_snapshot!(pretty(&document(&hopwise(&["diagnose", "--snapshot", "healthy.hop", "-o", "json"]))));
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    assert_eq!(diagnosed().code, Some(1));
    assert_eq!(diagnosed().stdout, hopwise(&DIAGNOSE).stdout);
}

#[test]
fn yaml_says_the_same_as_json() {
    let yaml = hopwise(&["trace", "node/w1", "www.example.test", "--snapshot", "broken.hop", "-o", "yaml"]);
    assert_eq!(yaml.code, Some(1));
    assert_snapshot!(without_id_lines(&yaml.stdout));
}

fn without_id_lines(yaml: &str) -> String {
    let lines = yaml.lines().map(|it| if it.trim_start().starts_with("id: ") { "  id: ID" } else { it });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_trace_is_a_document() {
    let words = [
        "trace",
        "pod/default/client-cp",
        "pod/default/echo-w2:8080/tcp",
        "--snapshot",
        "broken.hop",
        "-o",
        "json",
    ];
    assert_snapshot!(pretty(&document(&hopwise(&words))));
}

#[test]
fn a_drift_is_allowed_by_the_schema() {
    let found = document(&hopwise(&["drift", "--snapshot", "broken.hop", "-o", "json"]));
    assert_eq!(found["after"]["verdict"], "broken");
    let forward = "node/w2/sysctl/net.ipv4.ip_forward";
    assert!(found["odd"].as_array().unwrap().iter().any(|it| it["element"] == forward), "{found:#}");
    assert!(found["nextBoot"].as_array().unwrap().iter().any(|it| it["element"] == forward), "{found:#}");
}

#[test]
fn a_planned_repair_is_allowed_by_the_schema() {
    for (file, n_repaired) in [("broken.hop", 2), ("healthy.hop", 0)] {
        let planned = document(&hopwise(&["repair", "--snapshot", file, "-o", "json"]));
        let findings = planned["findings"].as_array().unwrap();
        let repaired = findings.iter().filter(|it| it["refused"].is_null());
        assert_eq!(repaired.count(), n_repaired, "{file}: {planned:#}");
        assert_eq!((&planned["run"], &planned["healed"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn a_trace_of_every_kind_is_allowed_by_the_schema() {
    for (from, to) in [
        ("pod/default/client-w1", "svc/kube-system/kube-dns:53/udp"),
        ("pod/default/client-w1", "kubernetes.default.svc"),
        ("pod/default/client-w1", "node/w2"),
        ("node/cp", "ip/203.0.113.10:8080/tcp"),
        ("pod/kube-system/coredns-a", "ip/198.51.100.1"),
    ] {
        let ran = hopwise(&["trace", from, to, "--snapshot", "broken.hop", "-o", "json"]);
        assert!(matches!(ran.code, Some(0 | 1 | 3)), "{from} {to}: {ran:?}");
        document(&ran);
    }
}

#[test]
fn a_matrix_is_a_document_with_every_promise_once() {
    let matrix = document(&hopwise(&["matrix", "--snapshot", "broken.hop", "-o", "json"]));
    let diagnosis = diagnosed().json();
    let pairs = matrix["pairs"].as_array().unwrap();
    // What each of three nodes owes besides is no pair: a network for new pods, a report, its address, the Services, and
    // three programs.
    let n_duties = 3 * 7;
    assert_eq!(pairs.len() as u64 + n_duties, diagnosis["snapshot"]["promised"].as_u64().unwrap());
    let n_delivered = pairs.iter().filter(|it| it["model"] == "delivered").count() as u64;
    let n_broken = diagnosis["broken"].as_u64().unwrap();
    assert_eq!(pairs.len() as u64 - n_delivered, n_broken);
    let key = |it: &Value| {
        let text = |field: &str| it[field].as_str().unwrap().to_owned();
        (text("from"), text("to"), text("proto"), it["family"].as_u64(), it["size"].as_u64())
    };
    let keys: Vec<_> = pairs.iter().map(key).collect();
    assert!(keys.is_sorted());
    let n_pairs = keys.len();
    assert_eq!(keys.into_iter().collect::<std::collections::BTreeSet<_>>().len(), n_pairs);
    assert_snapshot!(serde_json::to_string_pretty(&pairs[..4]).unwrap());
}

#[test]
fn a_comparison_is_a_document() {
    let mut diff = document(&hopwise(&["diff", "healthy.hop", "broken.hop", "-o", "json"]));
    diff["notCompared"].as_array_mut().unwrap().truncate(2);
    assert_snapshot!(pretty(&diff));
}

#[test]
fn causes_are_documents() {
    let all = document(&hopwise(&["causes", "-o", "json"]));
    assert!(all["causes"].as_array().unwrap().iter().any(|it| it["code"] == "HW1001"));
    let one = document(&hopwise(&["explain", "node-ip-forward-off", "-o", "json"]));
    assert!(one["causes"][0]["manual"].as_str().unwrap().contains("## What happens"));
}

#[test]
fn a_version_is_a_document() {
    let version = document(&hopwise(&["version", "-o", "json"]));
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn an_error_is_a_document_where_documents_are_asked_for() {
    for words in [
        &["diagnose", "--snapshot", "nowhere.hop", "-o", "json"][..],
        &["diagnose", "--snapshot", "broken.hop", "--ignore", "HW0000", "-o", "json"],
        &["trace", "node/w9", "node/w1", "--snapshot", "broken.hop", "--output=json"],
        &["diagnose", "--snapshot", "broken.hop", "--probe", "full", "-ojson"],
        &["matrix", "--nonsense", "-o", "json"],
        &["explain", "nothing", "-o", "json"],
    ] {
        let ran = hopwise(words);
        assert_eq!(ran.code, Some(2), "{words:?}");
        assert_eq!(document(&ran)["schema"], "hopwise/error/v1", "{words:?}");
    }
}
