//! Pods that an earlier run left.

use std::{fs, time::Duration};

use hopwise_snapshot::PodObject;
use jiff::Timestamp;

use super::manifest::OWNER;

/// How long after its own deadline a pod is not waited for any more.
const GRACE: Duration = Duration::from_mins(1);

/// Names this process, so that a later one can see whether it still runs: the machine's boot, the process, and when that
/// was started.
pub(super) fn owner() -> String {
    let pid = std::process::id();
    format!("{}/{pid}/{}", boot(), started(pid).unwrap_or_default())
}

/// Is nobody there any more who uses this pod? `life` is how long pods live.
///
/// Pods of a run that goes on are left alone, be it on another machine: whether that still runs is not known here, and
/// its pods end by themselves.
pub(super) fn is_stale(pod: &PodObject, life: Duration, now: Timestamp) -> bool {
    if matches!(pod.status.phase.as_str(), "Failed" | "Succeeded") {
        return true;
    }
    let is_old = pod.metadata.creation_timestamp.is_some_and(|made| {
        let age = now.duration_since(made);
        age.as_secs() > i64::try_from((life + GRACE).as_secs()).unwrap_or(i64::MAX)
    });
    is_old || pod.metadata.annotations.get(OWNER).is_some_and(|it| is_gone(it))
}

/// Was it a process of this machine that does not run any more?
fn is_gone(owner: &str) -> bool {
    let mut parts = owner.split('/');
    let (Some(machine), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let Ok(pid) = pid.parse() else { return false };
    !machine.is_empty() && machine == boot() && started(pid).as_deref() != Some(start)
}

/// This boot of this machine.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // In a container, process numbers are its own.
    let namespace = fs::read_link("/proc/self/ns/pid").map(|it| it.display().to_string()).unwrap_or_default();
    let number: String = namespace.chars().filter(char::is_ascii_digit).collect();
    format!("{}-{number}", id.trim())
}

/// When a process was started, in ticks since the boot (field 22 of proc_pid_stat(5)).
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold blanks and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(phase: &str, owner: &str, made: &str) -> PodObject {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "creationTimestamp": made, "annotations": {OWNER: owner}},
            "status": {"phase": phase}}),
        )
        .unwrap()
    }

    #[test]
    fn what_nobody_uses_any_more_is_stale() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let stale =
            |phase, owner: &str, made| is_stale(&pod(phase, owner, made), Duration::from_mins(10), now);
        let own = owner();
        assert!(!stale("Running", &own, "2026-11-21T09:59:00Z"), "this process runs");
        assert!(!stale("Running", "another-boot/1/2", "2026-11-21T09:59:00Z"), "nobody here knows");
        assert!(!stale("Running", "", "2026-11-21T09:59:00Z"));
        assert!(stale("Failed", &own, "2026-11-21T09:59:00Z"));
        assert!(
            stale("Running", "another-boot/1/2", "2026-11-21T09:40:00Z"),
            "it should have ended by itself"
        );
        // A process that had this number before.
        let (rest, _) = own.rsplit_once('/').unwrap();
        assert!(stale("Running", &format!("{rest}/0"), "2026-11-21T09:59:00Z"));
        let boot = own.split('/').next().unwrap();
        assert!(stale("Running", &format!("{boot}/4194305/1"), "2026-11-21T09:59:00Z"));
    }
}
