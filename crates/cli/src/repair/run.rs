//! What a repair writes down: a directory for each run, with its journal and snapshots.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hopwise_lab::{Lab, LabError};
use hopwise_repair::journal::{Entry, JOURNAL, Journal, JournalError, State, finished};
use hopwise_snapshot::{Snapshot, hop};
use hopwise_sys::process::keep_open_in_programs;

use crate::source::Live;

/// How long a run waits for another one to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a run could not be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] Box<hopwise_api::ApiError>),
    /// There is nowhere to write to.
    #[error("there is no directory for what repairs write down: expected $XDG_STATE_HOME or $HOME")]
    NoDirectory,
    /// Another repair or undo of the same cluster goes on.
    #[error("another repair or undo of {0} goes on: wait until it has ended")]
    Busy(String),
    /// There is no such run.
    #[error("there is no run `{wanted}` of a repair: {known}")]
    NoSuchRun { wanted: String, known: String },
    /// There is nothing to take back.
    #[error("no repair of {0} is left to take back")]
    Nothing(String),
    /// A file.
    #[error("failed to write {path}")]
    Write { path: String, source: io::Error },
    /// A file.
    #[error("failed to read {path}")]
    Read { path: String, source: io::Error },
    /// A journal.
    #[error("{path} cannot be understood")]
    Journal { path: String, source: JournalError },
    /// A snapshot.
    #[error("{path} is not a snapshot that can be read")]
    Hop { path: String, source: hop::HopError },
}

/// Dies or stops here, where a test asks for it: `HOPWISE_AT_POINT=7:kill` at the seventh point that the program passes,
/// `7:stop` likewise until somebody lets it go on.
///
/// Only a build with debug assertions does so.
pub(crate) fn point() {
    #[cfg(debug_assertions)]
    {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static N_PASSED: AtomicUsize = AtomicUsize::new(0);
        let at = N_PASSED.fetch_add(1, Ordering::Relaxed) + 1;
        let wanted = std::env::var("HOPWISE_AT_POINT").unwrap_or_default();
        let own = std::process::id();
        let done = match wanted.split_once(':') {
            Some((number, "kill")) if number.parse() == Ok(at) => hopwise_sys::process::kill(own),
            Some((number, "stop")) if number.parse() == Ok(at) => hopwise_sys::process::stop(own),
            _ => return,
        };
        drop(done);
        // A signal to oneself arrives at once, but for the moment between.
        thread::sleep(Duration::from_millis(100));
    }
}

/// The runs of a lab or a cluster, which nobody else uses as long as this is held.
#[derive(Debug)]
pub(crate) struct Runs {
    whose: String,
    directory: PathBuf,
    #[expect(dead_code, reason = "it is held, not read")]
    lock: File,
}

impl Runs {
    /// Takes the runs of a lab or a cluster; waits a while for another repair or undo to end.
    pub(crate) fn of(live: Live<'_>) -> Result<Self, RunError> {
        let directory = match live {
            Live::Lab(name) => {
                let lab = Lab::open(name)?;
                lab.enter_user_namespace()?;
                lab.repairs_dir()
            }
            Live::Cluster(cluster, focus) => {
                let identity = cluster.identity(focus).map_err(Box::new)?;
                state_directory().ok_or(RunError::NoDirectory)?.join("hopwise/repairs").join(identity)
            }
        };
        let write = |source| RunError::Write { path: directory.display().to_string(), source };
        fs::create_dir_all(&directory).map_err(write)?;
        let lock = File::open(&directory).map_err(write)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::WouldBlock) => return Err(RunError::Busy(live.to_string())),
                Err(TryLockError::Error(source)) => return Err(write(source)),
            }
        }
        // Who takes back what a killed repair began waits for the command that it was about to end.
        keep_open_in_programs(&lock).map_err(write)?;
        Ok(Self { whose: live.to_string(), directory, lock })
    }

    fn numbers(&self) -> Result<Vec<u32>, RunError> {
        let read = |source| RunError::Read { path: self.directory.display().to_string(), source };
        let listed = fs::read_dir(&self.directory).map_err(read)?;
        let names = listed.filter_map(|it| it.ok()?.file_name().into_string().ok());
        let mut numbers: Vec<u32> = names.filter_map(|it| it.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Begins a run.
    pub(crate) fn begin(&self) -> Result<Run, RunError> {
        let number = self.numbers()?.last().map_or(1, |it| it + 1);
        let path = self.directory.join(number.to_string());
        fs::create_dir(&path)
            .map_err(|source| RunError::Write { path: path.display().to_string(), source })?;
        Ok(Run { number, path })
    }

    /// The run of a number; without one the last of which something is left to take back.
    pub(crate) fn find(&self, number: Option<u32>) -> Result<Run, RunError> {
        let numbers = self.numbers()?;
        let run = |number: u32| Run { number, path: self.directory.join(number.to_string()) };
        if let Some(number) = number {
            if numbers.contains(&number) {
                return Ok(run(number));
            }
            let known: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            return Err(RunError::NoSuchRun { wanted: number.to_string(), known });
        }
        for number in numbers.into_iter().rev() {
            match run(number).journal() {
                Ok(journal) if journal.state() != State::Undone => {
                    return Ok(run(number));
                }
                // One that came to nothing before it was written down has done nothing.
                Ok(_) | Err(RunError::Journal { source: JournalError::Empty, .. }) => {}
                Err(RunError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(RunError::Nothing(self.whose.clone()))
    }
}

/// Where programs keep what is to stay, as the XDG Base Directory Specification has it.
fn state_directory() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

/// One run.
#[derive(Debug)]
pub(crate) struct Run {
    /// Its number, from 1.
    pub(crate) number: u32,
    path: PathBuf,
}

impl Run {
    /// What was written down.
    pub(crate) fn journal(&self) -> Result<Journal, RunError> {
        let (path, bytes) = self.read(JOURNAL)?;
        Journal::parse(&bytes).map_err(|source| RunError::Journal { path, source })
    }

    /// Writes a line, which is on the disk when this returns.
    pub(crate) fn write(&self, entry: &Entry) -> Result<(), RunError> {
        point();
        let path = self.path.join(JOURNAL);
        let written = || -> io::Result<()> {
            let mut file = File::options().create(true).append(true).open(&path)?;
            drop_unfinished_line(&path, &file)?;
            file.write_all(&entry.line())?;
            file.sync_all()?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|source| RunError::Write { path: path.display().to_string(), source })?;
        point();
        Ok(())
    }

    /// Keeps a snapshot, which is on the disk as a whole or not at all.
    pub(crate) fn keep(&self, name: &str, snapshot: &Snapshot) -> Result<(), RunError> {
        let path = self.path.join(name);
        let written = || -> io::Result<()> {
            let unfinished = self.path.join(format!("{name}.tmp"));
            let mut file = File::create(&unfinished)?;
            file.write_all(&hop::write(snapshot))?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|source| RunError::Write { path: path.display().to_string(), source })?;
        point();
        Ok(())
    }

    /// A snapshot that was kept.
    pub(crate) fn snapshot(&self, name: &str) -> Result<Snapshot, RunError> {
        let (path, bytes) = self.read(name)?;
        hop::read(&bytes).map_err(|source| RunError::Hop { path, source })
    }

    /// A file of the run, with its path.
    fn read(&self, name: &str) -> Result<(String, Vec<u8>), RunError> {
        let path = self.path.join(name);
        let shown = path.display().to_string();
        match fs::read(&path) {
            Ok(bytes) => Ok((shown, bytes)),
            Err(source) => Err(RunError::Read { path: shown, source }),
        }
    }
}

/// Takes away what a killed program left of its last line.
fn drop_unfinished_line(path: &Path, file: &File) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let length = finished(&bytes).len();
    if length < bytes.len() { file.set_len(u64::try_from(length).unwrap_or_default()) } else { Ok(()) }
}
