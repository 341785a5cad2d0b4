//! What an operator reads.

use hopwise_snapshot::{File, Node, Observed, Reason, Snapshot};
use insta::assert_snapshot;

use crate::harness::{command, directory, hopwise, patched, ran};

/// The words of a diagnosis of a snapshot that was changed.
const DIAGNOSE_PATCHED: [&str; 3] = ["diagnose", "--snapshot", "patched.hop"];

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
fn a_repair_is_planned_for_a_snapshot_too() {
    assert_snapshot!(hopwise(&["repair", "--snapshot", "broken.hop"]).told());
    assert_snapshot!(hopwise(&["repair", "HW1001@node/w2", "--snapshot", "broken.hop"]).told());
    assert_snapshot!(hopwise(&["repair", "--snapshot", "healthy.hop"]).told());
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
    let words =
        ["diagnose", "pod/default/client-cp", "pod/default/echo-w2:9/tcp", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn an_ignored_cause_is_hidden_and_said_to_be() {
    let words = ["diagnose", "--snapshot", "broken.hop", "--ignore", "HW1001,bridge-down"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_dropped_flow_is_followed_to_the_element_that_decides() {
    let words =
        ["trace", "pod/default/client-cp", "pod/default/echo-w2:8080/tcp", "--snapshot", "broken.hop"];
    assert_snapshot!(hopwise(&words).told());
}

#[test]
fn a_delivered_flow_is_followed_there_and_back() {
    let words = ["trace", "pod/default/client-cp", "svc/default/echo:80", "--snapshot", "healthy.hop"];
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
fn nodes_drift_from_each_other_and_from_their_files() {
    assert_snapshot!(hopwise(&["drift", "--snapshot", "healthy.hop"]).told());
    assert_snapshot!(hopwise(&["drift", "--snapshot", "broken.hop"]).told());
}

#[test]
fn what_the_next_boot_breaks_is_predicted_with_the_line_that_breaks_it() {
    let directory = patched("healthy.hop", |snapshot| {
        let node = |snapshot: &mut Snapshot, name: &str, path: &str, text: Option<&str>| {
            let Some(Observed::Known(node)) = snapshot.nodes.get_mut(&name.into()) else { panic!("{name}") };
            let file = text.map_or(Observed::Absent, |it| Observed::Known(File::text(it)));
            node.files.insert(path.to_owned(), file);
        };
        // A hardening guide's line under the switch's other name, and leftovers of network work.
        node(snapshot, "w1", "/etc/sysctl.d/zz-stig.conf", Some("net.ipv4.conf.all.forwarding = 0\n"));
        node(snapshot, "w2", "/etc/sysctl.d/k8s.conf", None);
        node(snapshot, "w2", "/etc/modules-load.d/k8s.conf", None);
        node(snapshot, "w2", "/etc/sysctl.conf", Some("net.ipv4.ip_forward = 0\nnonsense\n"));
    });
    let words = ["drift", "--snapshot", "patched.hop"];
    let ran = ran(command().current_dir(directory.path()).args(words));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_snapshot!(ran.told());
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

/// The words of a diagnosis of one flow that is broken by one cause: quick.
const ONE_FLOW: [&str; 5] =
    ["diagnose", "pod/default/client-cp", "pod/default/echo-w2:8080/tcp", "--snapshot", "broken.hop"];

#[test]
fn no_byte_of_colour_reaches_a_pipe() {
    for words in [&ONE_FLOW[..], &["explain", "HW1001"], &["causes"], &["diff", "healthy.hop", "broken.hop"]]
    {
        assert!(!hopwise(words).stdout.contains('\u{1b}'), "{words:?}");
    }
}

#[test]
fn colour_is_given_to_a_terminal_and_taken_away_by_request() {
    // A stream that is said to be a terminal is as good as one.
    let forced = |words: &[&str]| ran(command().env("CLICOLOR_FORCE", "1").args(words)).stdout;
    assert!(forced(&["explain", "HW1001"]).contains('\u{1b}'));
    assert!(!forced(&["explain", "HW1001", "--no-color"]).contains('\u{1b}'));
    assert!(!forced(&["explain", "HW1001", "-o", "json"]).contains('\u{1b}'));
    let by_variable = ran(command().env("NO_COLOR", "1").args(["explain", "HW1001"]));
    assert!(!by_variable.stdout.contains('\u{1b}'));
}

#[test]
fn as_a_plugin_of_kubectl_it_calls_itself_so() {
    let directory_of_plugin = tempfile::tempdir().unwrap();
    let plugin = directory_of_plugin.path().join("kubectl-hopwise");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hopwise"), &plugin).unwrap();
    let told = ran(std::process::Command::new(&plugin).current_dir(directory()).args(ONE_FLOW)).stdout;
    assert!(told.contains("explain  kubectl hopwise explain HW1001"), "{told}");
    assert!(told.contains("kubectl hopwise trace pod/default/client-cp"), "{told}");
    let help = ran(std::process::Command::new(&plugin).args(["trace", "-h"])).stdout;
    assert!(help.contains("Usage: kubectl hopwise trace"), "{help}");
}

#[test]
fn kubectl_is_told_what_can_follow() {
    let directory_of_plugin = tempfile::tempdir().unwrap();
    let plugin = directory_of_plugin.path().join("kubectl_complete-hopwise");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hopwise"), &plugin).unwrap();
    let complete = |words: &[&str]| ran(std::process::Command::new(&plugin).args(words)).stdout;
    assert_eq!(complete(&["diag"]), "diagnose\tFind out what is broken, and prove it\n:4\n");
    assert!(complete(&["diagnose", "--sna"]).starts_with("--snapshot\tRead a snapshot file"));
    assert_eq!(complete(&["diagnose", "--snapshot", ""]), ":0\n");
    assert!(complete(&["matrix", "-o", "j"]).starts_with("json\t"));
    assert!(complete(&["explain", "node-ip-f"]).starts_with("node-ip-forward-off\t"));
    assert!(complete(&["lab", ""]).contains("inject\t"));
    assert!(!complete(&["lab", ""]).contains("keep"));
    assert!(complete(&[""]).contains("trace\t"));
}

#[test]
fn the_exit_code_says_what_was_found() {
    let code = |words: &[&str]| hopwise(words).code.unwrap();
    let one_flow = |words: &[&str]| code(&[&ONE_FLOW[..], words].concat());
    assert_eq!(one_flow(&[]), 1);
    assert_eq!(one_flow(&["--fail-on", "proven"]), 1);
    assert_eq!(one_flow(&["--fail-on=any"]), 1);
    assert_eq!(one_flow(&["--exit-zero"]), 0);
    assert_eq!(one_flow(&["--ignore", "HW1001"]), 0);
    assert_eq!(one_flow(&["--ignore", "bridge-down"]), 1);
    let unpromised = ["diagnose", "node/cp", "pod/default/echo-w1:9/tcp", "--snapshot", "healthy.hop"];
    assert_eq!(code(&unpromised), 1);
    // What nobody can try on the model is not proven.
    assert_eq!(code(&[&unpromised[..], &["--fail-on", "proven"]].concat()), 0);
    assert_eq!(code(&["matrix", "--snapshot", "healthy.hop"]), 0);
    assert_eq!(code(&["trace", "node/cp", "pod/default/echo-w1", "--snapshot", "healthy.hop"]), 0);
    assert_eq!(
        code(&["trace", "node/cp", "pod/default/echo-w2", "--snapshot", "broken.hop", "--exit-zero"]),
        0
    );
}

#[test]
fn a_node_is_asked_for_by_name_or_address() {
    let words = |to| ["diagnose", "pod/default/client-w1", to, "--snapshot", "healthy.hop"];
    let (by_name, by_address) = (hopwise(&words("node/cp:6443")), hopwise(&words("ip/192.168.50.11:6443")));
    assert_eq!(by_name.stdout, by_address.stdout);
    assert!(by_name.stdout.contains("the one promised flow arrives"), "{by_name:?}");
}

/// The state of node w2 in a snapshot.
fn w2(snapshot: &mut Snapshot) -> &mut Node {
    snapshot.nodes.get_mut(&"w2".into()).and_then(Observed::known_mut).unwrap()
}

fn remove_settings(snapshot: &mut Snapshot) {
    let file = w2(snapshot).files.get_mut("/etc/sysctl.d/k8s.conf").unwrap();
    *file = Observed::Absent;
}

#[test]
fn a_trace_tells_what_stands_behind_the_first_that_stops_it() {
    let directory = patched("broken.hop", |snapshot| {
        let pod = snapshot.net_mut(&"pod/default/echo-w2".parse().unwrap()).unwrap();
        pod.sockets = Observed::Known(Vec::new());
    });
    let words =
        ["trace", "pod/default/client-cp", "pod/default/echo-w2:8080/tcp", "--snapshot", "patched.hop"];
    let told = ran(command().current_dir(directory.path()).args(words)).stdout;
    let head: Vec<&str> = told.lines().skip(1).take(4).collect();
    assert_eq!(
        head,
        [
            "  decided by  node/w2/sysctl/net.ipv4.ip_forward",
            "              ✗ routing: not forwarding",
            "  further on  pod/default/echo-w2/socket/tcp/8080",
            "              ✗ socket: nobody listens on tcp 8080",
        ]
    );
}

#[test]
fn what_breaks_later_is_told_and_is_no_fault_now() {
    let directory = patched("healthy.hop", remove_settings);
    assert_snapshot!(ran(command().current_dir(directory.path()).args(DIAGNOSE_PATCHED)).told());
}

#[test]
fn why_it_broke_is_told_where_the_files_say_it() {
    let directory = patched("broken.hop", remove_settings);
    let words = ["diagnose", "node/cp", "pod/default/echo-w2:8080/tcp", "--snapshot", "patched.hop"];
    let told = ran(command().current_dir(directory.path()).args(words)).stdout;
    let since = told.lines().find(|it| it.starts_with("  since")).unwrap();
    assert_eq!(since, "  since    its file is gone: /etc/sysctl.d/k8s.conf on cp and w1, not on w2");
}

#[test]
fn what_was_not_read_is_named_and_is_no_verdict() {
    let directory = patched("healthy.hop", |snapshot| {
        let reason = Reason::NotPermitted("CAP_NET_ADMIN".to_owned());
        w2(snapshot).net.netfilter.nft = Observed::NotCollected(reason);
    });
    let ran = ran(command().current_dir(directory.path()).args(DIAGNOSE_PATCHED));
    assert_eq!(ran.code, Some(3));
    assert_snapshot!(ran.told());
}
