//! Repairs in a lab: cut short anywhere, refused, taken back.

use std::{
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use hopwise_change::{Settings, differing, settings};
use hopwise_snapshot::{Snapshot, hop};
use serde_json::Value;

use crate::harness::{Labs, plain_user, program};

const LAB: &str = "demo";

/// `hopwise` with these words about the lab, which dies or stops at a point of its way.
fn hopwise(labs: &Labs, words: &[&str], at_point: &str) -> Output {
    let mut command = labs.command(program());
    command.args(words).args(["--lab", LAB]).env("HOPWISE_AT_POINT", at_point);
    command.output().unwrap()
}

fn start(labs: &Labs, words: &[&str], at_point: &str) -> Child {
    let mut command = labs.command(program());
    command.args(words).args(["--lab", LAB]).env("HOPWISE_AT_POINT", at_point);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn said(output: &Output) -> String {
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

fn snapshot(labs: &Labs) -> Snapshot {
    let output = hopwise(labs, &["collect", "--probe", "none", "-o", "-"], "");
    assert!(output.status.success(), "{}", said(&output));
    hop::read(&output.stdout).unwrap()
}

/// What is set in the lab, once nothing changes by itself any more.
fn state(labs: &Labs) -> Settings {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshot = snapshot(labs);
        if hopwise_testkit::tentative(&snapshot).is_none() || Instant::now() > deadline {
            return settings(&snapshot);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn assert_same(now: &Settings, wanted: &Settings, when: &str) {
    let differs: Vec<String> = differing(now, wanted)
        .iter()
        .map(|it| format!("{it}: {:?}, expected {:?}", now.get(it), wanted.get(it)))
        .collect();
    assert!(differs.is_empty(), "{when}: {differs:#?}");
}

/// Kills repairs of a fault at every point, and takes each back. How many there were.
fn kill_everywhere(labs: &Labs, fault: &str, words: &[&str]) -> usize {
    labs.ok(&["inject", LAB, fault]);
    let broken = state(labs);
    for at in 1.. {
        let output = hopwise(labs, words, &format!("{at}:kill"));
        let is_killed = output.status.code().is_none();
        let undo = hopwise(labs, &["undo", "-o", "json"], "");
        match undo.status.code() {
            Some(0) => assert_eq!(document(&undo)["whole"], true, "{}", said(&undo)),
            // Killed before anything was written down.
            Some(2) => assert!(said(&undo).contains("is left to take back"), "{at}: {}", said(&undo)),
            _ => panic!("undo after a kill at {at}: {}", said(&undo)),
        }
        assert_same(&state(labs), &broken, &format!("{fault}, killed at {at}"));
        if !is_killed {
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            labs.ok(&["heal", LAB]);
            return at;
        }
    }
    unreachable!("points are counted up until one is never passed")
}

#[test]
fn a_repair_that_is_killed_anywhere_is_taken_back() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    let repair = ["repair", "--apply", "--yes", "--probe", "none", "-o", "json"];
    let n_points = kill_everywhere(&labs, "w2: sysctl net.ipv4.ip_forward=0", &repair);
    assert!(n_points > 10, "{n_points}");
}

#[test]
fn an_undo_that_is_killed_anywhere_is_finished_by_the_next() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    labs.ok(&["inject", LAB, "overlay-vni-mismatch@w2"]);
    let broken = state(&labs);
    for at in 1.. {
        let repaired = hopwise(&labs, &["repair", "--apply", "--probe", "none", "-o", "json"], "");
        assert_eq!(repaired.status.code(), Some(0), "{}", said(&repaired));
        let killed = hopwise(&labs, &["undo", "-o", "json"], &format!("{at}:kill"));
        let again = hopwise(&labs, &["undo", "-o", "json"], "");
        if killed.status.code().is_some() {
            assert_eq!(document(&killed)["whole"], true, "{}", said(&killed));
            assert!(at > 5, "{at}");
            break;
        }
        // Killed behind its last line, nothing is left to do.
        assert!(matches!(again.status.code(), Some(0 | 2)), "{at}: {}", said(&again));
        assert_same(&state(&labs), &broken, &format!("killed at {at}"));
    }
}

#[test]
fn a_lab_in_the_usual_directory_is_repaired_by_a_plain_user() {
    // Who enters the user namespace of a lab is root there, and must still find it.
    let labs = Labs::new(plain_user());
    let lab = format!("usual-{}", std::process::id());
    let hopwise = |words: &[&str]| {
        let mut command = labs.command(program());
        command.env_remove("HOPWISE_LAB_DIR").env_remove("XDG_RUNTIME_DIR").args(words);
        command.output().unwrap()
    };
    let up = hopwise(&["lab", "up", &lab]);
    assert!(up.status.success(), "{}", said(&up));
    let inject = hopwise(&["lab", "inject", &lab, "w2: sysctl net.ipv4.ip_forward=0"]);
    let repaired = hopwise(&["repair", "--apply", "--yes", "-o", "json", "--lab", &lab]);
    let undone = hopwise(&["undo", "-o", "json", "--lab", &lab]);
    let down = hopwise(&["lab", "down", &lab]);
    assert!(down.status.success(), "{}", said(&down));
    assert!(inject.status.success(), "{}", said(&inject));
    assert_eq!(document(&repaired)["healed"], true, "{}", said(&repaired));
    assert_eq!(document(&undone)["whole"], true, "{}", said(&undone));
}

#[test]
fn what_changed_since_the_plan_is_not_overwritten() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    labs.ok(&["inject", LAB, "w2: sysctl net.ipv4.ip_forward=0"]);
    // The first point is between the plan and the look at what it is about to change.
    let stopped = start(&labs, &["repair", "--apply", "--probe", "none", "-o", "json"], "1:stop");
    wait_until_stopped(&stopped);
    // Nobody else repairs meanwhile.
    let other = hopwise(&labs, &["repair", "--apply", "--probe", "none"], "");
    assert_eq!(other.status.code(), Some(2), "{}", said(&other));
    assert!(said(&other).contains("another repair or undo of lab `demo` goes on"), "{}", said(&other));
    let other = hopwise(&labs, &["undo"], "");
    assert!(said(&other).contains("another repair or undo of lab `demo` goes on"), "{}", said(&other));
    // Somebody writes the file that the repair is about to write.
    let write = "echo vm.swappiness=1 > /etc/sysctl.d/99-hopwise.conf";
    labs.exec(LAB, "w2", &["sh", "-c", write]);
    let pid = stopped.id().to_string();
    assert!(std::process::Command::new("kill").args(["-CONT", &pid]).status().unwrap().success());
    let output = stopped.wait_with_output().unwrap();
    let found = document(&output);
    assert_eq!(
        (output.status.code(), &found["run"], &found["healed"]),
        (Some(1), &Value::Null, &false.into())
    );
    let why = found["why"].as_str().unwrap();
    assert!(
        why.contains("node/w2/file/etc/sysctl.d/99-hopwise.conf was absent when this was planned"),
        "{why}"
    );
    assert_eq!(labs.exec(LAB, "w2", &["sysctl", "-n", "net.ipv4.ip_forward"]).trim(), "0");
}

#[test]
fn what_somebody_changed_since_a_repair_is_left_unless_wanted() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    labs.ok(&["inject", LAB, "w2: sysctl net.ipv4.ip_forward=0"]);
    let nothing = hopwise(&labs, &["undo"], "");
    assert_eq!(nothing.status.code(), Some(2), "{}", said(&nothing));
    let repaired = hopwise(&labs, &["repair", "--apply", "-o", "json"], "");
    assert_eq!(repaired.status.code(), Some(0), "{}", said(&repaired));
    assert!(document(&repaired)["answered"].as_u64().unwrap() > 0, "{}", said(&repaired));
    let write = "echo vm.swappiness=1 >> /etc/sysctl.d/99-hopwise.conf";
    labs.exec(LAB, "w2", &["sh", "-c", write]);
    let refused = hopwise(&labs, &["undo", "-o", "json"], "");
    let found = document(&refused);
    assert_eq!((refused.status.code(), found["conflicts"].as_array().unwrap().len()), (Some(1), 1));
    assert_eq!(found["conflicts"][0]["element"], "node/w2/file/etc/sysctl.d/99-hopwise.conf");
    assert_eq!(labs.exec(LAB, "w2", &["sysctl", "-n", "net.ipv4.ip_forward"]).trim(), "1");
    let forced = hopwise(&labs, &["undo", "--yes", "-o", "json"], "");
    assert_eq!(forced.status.code(), Some(0), "{}", said(&forced));
    assert_eq!(labs.exec(LAB, "w2", &["sysctl", "-n", "net.ipv4.ip_forward"]).trim(), "0");
}

#[test]
fn what_cannot_be_repaired_here_is_said() {
    let labs = Labs::new(plain_user());
    labs.ok(&["up", LAB]);
    let file = labs.directory.join("x.hop.tmp");
    let file = file.to_str().unwrap();
    let output = hopwise(&labs, &["collect", "-o", file], "");
    assert!(output.status.success(), "{}", said(&output));
    let refused = |words: &[&str]| {
        let mut command = labs.command(program());
        // Nobody's cluster is the source where none is named.
        command.env_remove("KUBECONFIG").env("HOME", "/nonexistent");
        let output = command.args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
        said(&output)
    };
    let alive = refused(&["repair", "--apply", "--snapshot", file]);
    assert!(alive.contains("a snapshot file is no cluster"), "{alive}");
    assert!(refused(&["repair", "--apply"]).contains("no kubeconfig"));
    assert!(refused(&["repair", "HW9999", "--lab", LAB]).contains("there is no cause `HW9999`"));
    assert!(refused(&["repair", "HW1001@node/w2", "--lab", LAB]).contains("there is no finding"));
    assert!(refused(&["undo", "7", "--lab", LAB]).contains("there is no run `7` of a repair"));
    std::fs::remove_file(file).unwrap();
    let healthy = hopwise(&labs, &["repair", "--apply", "-o", "json"], "");
    let found = document(&healthy);
    assert_eq!(
        (healthy.status.code(), &found["run"], &found["healed"]),
        (Some(0), &Value::Null, &Value::Null)
    );
}

fn wait_until_stopped(child: &Child) {
    let deadline = Instant::now() + Duration::from_mins(1);
    let stat = format!("/proc/{}/stat", child.id());
    loop {
        let text = std::fs::read_to_string(&stat).unwrap();
        if text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
            return;
        }
        assert!(Instant::now() < deadline, "{text}");
        thread::sleep(Duration::from_millis(20));
    }
}
