//! Namespaces to build something in.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd},
    process::Command,
    thread,
};

use hopwise_collect::{Limits, net_ns, samples};
use hopwise_snapshot as facts;
use hopwise_sys::NetNs;
use nix::sched::{CloneFlags, unshare};

const COMMAND: &str = "run it as: CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=\"unshare -Urnm\" \
                       cargo test -p hopwise-collect --test kernel";

/// A network namespace of this test's own.
pub(crate) struct Namespace {
    pub(crate) ns: NetNs,
    scratch: tempfile::TempDir,
}

impl Namespace {
    /// An empty one. Panics where the process lacks the rights, and where it has too many.
    pub(crate) fn new() -> Self {
        require_rights();
        let ns = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .unwrap_or_else(|it| panic!("no new network namespace ({it}); {COMMAND}"));
            NetNs::current().unwrap()
        });
        Self { ns: ns.join().unwrap(), scratch: tempfile::tempdir().unwrap() }
    }

    /// A new one in which this script ran.
    pub(crate) fn with(script: &str) -> Self {
        let namespace = Self::new();
        namespace.sh(script);
        namespace
    }

    /// Runs a script inside, fails with what it said, and returns what it printed.
    pub(crate) fn sh(&self, script: &str) -> String {
        // The usual lock of iptables belongs to the machine's root.
        let lock = self.scratch.path().join("xtables.lock");
        let mut shell = Command::new("sh");
        shell.args(["-euc", script]).env("XTABLES_LOCKFILE", lock);
        let output = self.ns.run(|| shell.output().unwrap()).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{script}` failed: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A path by which ip(8) finds it: `ip link set dev X netns PATH`.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.ns.as_fd().as_raw_fd())
    }

    /// What the collector says of it.
    pub(crate) fn facts(&self) -> facts::NetNs {
        net_ns(&self.ns, &[], &Limits::default())
    }

    /// What the collector and a tool say of something that the kernel itself may change meanwhile: two
    /// readings before and after the tool's that agree.
    pub(crate) fn settled<T: PartialEq>(
        &self,
        part: impl Fn(&facts::NetNs) -> T,
        script: &str,
    ) -> (facts::NetNs, String) {
        for _ in 0..50 {
            let before = self.facts();
            let printed = self.sh(script);
            if part(&before) == part(&self.facts()) {
                return (before, printed);
            }
        }
        panic!("`{script}` never settled");
    }

    /// What `ip -d -s link` says of its links.
    pub(crate) fn links(&self) -> Vec<facts::Link> {
        samples::ip::links("ip link", &self.sh("ip -d -s -j link")).unwrap()
    }
}

/// Panics unless the process is root of a user namespace of its own.
pub(crate) fn require_rights() {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let words: Vec<&str> = map.split_ascii_whitespace().collect();
    assert!(words != ["0", "0", "4294967295"], "this process is the machine's own user; {COMMAND}");
    assert!(nix::unistd::geteuid().is_root(), "this process is not root of its user namespace; {COMMAND}");
}

/// The value of a fact that must be there.
#[track_caller]
pub(crate) fn known<T: std::fmt::Debug>(fact: &facts::Observed<T>) -> &T {
    match fact {
        facts::Observed::Known(value) => value,
        other => panic!("expected a known fact, found {other:?}"),
    }
}

/// Two lists with the same entries, whatever their order.
#[track_caller]
pub(crate) fn assert_same<T: std::fmt::Debug + PartialEq>(collected: &[T], printed: &[T]) {
    for it in collected {
        assert!(printed.contains(it), "collected, not printed: {it:?}\nprinted: {printed:?}");
    }
    for it in printed {
        assert!(collected.contains(it), "printed, not collected: {it:?}\ncollected: {collected:?}");
    }
    assert_eq!(collected.len(), printed.len());
}
