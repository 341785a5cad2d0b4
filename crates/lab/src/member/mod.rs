//! What runs in a member: the first process of its namespaces, and the programs of the cluster in it.
//!
//! All of these are copies of the keeper that were made before it did anything else. They end with it: its
//! process namespace contains theirs, and the kernel kills all in it when its first process dies.

pub(crate) mod dns;
mod files;
mod log;
mod node;
mod node_files;
mod plain;
mod pod;
pub(crate) mod report;
pub(crate) mod responder;

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process,
};

use hopwise_sys::{
    namespace::{NamespaceKind, unshare},
    process::{ChildWatch, Forked, fork, own_number, set_host_name, set_name},
};

pub(crate) use dns::WHO;
pub(crate) use node::{NodeCommand, programs, run_node};
pub(crate) use plain::{run_fabric, run_outside};
pub(crate) use responder::Answer;

use crate::{error::chain, layout::Layout};
use files::{Tree, furnish};
use report::{Event, Reporter};

/// What every member inherits.
#[derive(Debug)]
pub(crate) struct Common {
    /// The lab.
    pub(crate) layout: Layout,
    /// The `/proc` in which processes have the numbers that whoever made the lab sees.
    pub(crate) proc: File,
    /// The directory of the objects.
    pub(crate) objects: File,
    /// Where events are told.
    pub(crate) line: UnixDatagram,
    /// The lock on the lab's directory: held as long as one process of the lab lives.
    #[expect(dead_code, reason = "it is held, not read")]
    pub(crate) claim: File,
}

impl Common {
    /// Puts the calling process into namespaces of its own with the files of `tree`, tells the keeper, and returns the
    /// process's number as whoever made the lab counts.
    fn settle(&self, reporter: &Reporter, name: &str, tree: &Tree) -> io::Result<u32> {
        use NamespaceKind::{Ipc, Mount, Net, Uts};
        unshare(&[Mount, Net, Uts, Ipc])?;
        set_host_name(name)?;
        let lacks = furnish(tree)?;
        let pid = own_number(&open_directory(&self.proc))?;
        reporter.tell(Event::Up { pid, lacks });
        Ok(pid)
    }
}

/// A path to a directory that is open, wherever it lies and whatever is mounted over it meanwhile.
fn open_directory(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

/// Does `work` and ends the process, whatever happens: nothing of the keeper's own runs in its copies.
pub(crate) fn and_end(reporter: &Reporter, work: impl FnOnce() -> io::Result<()>) -> ! {
    let done = catch_unwind(AssertUnwindSafe(work));
    let message = match done {
        Ok(Ok(())) => process::exit(0),
        Ok(Err(error)) => chain(&error),
        Err(_) => "a bug: see keeper.log".to_owned(),
    };
    reporter.tell(Event::Failed { message });
    process::exit(1)
}

/// Runs `work` in a new process with this name, and returns its number.
fn start(name: &str, reporter: &Reporter, work: impl FnOnce() -> io::Result<()>) -> io::Result<u32> {
    match fork()? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => and_end(reporter, || {
            ChildWatch::forget()?;
            set_name(name)?;
            work()
        }),
    }
}

/// Runs asynchronous work in this process.
fn run_local(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
