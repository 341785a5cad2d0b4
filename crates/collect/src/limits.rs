//! How much a collection may cost.

use std::time::Duration;

use hopwise_sys::{ProgramLimits, netlink};

/// How much a collection may cost in time and memory. What goes beyond becomes
/// [`hopwise_snapshot::Observed::NotCollected`], fact by fact.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long one network namespace may take. What was not begun by then is left out.
    pub namespace: Duration,
    /// One netlink table.
    pub netlink: netlink::Limits,
    /// One program.
    pub program: ProgramLimits,
    /// The largest file, in bytes.
    pub file: u64,
    /// The largest directory, in entries.
    pub directory: usize,
    /// How many kernel switches a namespace may have (about 450, and 130 an interface).
    pub sysctls: usize,
    /// How many tracked connections are read one by one.
    pub connections: u64,
    /// How many processes of a node are looked at.
    pub processes: usize,
    /// How many open files of a node's processes are looked at, to find who holds a socket.
    pub open_files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            namespace: Duration::from_secs(30),
            netlink: netlink::Limits::default(),
            program: ProgramLimits::default(),
            file: 256 * 1024,
            directory: 4096,
            sysctls: 1_000_000,
            connections: 20_000,
            processes: 100_000,
            open_files: 1_000_000,
        }
    }
}
