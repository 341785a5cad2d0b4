//! Network namespaces: open one, work inside it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    thread,
};

use nix::{
    libc,
    sched::{CloneFlags, setns},
};

/// A network namespace that this process keeps alive by an open file.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    inode: u64,
}

impl NetNs {
    /// The namespace behind `path`: `/proc/PID/ns/net`, a bind mount of one, or a link to either.
    ///
    /// The path is opened without blocking, so a FIFO in its place cannot hold the caller up. That it is a
    /// namespace at all shows when it is entered: [`NetNs::run`] fails with `EINVAL` otherwise.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC)
            .open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self { file, inode })
    }

    /// The namespace of process `pid`, as the process file system at `proc` shows it.
    pub fn of_process(proc: &Path, pid: u32) -> io::Result<Self> {
        Self::open(&proc.join(pid.to_string()).join("ns/net"))
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace's inode: equal numbers on one machine are one namespace, while it is kept open.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `f` on a thread of its own inside the namespace and returns what it returned.
    ///
    /// No other thread moves (setns(2) moves the calling thread alone), so any number of these may run side
    /// by side. Programs that `f` starts inherit the namespace. A panic in `f` goes on in the caller.
    ///
    /// Fails with `EPERM` where the caller lacks `CAP_SYS_ADMIN` in the namespace's or in its own user
    /// namespace, and with `EINVAL` where the file is not a network namespace. Where the caller is in the
    /// namespace already, nothing has to be entered and no right is needed.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = thread::Builder::new().name(format!("netns-{}", self.inode));
            let inside = inside.spawn_scoped(scope, || {
                if !Self::current().is_ok_and(|it| it.inode == self.inode) {
                    setns(&self.file, CloneFlags::CLONE_NEWNET)?;
                }
                Ok(f())
            })?;
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_has_the_inode_that_proc_shows() {
        let link = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let current = NetNs::current().unwrap();
        assert_eq!(link.to_str().unwrap(), format!("net:[{}]", current.inode()));
        assert_eq!(
            NetNs::of_process(Path::new("/proc"), std::process::id()).unwrap().inode(),
            current.inode()
        );
    }

    #[test]
    fn the_own_namespace_needs_no_right() {
        let current = NetNs::current().unwrap();
        assert_eq!(current.run(|| NetNs::current().unwrap().inode()).unwrap(), current.inode());
    }

    #[test]
    fn a_panic_inside_goes_on_outside() {
        let current = NetNs::current().unwrap();
        let panicked = std::panic::catch_unwind(|| current.run(|| panic!("inside")));
        assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "inside");
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused_on_entering() {
        let file = NetNs::open(Path::new("/proc/self/status")).unwrap();
        let error = file.run(|| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let error = NetNs::of_process(Path::new("/proc"), u32::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
