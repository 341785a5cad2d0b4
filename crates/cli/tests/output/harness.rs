//! Running `hopwise` where the snapshots lie.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hopwise_snapshot::{Snapshot, hop};
use serde_json::Value;
use tempfile::TempDir;

/// Where the snapshots lie.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots")
}

/// What a run ended with.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A command that finds the snapshots by their bare names, and no lab or cluster of anybody.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hopwise"));
    command.current_dir(directory()).env("HOPWISE_LAB_DIR", "/nonexistent/labs").env_remove("NO_COLOR");
    // Nobody's cluster is asked.
    command.env("HOME", "/nonexistent").env_remove("KUBECONFIG").env_remove("KUBERNETES_SERVICE_HOST");
    command
}

/// Runs `hopwise` with these words.
pub(crate) fn hopwise(words: &[&str]) -> Ran {
    ran(command().args(words))
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |it| String::from_utf8(it).unwrap();
    let ran = Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) };
    assert!(ran.code.is_some(), "ended by a signal: {status}");
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    ran
}

/// A directory with `patched.hop`: a snapshot that was changed.
pub(crate) fn patched(name: &str, patch: impl FnOnce(&mut Snapshot)) -> TempDir {
    let mut snapshot = hop::read(&fs::read(directory().join(name)).unwrap()).unwrap();
    patch(&mut snapshot);
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("patched.hop"), hop::write(&snapshot)).unwrap();
    directory
}

impl Ran {
    /// The run as one text: what is compared with what is expected.
    pub(crate) fn told(&self) -> String {
        let mut told = String::new();
        for line in self.stderr.lines() {
            writeln!(told, "[stderr] {}", without_times(line)).unwrap();
        }
        told.push_str(&self.stdout);
        write!(told, "[exit code] {}", self.code.unwrap()).unwrap();
        told
    }

    /// The JSON document on standard output.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A line without how long something took: `in 3 ms` becomes `in TIME`.
fn without_times(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    let mut at = 0;
    while at + 1 < words.len() {
        let is_unit = ["ms", "s"].contains(&words[at + 1].trim_end_matches([';', ',']));
        if is_unit && words[at].parse::<f64>().is_ok() {
            words[at] = "TIME";
            words[at + 1] = words[at + 1].trim_start_matches(['m', 's']);
            if words[at + 1].is_empty() {
                words.remove(at + 1);
            }
        }
        at += 1;
    }
    words.join(" ").replace("TIME ;", "TIME;")
}

/// A document as it is compared: without what depends on the format of snapshots.
pub(crate) fn without_ids(document: &Value) -> Value {
    let mut document = document.clone();
    redact(&mut document);
    document
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let is_snapshot = map.contains_key("takenAt");
            for (key, value) in map {
                if key == "id" && is_snapshot {
                    *value = "ID".into();
                }
                redact(value);
            }
        }
        Value::Array(all) => all.iter_mut().for_each(redact),
        _ => {}
    }
}
