//! What an operator reads.

use insta::assert_snapshot;

use crate::harness::{command, directory, hopwise, ran};

#[test]
fn a_healthy_cluster_is_said_to_be_healthy() {
    assert_snapshot!(hopwise(&["diagnose", "--snapshot", "healthy.hop"]).told());
}

#[test]
fn a_broken_cluster_is_told_with_causes_proof_and_repair() {
    assert_snapshot!(hopwise(&["diagnose", "--snapshot", "broken.hop"]).told());
}

#[test]
fn the_long_form_shows_every_class_of_flows() {
    assert_snapshot!(hopwise(&["diagnose", "--snapshot", "broken.hop", "-v"]).told());
}

#[test]
fn one_flow_is_diagnosed_alone() {
    let words = ["diagnose", "pod/default/client-cp", "svc/shop/cart", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_flow_that_works_in_a_broken_cluster_is_well() {
    let words = ["diagnose", "pod/default/client-cp", "pod/default/echo-w1", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_flow_that_nobody_promises_is_judged_all_the_same() {
    let words = ["diagnose", "pod/default/client-cp", "pod/default/echo-w2:9/tcp", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn an_ignored_cause_is_hidden_and_said_to_be() {
    let words = ["diagnose", "--snapshot", "broken.hop", "--ignore", "HW1001,bridge-down"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_dropped_flow_is_followed_to_the_element_that_decides() {
    let words = ["trace", "pod/default/client-cp", "pod/default/echo-w2:8080/tcp", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_delivered_flow_is_followed_there_and_back() {
    let words = ["trace", "pod/default/client-cp", "svc/default/echo", "--snapshot", "healthy.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_name_is_followed_to_its_answer() {
    let words = ["trace", "node/w1", "www.example.test", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn the_matrix_shows_who_reaches_whom() {
    assert_snapshot!(hopwise(&["matrix", "--snapshot", "broken.hop"]).told());
}

#[test]
fn two_snapshots_differ_by_what_was_broken() {
    assert_snapshot!(hopwise(&["diff", "healthy.hop", "broken.hop"]).told());
}

#[test]
fn two_nodes_of_a_snapshot_are_compared() {
    let ran = hopwise(&["diff", "w1", "node/w2", "--snapshot", "broken.hop", "-o", "json"]);
    assert_eq!(ran.code, Some(0));
    let document = ran.json();
    let differences = document["differences"].as_array().unwrap();
    let forward = differences.iter().find(|it| it["element"] == "sysctl/net.ipv4.ip_forward").unwrap();
    assert_eq!((forward["before"].as_str(), forward["after"].as_str()), (Some("1"), Some("0")));
}

#[test]
fn a_collected_snapshot_is_collected_again_as_it_is() {
    let directory_of_copy = tempfile::tempdir().unwrap();
    let copy = directory_of_copy.path().join("copy.hop");
    let ran = hopwise(&["collect", "--snapshot", "broken.hop", "-o", copy.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let read = |path: &std::path::Path| hopwise_snapshot::hop::read(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(read(&copy), read(&directory().join("broken.hop")));
}

#[test]
fn no_byte_of_colour_reaches_a_pipe() {
    for words in [
        &["diagnose", "--snapshot", "broken.hop"][..],
        &["matrix", "--snapshot", "broken.hop"],
        &["explain", "HW1001"],
        &["causes"],
    ] {
        assert!(!hopwise(words).stdout.contains('\u{1b}'), "{words:?}");
    }
}

#[test]
fn colour_is_given_to_a_terminal_and_taken_away_by_request() {
    // A stream that is said to be one is as good as a terminal.
    let forced = |words: &[&str]| ran(command().env("CLICOLOR_FORCE", "1").args(words)).stdout;
    assert!(forced(&["explain", "HW1001"]).contains('\u{1b}'));
    assert!(!forced(&["explain", "HW1001", "--no-color"]).contains('\u{1b}'));
    let by_variable = ran(command().env("NO_COLOR", "1").args(["explain", "HW1001"]));
    assert!(!by_variable.stdout.contains('\u{1b}'));
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let directory_of_plugin = tempfile::tempdir().unwrap();
    let plugin = directory_of_plugin.path().join("kubectl-hopwise");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hopwise"), &plugin).unwrap();
    let mut command = std::process::Command::new(&plugin);
    let ran = ran(command.current_dir(directory()).args(["diagnose", "--snapshot", "broken.hop"]));
    assert!(ran.stdout.contains("explain  kubectl hopwise explain HW1001"), "{}", ran.stdout);
    let help = crate::harness::ran(std::process::Command::new(&plugin).args(["trace", "-h"]));
    assert!(help.stdout.contains("Usage: kubectl hopwise trace"), "{}", help.stdout);
}

#[test]
fn the_exit_code_says_what_was_found() {
    let code = |words: &[&str]| hopwise(words).code.unwrap();
    assert_eq!(code(&["diagnose", "--snapshot", "healthy.hop"]), 0);
    assert_eq!(code(&["diagnose", "--snapshot", "broken.hop", "--fail-on", "proven"]), 1);
    assert_eq!(code(&["diagnose", "--snapshot", "broken.hop", "--exit-zero"]), 0);
    assert_eq!(code(&["diagnose", "--snapshot", "broken.hop", "--ignore", "HW1001", "--ignore", "HW2004"]), 0);
    assert_eq!(code(&["matrix", "--snapshot", "healthy.hop"]), 0);
    assert_eq!(code(&["trace", "node/cp", "pod/default/echo-w1", "--snapshot", "healthy.hop"]), 0);
}

#[test]
fn what_was_not_read_is_named_and_is_no_verdict() {
    let mut snapshot =
        hopwise_snapshot::hop::read(&std::fs::read(directory().join("healthy.hop")).unwrap()).unwrap();
    let unread = hopwise_snapshot::Observed::NotCollected(hopwise_snapshot::Reason::TimedOut);
    snapshot.nodes.insert("w2".into(), unread);
    let directory_of_file = tempfile::tempdir().unwrap();
    let path = directory_of_file.path().join("unread.hop");
    std::fs::write(&path, hopwise_snapshot::hop::write(&snapshot)).unwrap();
    let ran = ran(command().current_dir(directory_of_file.path()).args(["diagnose", "--snapshot", "unread.hop"]));
    assert_snapshot!(ran.told());
}
