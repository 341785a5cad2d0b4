//! Namespaces of all kinds: open those of a process, enter them, leave for new ones.
//!
//! namespaces(7), user_namespaces(7), pid_namespaces(7).

use std::{
    fmt,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::sched::CloneFlags;

use crate::NetNs;

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamespaceKind {
    /// Users, groups and capabilities.
    User,
    /// Mount points.
    Mount,
    /// Process numbers. Entering it concerns the children, not the process itself.
    Pid,
    /// The network stack.
    Net,
    /// Host name.
    Uts,
    /// System V and POSIX message queues.
    Ipc,
}

impl NamespaceKind {
    /// All kinds, in an order in which they can be entered: the user namespace gives the right to the rest.
    pub const ALL: [Self; 6] = [Self::User, Self::Mount, Self::Net, Self::Uts, Self::Ipc, Self::Pid];

    /// The name of its file in `/proc/PID/ns`.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mnt",
            Self::Pid => "pid",
            Self::Net => "net",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
        }
    }

    fn flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::CLONE_NEWUSER,
            Self::Mount => CloneFlags::CLONE_NEWNS,
            Self::Pid => CloneFlags::CLONE_NEWPID,
            Self::Net => CloneFlags::CLONE_NEWNET,
            Self::Uts => CloneFlags::CLONE_NEWUTS,
            Self::Ipc => CloneFlags::CLONE_NEWIPC,
        }
    }
}

/// An open namespace. It exists as long as this is open, whatever becomes of its processes.
#[derive(Debug)]
pub struct Namespace {
    kind: NamespaceKind,
    file: File,
}

impl Namespace {
    /// Opens the namespace of `kind` that the process `pid` is in, by the `/proc` at `proc`.
    pub fn of_process(proc: &Path, pid: u32, kind: NamespaceKind) -> io::Result<Self> {
        Self::open(&proc.join(format!("{pid}/ns/{}", kind.file_name())), kind)
    }

    /// Opens the namespace that the calling thread is in.
    pub fn of_this_thread(kind: NamespaceKind) -> io::Result<Self> {
        Self::open(Path::new(&format!("/proc/thread-self/ns/{}", kind.file_name())), kind)
    }

    /// Opens a namespace by its file.
    pub fn open(path: &Path, kind: NamespaceKind) -> io::Result<Self> {
        Ok(Self { kind, file: File::open(path)? })
    }

    /// A network namespace that is open already.
    pub fn of_network(netns: &NetNs) -> io::Result<Self> {
        Ok(Self { kind: NamespaceKind::Net, file: netns.as_fd().try_clone_to_owned()?.into() })
    }

    /// Its number. Two files with one number are one namespace.
    pub fn inode(&self) -> io::Result<u64> {
        self.file.metadata().map(|it| it.ino())
    }

    /// Its kind.
    pub fn kind(&self) -> NamespaceKind {
        self.kind
    }

    /// Puts the calling thread (for [`NamespaceKind::Pid`]: its future children) into the namespace.
    ///
    /// A user namespace can only be entered by a process with a single thread, a mount namespace only by a
    /// thread that shares its working directory with no other: `EINVAL` (setns(2)).
    pub fn enter(&self) -> io::Result<()> {
        nix::sched::setns(&self.file, self.kind.flag()).map_err(io::Error::from)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The namespaces of one process, to be entered together.
#[derive(Debug)]
pub struct NamespaceSet(Vec<Namespace>);

impl NamespaceSet {
    /// Opens those namespaces of the process `pid` that the calling thread is not in already.
    pub fn of_process(proc: &Path, pid: u32, kinds: &[NamespaceKind]) -> io::Result<Self> {
        let mut namespaces = Vec::new();
        for kind in NamespaceKind::ALL.into_iter().filter(|it| kinds.contains(it)) {
            let namespace = Namespace::of_process(proc, pid, kind)?;
            // Entering one's own user namespace again is EINVAL (6.18, kernel/user_namespace.c, userns_install), and
            // one's own of another kind needs a right in the user namespace that it was made in.
            if namespace.inode()? != Namespace::of_this_thread(kind)?.inode()? {
                namespaces.push(namespace);
            }
        }
        Ok(Self(namespaces))
    }

    /// These and one more, which is entered last.
    pub fn and(mut self, namespace: Namespace) -> Self {
        self.0.push(namespace);
        self
    }

    /// Enters all of them. What was entered before one fails stays entered.
    pub fn enter(&self) -> io::Result<()> {
        self.0.iter().try_for_each(Namespace::enter)
    }

    /// Is a process namespace among them, so that only children are really inside?
    pub fn has_pid(&self) -> bool {
        self.0.iter().any(|it| it.kind == NamespaceKind::Pid)
    }
}

/// Leaves the calling thread's namespaces of `kinds` for new ones.
pub fn unshare(kinds: &[NamespaceKind]) -> io::Result<()> {
    let flags = kinds.iter().fold(CloneFlags::empty(), |flags, it| flags | it.flag());
    nix::sched::unshare(flags).map_err(io::Error::from)
}

/// Why no user namespace could be had.
#[derive(Debug)]
pub struct UserNamespaceError {
    /// What was tried.
    pub step: &'static str,
    /// What the kernel answered.
    pub source: io::Error,
}

impl fmt::Display for UserNamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.step)
    }
}

impl std::error::Error for UserNamespaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Makes the calling process root of a new user namespace in which its own user and group are 0.
///
/// The maps are written before anything else is unshared: a network namespace that is made while no map is
/// there takes the first namespace's root as the owner of its `/proc/net` files (6.18,
/// `fs/proc/proc_net.c`, `proc_net_ns_init`), and `ip_tables_names` could not be read in it.
pub fn become_root_of_user_namespace() -> Result<(), UserNamespaceError> {
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let failed = |step| move |source| UserNamespaceError { step, source };
    unshare(&[NamespaceKind::User]).map_err(failed("make a user namespace"))?;
    std::fs::write("/proc/self/setgroups", "deny").map_err(failed("write /proc/self/setgroups"))?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(failed("write /proc/self/uid_map"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(failed("write /proc/self/gid_map"))
}

/// Does the calling process hold the capabilities `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` in its user namespace?
pub fn may_make_namespaces() -> bool {
    const NET_ADMIN: u32 = 12;
    const SYS_ADMIN: u32 = 21;
    let Ok(status) = std::fs::read_to_string("/proc/thread-self/status") else { return false };
    let effective = status.lines().find_map(|it| it.strip_prefix("CapEff:"));
    let bits = effective.and_then(|it| u64::from_str_radix(it.trim(), 16).ok()).unwrap_or(0);
    bits & (1 << SYS_ADMIN) != 0 && bits & (1 << NET_ADMIN) != 0
}
