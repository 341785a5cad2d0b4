//! Processes: fork, the first process of a process namespace, commands inside other namespaces.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    poll::{PollFd, PollFlags, PollTimeout},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus},
    },
    unistd::{AccessFlags, ForkResult, Pid},
};

use crate::namespace::{Namespace, NamespaceKind, NamespaceSet, unshare};

/// Which of the two processes that came out of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The one that forked, with the number of the new one as this process counts.
    Parent(u32),
    /// The new one.
    Child,
}

/// Makes a copy of this process.
///
/// Refused (`EBUSY`) while the process has more than one thread: the copy would have only this one, and
/// whatever lock another held would stay held in it for ever.
pub fn fork() -> io::Result<Forked> {
    if n_threads()? != 1 {
        return Err(Errno::EBUSY.into());
    }
    // SAFETY: the process has one thread (checked above; only this thread could start another), so the copy
    // is complete and may do whatever the original may.
    match unsafe { nix::unistd::fork() }.map_err(io::Error::from)? {
        ForkResult::Parent { child } => Ok(Forked::Parent(number(child))),
        ForkResult::Child => Ok(Forked::Child),
    }
}

/// Makes a copy of this process that is the first of a new process namespace.
///
/// With the death of the copy the kernel kills all processes of that namespace and of namespaces below it
/// (pid_namespaces(7)). The calling process must be in a process namespace that its own user namespace
/// owns, or be privileged there: it has to point its later children back to its own namespace.
pub fn fork_as_init() -> io::Result<Forked> {
    let own = Namespace::of_this_thread(NamespaceKind::Pid)?;
    unshare(&[NamespaceKind::Pid])?;
    let forked = fork();
    if !matches!(forked, Ok(Forked::Child)) {
        own.enter()?;
    }
    forked
}

/// Makes a copy of this process that is the first of a new process namespace, and never forks again here.
///
/// For a process that may not return to its own process namespace as [`fork_as_init`] does.
pub fn fork_as_init_once() -> io::Result<Forked> {
    unshare(&[NamespaceKind::Pid])?;
    fork()
}

/// How many threads this process has.
pub fn n_threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// This process's number in the process namespace of the `/proc` at `proc`.
pub fn own_number(proc: &Path) -> io::Result<u32> {
    let target = std::fs::read_link(proc.join("self"))?;
    let text = target.to_str().unwrap_or_default();
    text.parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{text}` is no process number")))
}

/// Allows this process as many open files as it may have, and returns how many.
pub fn raise_file_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// The user that files which this process makes will belong to.
pub fn effective_user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// May this process make files in the directory `path`? Also false where there is none.
pub fn may_write(path: &Path) -> bool {
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    nix::unistd::faccessat(AT_FDCWD, path, flags, AtFlags::AT_EACCESS).is_ok()
}

/// The number of this process's parent; 0 where the parent is in another process namespace.
pub fn parent() -> u32 {
    number(Pid::from_raw(std::os::unix::process::parent_id().cast_signed()))
}

/// Names this process's main thread, as `/proc/PID/comm` shows it. Cut after 15 bytes.
pub fn set_name(name: &str) -> io::Result<()> {
    let name = CString::new(name).map_err(io::Error::other)?;
    nix::sys::prctl::set_name(&name).map_err(io::Error::from)
}

/// Has the kernel kill this process as soon as the thread that forked it ends.
///
/// A change of credentials undoes this (prctl(2), `PR_SET_PDEATHSIG`). A parent that is gone already is not
/// noticed: look at [`parent`] afterwards.
pub fn die_with_parent() -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from)
}

/// Detaches this process from its terminal and from the session that started it.
pub fn leave_session() -> io::Result<()> {
    nix::unistd::setsid().map(drop).map_err(io::Error::from)
}

/// Makes standard input and output those of nobody: `/dev/null`.
pub fn let_go_of_standard_files() -> io::Result<()> {
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    Ok(())
}

/// Sets the host name of the calling thread's UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    nix::unistd::sethostname(name).map_err(io::Error::from)
}

/// A process's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It ended by itself with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
}

impl End {
    /// The code that a shell would give: the process's own, or 128 and the number of the signal.
    pub fn shell_code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Killed(signal) => 128 + signal,
        }
    }
}

/// Takes note of one child that has ended, and frees its number. `None` when no child has ended yet.
///
/// With `block`, waits for one. `ECHILD` when there are no children.
pub fn reap(block: bool) -> io::Result<Option<(u32, End)>> {
    let flags = if block { WaitPidFlag::empty() } else { WaitPidFlag::WNOHANG };
    loop {
        match nix::sys::wait::waitpid(None, Some(flags)) {
            Ok(WaitStatus::Exited(pid, code)) => return Ok(Some((number(pid), End::Exited(code)))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                return Ok(Some((number(pid), End::Killed(signal as i32))));
            }
            Ok(WaitStatus::StillAlive) => return Ok(None),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Children that end, as something to wait for.
///
/// While one of these exists `SIGCHLD` is blocked in the thread that made it, and in the children that it
/// forks, which should call [`ChildWatch::forget`].
#[derive(Debug)]
pub struct ChildWatch {
    signals: SignalFd,
}

impl ChildWatch {
    /// Begins to watch the children of this process.
    pub fn new() -> io::Result<Self> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self { signals: SignalFd::with_flags(&mask, flags)? })
    }

    /// A child that has ended, waited for until `deadline`, for ever where there is none.
    pub fn next(&mut self, deadline: Option<Instant>) -> io::Result<Option<(u32, End)>> {
        loop {
            if let Some(ended) = reap_if_any()? {
                return Ok(Some(ended));
            }
            if poll(&[self.signals.as_fd()], deadline)?.is_empty() {
                return Ok(None);
            }
            self.clear()?;
        }
    }

    /// Forgets that children have ended, without taking note of them: call [`reap`] after this.
    pub fn clear(&mut self) -> io::Result<()> {
        while self.signals.read_signal()?.is_some() {}
        Ok(())
    }

    /// Lets the calling thread get `SIGCHLD` again, as programs expect.
    pub fn forget() -> io::Result<()> {
        let mut mask = SigSet::empty();
        mask.add(Signal::SIGCHLD);
        mask.thread_unblock().map_err(io::Error::from)
    }
}

impl AsFd for ChildWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

/// Waits until one of `files` can be read or was closed by its peer, at most until `deadline`, and returns the
/// positions of all that can. Empty at the deadline.
pub fn poll(files: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Vec<usize>> {
    let mut polled: Vec<PollFd> = files.iter().map(|it| PollFd::new(*it, PollFlags::POLLIN)).collect();
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            // Rounded up: a deadline in half a millisecond must not become a busy loop.
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match nix::poll::poll(&mut polled, timeout) {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(0) if deadline.is_some_and(|it| it > Instant::now()) => {}
            Ok(_) => break,
        }
    }
    let is_ready = |it: &PollFd| it.revents().is_some_and(|it| !it.is_empty());
    Ok(polled.iter().enumerate().filter(|(_, it)| is_ready(it)).map(|(index, _)| index).collect())
}

/// Ends all other processes of the process namespace whose first process this one is, and waits until they are gone.
///
/// Refused (`EPERM`) to any other process: it would end strangers.
pub fn end_all_others() -> io::Result<()> {
    if std::process::id() != 1 {
        return Err(Errno::EPERM.into());
    }
    loop {
        // ESRCH: there are none left. One that was just forked is met in the next round.
        let killed = nix::sys::signal::kill(Pid::from_raw(-1), Signal::SIGKILL);
        match reap(true) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                return match killed {
                    Ok(()) | Err(Errno::ESRCH) => Ok(()),
                    Err(error) => Err(error.into()),
                };
            }
            Err(error) => return Err(error),
        }
    }
}

/// Has the kernel make this process the parent of whatever its children leave behind, so that
/// [`end_descendants`] meets all of it.
pub fn adopt_orphans() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true).map_err(io::Error::from)
}

/// Ends all processes that this one started, and what these started, and waits until they are gone or until `deadline`
/// (`ETIMEDOUT`): one that waits in the kernel for a device does not end before that.
///
/// What was left behind by its parent counts too after [`adopt_orphans`]. Others of this process that wait for a child
/// meanwhile may be told that there is none. `proc` shows the processes as this one counts.
pub fn end_descendants(proc: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        for pid in descendants(proc)? {
            // ESRCH: it has ended meanwhile.
            let _ = kill(pid);
        }
        match reap(false) {
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(()),
            Err(error) => return Err(error),
            Ok(Some(_)) => {}
            Ok(None) if Instant::now() >= deadline => return Err(Errno::ETIMEDOUT.into()),
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The processes that this one started, and those that these started.
fn descendants(proc: &Path) -> io::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir(proc)? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
        // `PID (NAME) STATE PARENT …`, and a name may hold anything.
        let Ok(stat) = std::fs::read(proc.join(format!("{pid}/stat"))) else { continue };
        let text = String::from_utf8_lossy(&stat);
        let behind = text.rsplit(')').next().unwrap_or_default();
        let parent = behind.split_ascii_whitespace().nth(1).and_then(|it| it.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![own_number(proc)?];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|it| it.1 == parent).map(|it| it.0));
        at += 1;
    }
    found.remove(0);
    Ok(found)
}

/// Waits until the number of the process `pid`, which has ended, is free again, or until `deadline`.
///
/// It is free when the process's parent has taken note; where that is the machine's first process, as soon as it cares.
pub fn wait_for_reaping(pid: u32, deadline: Instant) {
    let path = format!("/proc/{pid}");
    while Path::new(&path).exists() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends `SIGKILL`.
pub fn kill(pid: u32) -> io::Result<()> {
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).map_err(io::Error::from)
}

/// Sends `SIGSTOP`.
pub fn stop(pid: u32) -> io::Result<()> {
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).map_err(io::Error::from)
}

/// Sends `SIGTERM`.
pub fn terminate(pid: u32) -> io::Result<()> {
    nix::sys::signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).map_err(io::Error::from)
}

/// Runs a command to its end, and hands on to it what others send to this process: `SIGINT`, `SIGTERM`, `SIGHUP`,
/// `SIGQUIT`, `SIGUSR1` and `SIGUSR2`.
///
/// What the terminal sends reaches the command by itself. The signals stay blocked in the calling thread. To be called while
/// the process has a single thread: what is sent to the process goes to any thread that does not block it.
pub fn run_in_foreground(command: &mut Command) -> io::Result<End> {
    const HANDED_ON: [Signal; 6] =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];
    let mask = SigSet::from_iter(HANDED_ON);
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let mut child = command.spawn()?;
    // Nobody else waits for this child: it is there until it is waited for.
    let process = pidfd(child.id())?.ok_or(io::ErrorKind::NotFound)?;
    loop {
        if poll(&[process.as_fd(), signals.as_fd()], None)?.contains(&0) {
            let status = child.wait()?;
            let killed = || End::Killed(status.signal().unwrap_or_default());
            return Ok(status.code().map_or_else(killed, End::Exited));
        }
        let Some(signal) = signals.read_signal()? else { continue };
        // 6.18: a signal by kill(2) or sigqueue(3) has a code of at most 0, one of the kernel's own is above
        // (include/uapi/asm-generic/siginfo.h).
        if signal.ssi_code <= 0
            && let Some(known) = HANDED_ON.into_iter().find(|it| *it as u32 == signal.ssi_signo)
        {
            // It may have ended by itself meanwhile.
            let _ = nix::sys::signal::kill(Pid::from_raw(child.id().cast_signed()), known);
        }
    }
}

fn reap_if_any() -> io::Result<Option<(u32, End)>> {
    match reap(false) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        reaped => reaped,
    }
}

/// A descriptor of a process, which can be read once the process has ended; none if there is no such process.
fn pidfd(pid: u32) -> io::Result<Option<OwnedFd>> {
    // SAFETY: takes two numbers, returns a new descriptor or -1.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if opened < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ESRCH) { Ok(None) } else { Err(error) };
    }
    let descriptor = i32::try_from(opened).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

/// Waits until the process `pid` has ended, whosever child it is. One that is not there has ended.
pub fn wait_for_end(pid: u32, deadline: Instant) -> io::Result<()> {
    let Some(process) = pidfd(pid)? else { return Ok(()) };
    if poll(&[process.as_fd()], Some(deadline))?.is_empty() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(())
}

/// Has `command` enter `namespaces` before it becomes its program.
///
/// Where a process namespace is among them, the program runs as a child of the spawned process, which waits
/// for it and ends as it did; killing the spawned process kills the program.
pub fn enter_before_exec(command: &mut Command, namespaces: NamespaceSet) {
    let enter = move || {
        namespaces.enter()?;
        if namespaces.has_pid() { become_child() } else { Ok(()) }
    };
    // SAFETY: `enter` runs between fork and exec. setns(2), fork(2), prctl(2), close_range(2), waitpid(2) and
    // _exit(2) are system calls without locks, and nothing in it allocates, unless it fails, where the error
    // carries a bare number.
    unsafe {
        command.pre_exec(enter);
    }
}

/// Goes on as a child of this process, which stays to pass the child's end on.
fn become_child() -> io::Result<()> {
    // SAFETY: both sides only do system calls until they exec or exit.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from),
        child => wait_and_exit(child),
    }
}

fn wait_and_exit(child: libc::pid_t) -> ! {
    // The pipe by which the spawning process learns that exec succeeded must not stay open here.
    // SAFETY: nothing in this process uses a descriptor above 2 any more.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
    }
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if pid == child || Errno::last() != Errno::EINTR {
            break;
        }
    }
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) };
    // SAFETY: ends the process without running anything of the one it was copied from.
    unsafe { libc::_exit(code) }
}

/// Leaves a file open in every program that this process starts from now on, and with it whatever lock is on it.
pub fn keep_open_in_programs(file: &impl AsFd) -> io::Result<()> {
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
    Ok(())
}

fn number(pid: Pid) -> u32 {
    pid.as_raw().cast_unsigned()
}
