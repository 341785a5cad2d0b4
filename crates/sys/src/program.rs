//! Programs that print one table: run with limits, and gone afterwards.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{
            fs::PermissionsExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{Pid, chroot, fchdir},
};

use crate::{Root, process::die_with_parent};

/// Where system programs lie, whatever the caller's `PATH` says.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// How much is kept of what a program says about its failure.
const COMPLAINT: usize = 4096;

/// A program that prints something on its standard output.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Its name, looked for in `PATH` and in the directories of system programs.
    pub name: &'a str,
    /// Its arguments.
    pub arguments: &'a [&'a str],
    /// The directory that is its `/` (needs `CAP_SYS_CHROOT`), and in which it is looked for; none is this
    /// process's own.
    pub root: Option<&'a Root>,
}

/// How much a program may cost.
#[derive(Clone, Copy, Debug)]
pub struct ProgramLimits {
    /// How long it may run.
    pub timeout: Duration,
    /// How many bytes it may print.
    pub bytes: usize,
}

impl Default for ProgramLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), bytes: 256 << 20 }
    }
}

/// Why a program printed nothing of use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// There is no such program.
    #[error("the program `{program}` was not found")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It could not be started.
    #[error("`{program}` could not be started")]
    NotStarted {
        /// Its name.
        program: String,
        /// What the kernel answered.
        source: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("`{program}` did not end within {} s", timeout.as_secs_f32())]
    TimedOut {
        /// Its name.
        program: String,
        /// The limit.
        timeout: Duration,
    },
    /// It printed more than the caller allows and was killed.
    #[error("`{program}` printed more than {limit} bytes")]
    TooLarge {
        /// Its name.
        program: String,
        /// The limit.
        limit: usize,
    },
    /// It failed.
    #[error("`{program}` ended with {status}{}", said(complaint))]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said on its standard error, cut at 4 KiB.
        complaint: String,
    },
    /// Its output could not be read.
    #[error("the output of `{program}` could not be read")]
    Output {
        /// Its name.
        program: String,
        /// What the kernel answered.
        source: io::Error,
    },
}

fn said(complaint: &str) -> String {
    match complaint.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

impl Program<'_> {
    /// Runs the program in the calling thread's network namespace and returns what it printed.
    ///
    /// It gets no input and no environment but `PATH` and `LC_ALL=C`. It runs in a process group of its own,
    /// and no process of that group is left when this returns. With the calling thread it ends too.
    pub fn run(&self, limits: &ProgramLimits) -> Result<Vec<u8>, ProgramError> {
        let program = || self.name.to_owned();
        let path = self.find().ok_or_else(|| ProgramError::Missing { program: program() })?;
        let deadline = Instant::now() + limits.timeout;
        let started = self.command(&path).and_then(|mut it| it.spawn());
        let child = started.map_err(|source| ProgramError::NotStarted { program: program(), source })?;
        let mut running = Running::new(child);
        let mut output = Output { limit: limits.bytes, ..Output::default() };
        let read = output.read(&mut running.child, &[], deadline).and_then(|()| running.end(deadline));
        match read {
            Ok(status) if status.success() => Ok(output.standard),
            Ok(status) => {
                let complaint = String::from_utf8_lossy(&output.error).into_owned();
                Err(ProgramError::Failed { program: program(), status, complaint })
            }
            Err(trouble) => Err(trouble.of(self.name, limits)),
        }
    }

    /// Is there such a program?
    pub fn exists(&self) -> bool {
        self.find().is_some()
    }

    fn find(&self) -> Option<PathBuf> {
        let own = match self.root {
            Some(_) => None,
            None => env::var_os("PATH"),
        };
        let in_path = own.iter().flat_map(env::split_paths).filter(|it| it.is_absolute());
        let mut candidates = in_path.chain(DIRECTORIES.map(PathBuf::from)).map(|it| it.join(self.name));
        if let Some(root) = self.root {
            return candidates.find(|it| root.has_program(it));
        }
        let is_program = |it: &fs::Metadata| it.is_file() && it.permissions().mode() & 0o111 != 0;
        candidates.find(|it| fs::metadata(it).as_ref().is_ok_and(is_program))
    }

    fn command(&self, path: &Path) -> io::Result<Command> {
        let mut command = Command::new(path);
        command.args(self.arguments).env_clear().env("PATH", search_path()).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let root = self.root.map(|it| it.as_fd().try_clone_to_owned()).transpose()?;
        let enter = move || {
            die_with_parent()?;
            if let Some(root) = &root {
                fchdir(root)?;
                chroot(".")?;
            }
            Ok(())
        };
        // SAFETY: `enter` runs between fork and exec. It makes system calls and allocates nothing: the path is
        // short enough for nix's stack buffer, and errors are plain numbers.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }
}

pub(crate) fn search_path() -> String {
    let mut path = String::new();
    for directory in DIRECTORIES {
        let separator = if path.is_empty() { "" } else { ":" };
        write!(path, "{separator}{directory}").expect("writing to memory does not fail");
    }
    path
}

pub(crate) enum Trouble {
    TimedOut,
    TooLarge,
    Io(io::Error),
}

impl Trouble {
    /// The trouble as the error of a program.
    pub(crate) fn of(self, program: &str, limits: &ProgramLimits) -> ProgramError {
        let program = program.to_owned();
        match self {
            Self::TimedOut => ProgramError::TimedOut { program, timeout: limits.timeout },
            Self::TooLarge => ProgramError::TooLarge { program, limit: limits.bytes },
            Self::Io(source) => ProgramError::Output { program, source },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// What a program prints, while it prints it.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) limit: usize,
    pub(crate) standard: Vec<u8>,
    pub(crate) error: Vec<u8>,
}

impl Output {
    /// Writes the program's input, where it has one, and reads both outputs to their ends.
    pub(crate) fn read(
        &mut self,
        child: &mut Child,
        mut input: &[u8],
        deadline: Instant,
    ) -> Result<(), Trouble> {
        let (mut standard, mut error) = (child.stdout.take(), child.stderr.take());
        let mut feed = child.stdin.take();
        let mut buffer = vec![0; 64 * 1024];
        while standard.is_some() || error.is_some() {
            // What has been given whole is closed, so that the program sees its end.
            feed = feed.filter(|_| !input.is_empty());
            let open = [
                standard.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)),
                error.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLIN)),
                feed.as_ref().map(|it| PollFd::new(it.as_fd(), PollFlags::POLLOUT)),
            ];
            wait_for(&mut open.into_iter().flatten().collect::<Vec<_>>(), deadline)?;
            write_some(&mut feed, &mut input)?;
            if let Some(read) = read_some(&mut standard, &mut buffer)? {
                if self.standard.len() + read.len() > self.limit {
                    return Err(Trouble::TooLarge);
                }
                self.standard.extend_from_slice(read);
            }
            if let Some(read) = read_some(&mut error, &mut buffer)? {
                let room = COMPLAINT - self.error.len();
                self.error.extend_from_slice(&read[..read.len().min(room)]);
            }
        }
        Ok(())
    }
}

/// Waits until one of the files is ready.
fn wait_for(files: &mut [PollFd<'_>], deadline: Instant) -> Result<(), Trouble> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::TimedOut);
        }
        let timeout = PollTimeout::try_from(left.as_millis().max(1)).unwrap_or(PollTimeout::MAX);
        match poll(files, timeout) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Writes what can be written now. Whoever has closed the other end wants no more.
fn write_some(feed: &mut Option<ChildStdin>, input: &mut &[u8]) -> io::Result<()> {
    let Some(open) = feed else { return Ok(()) };
    fcntl(&*open, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    match open.write(input) {
        Ok(n) => *input = &input[n..],
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => *input = &[],
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Reads what is there now. A file that has ended becomes none.
fn read_some<'a, R: Read + AsFd>(file: &mut Option<R>, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let Some(open) = file else { return Ok(None) };
    fcntl(&*open, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    match open.read(buffer) {
        Ok(0) => {
            *file = None;
            Ok(None)
        }
        Ok(n) => Ok(Some(&buffer[..n])),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A started program. Dropping it ends it.
pub(crate) struct Running {
    pub(crate) child: Child,
    is_over: bool,
}

impl Running {
    /// Begins to look after a program, which leads a process group of its own.
    pub(crate) fn new(child: Child) -> Self {
        Self { child, is_over: false }
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, deadline: Instant) -> Result<ExitStatus, Trouble> {
        let mut pause = Duration::from_micros(200);
        // The process is looked at and not yet reaped, so that its number still names its group.
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(self.pid()), flags)? == WaitStatus::StillAlive {
            if Instant::now() > deadline {
                return Err(Trouble::TimedOut);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
        Ok(self.kill()?)
    }

    fn kill(&mut self) -> io::Result<ExitStatus> {
        if self.is_over {
            return Ok(ExitStatus::from_raw(0));
        }
        self.is_over = true;
        // ESRCH: nothing is left of the group.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        self.child.wait()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limits: ProgramLimits) -> Result<Vec<u8>, ProgramError> {
        Program { name: "sh", arguments: &["-c", script], root: None }.run(&limits)
    }

    #[test]
    fn it_returns_what_was_printed_and_nothing_is_inherited() {
        let printed = sh("cat; echo $LC_ALL $HOME; echo aside >&2", ProgramLimits::default()).unwrap();
        assert_eq!(printed, b"C\n");
    }

    #[test]
    fn a_missing_program_is_a_value() {
        let program = Program { name: "hopwise-no-such-program", arguments: &[], root: None };
        assert!(!program.exists());
        assert!(matches!(program.run(&ProgramLimits::default()), Err(ProgramError::Missing { .. })));
    }

    #[test]
    fn a_failure_carries_what_the_program_said() {
        let error = sh("echo no such table >&2; exit 3", ProgramLimits::default()).unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with exit status: 3: no such table");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let limits = ProgramLimits { timeout: Duration::from_millis(1500), ..ProgramLimits::default() };
        let script = format!("sleep 1000 & echo $! > {}; wait", pid_file.display());
        assert!(matches!(sh(&script, limits), Err(ProgramError::TimedOut { .. })));
        let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        // An orphan stays a zombie until init takes it; it must not run any more.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            if stat.as_deref().map_or(true, |it| it.contains(") Z")) {
                break;
            }
            assert!(Instant::now() < deadline, "still running: {stat:?}");
        }
    }

    #[test]
    fn a_program_that_closed_its_output_and_stays_is_killed() {
        let limits = ProgramLimits { timeout: Duration::from_millis(300), ..ProgramLimits::default() };
        assert!(matches!(sh("exec >&- 2>&-; exec sleep 1000", limits), Err(ProgramError::TimedOut { .. })));
    }

    #[test]
    fn a_flood_is_cut_off() {
        let limits = ProgramLimits { bytes: 100_000, ..ProgramLimits::default() };
        assert!(matches!(sh("yes", limits), Err(ProgramError::TooLarge { limit: 100_000, .. })));
        let exactly = sh("head -c 100000 /dev/zero", limits).unwrap();
        assert_eq!(exactly.len(), 100_000);
    }

    #[test]
    fn a_flood_of_complaints_does_not_stop_it() {
        let printed = sh("yes | head -c 300000 >&2; echo done", ProgramLimits::default()).unwrap();
        assert_eq!(printed, b"done\n");
    }

    #[test]
    fn a_program_is_looked_for_in_its_root_alone() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert!(!Program { name: "sh", arguments: &[], root: Some(&root) }.exists());
        let machine = Root::open(Path::new("/")).unwrap();
        assert!(Program { name: "sh", arguments: &[], root: Some(&machine) }.exists());
    }
}
