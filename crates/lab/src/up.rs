//! Making a lab and removing it.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt, unix::net::UnixStream},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hopwise_sys::process::{kill, wait_for_end, wait_for_reaping};

use crate::{
    Lab, LabError, LabName,
    control::{Request, ask, receive, send},
    directory::{LabDirectory, LabsDirectory},
    keeper::{KEEPER_NAME, Order, Progress},
    layout::Shape,
    programs,
};

/// The program that becomes a lab's keeper: one that calls [`crate::keep`] when it is started with these words.
#[derive(Clone, Debug)]
pub struct KeeperProgram {
    /// The program.
    pub path: PathBuf,
    /// The words behind its name.
    pub arguments: Vec<String>,
}

impl KeeperProgram {
    /// The running program itself, also where its file was replaced or removed.
    pub fn this(arguments: &[&str]) -> Self {
        Self {
            path: PathBuf::from("/proc/self/exe"),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
        }
    }
}

/// The most labs that a user can have.
///
/// Each fills some hundred places of the neighbour table, which all namespaces of the machine share (`gc_thresh3`,
/// 1024).
const MOST_LABS: usize = 4;

/// Makes a lab and returns when all of it works. `on_step` is told what is being done.
///
/// The lab stays when this process ends; should it end before the lab is there, nothing of the lab stays.
pub fn up(
    name: &LabName,
    shape: Shape,
    keeper: &KeeperProgram,
    mut on_step: impl FnMut(&str),
) -> Result<Lab, LabError> {
    programs::check()?;
    let labs = LabsDirectory::of_this_user()?;
    let directory = labs.lab(name);
    let n_others = labs.names()?.iter().filter(|it| *it != name && labs.lab(it).is_alive()).count();
    if n_others >= MOST_LABS {
        return Err(LabError::TooMany { n_labs: n_others });
    }
    let claim = directory.claim()?;
    let order =
        Order { name: name.to_string(), labs: labs.clone(), base: shape.base, n_nodes: shape.n_nodes };
    match ask_for(&order, &directory, keeper, claim, &mut on_step) {
        Ok(()) => Lab::open_in(&labs, name),
        Err(error) => {
            // Whatever the keeper could not remove itself.
            drop(remove(&directory));
            Err(error)
        }
    }
}

fn ask_for(
    order: &Order,
    directory: &LabDirectory,
    keeper: &KeeperProgram,
    claim: File,
    on_step: &mut impl FnMut(&str),
) -> Result<(), LabError> {
    let failed = |source| LabError::Control { lab: order.name.clone(), source };
    let (mut line, theirs) = UnixStream::pair().map_err(failed)?;
    let path = directory.log();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = log.map_err(|source| LabError::Write { path, source })?;
    let mut child = Command::new(&keeper.path)
        .args(&keeper.arguments)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::from(claim))
        .stderr(Stdio::from(log))
        .spawn()
        .map_err(|source| LabError::Read { path: keeper.path.clone(), source })?;
    let sent = send(&mut line, order);
    // What was started goes on as another process and ends at once.
    child.wait().map_err(failed)?;
    sent.map_err(failed)?;
    let mut line = BufReader::new(line);
    loop {
        match receive(&mut line).map_err(failed)? {
            Some(Progress::Step(step)) => on_step(&step),
            Some(Progress::Ready) => return Ok(()),
            Some(Progress::Failed(message)) => return Err(LabError::Keeper(message)),
            None => {
                let log = std::fs::read_to_string(directory.log()).unwrap_or_default();
                let message = match log.trim() {
                    "" => "the keeper ended without a word".to_owned(),
                    log => format!("the keeper ended: {}", log.replace('\n', "; ")),
                };
                return Err(LabError::Keeper(message));
            }
        }
    }
}

/// Removes a lab with all that belongs to it, also what a killed `up` or a killed keeper has left. False where there
/// was nothing to remove.
pub fn down(name: &LabName) -> Result<bool, LabError> {
    remove(&LabsDirectory::of_this_user()?.lab(name))
}

/// How long a keeper may take to answer before it is killed.
const POLITE: Duration = Duration::from_secs(2);
/// How long the kernel may take to end all processes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the machine's first process is given to take note of the keeper's end.
const COURTESY: Duration = Duration::from_millis(800);

fn remove(directory: &LabDirectory) -> Result<bool, LabError> {
    let begin = Instant::now();
    let mut keeper = None;
    loop {
        let was_there = match directory.lock() {
            Ok(Some(_lock)) => {
                // All have let go of the lab's files; the last may still be about to end.
                let last = directory.keeper().filter(|it| is_keeper(*it));
                directory.remove()?;
                if let Some(pid) = last {
                    drop(wait_for_end(pid, begin + COURTESY));
                    wait_for_reaping(pid, begin + COURTESY);
                }
                true
            }
            Ok(None) => keeper.is_some(),
            Err(LabError::Exists { .. }) => {
                keeper = keeper.or_else(|| directory.keeper());
                press(directory, keeper, begin)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(pid) = keeper {
            wait_for_keeper(pid, begin + PATIENCE)?;
            wait_for_reaping(pid, begin + COURTESY);
        }
        return Ok(was_there);
    }
}

/// Asks the keeper of a lab that lives to end it, and makes it where it does not.
fn press(directory: &LabDirectory, keeper: Option<u32>, begin: Instant) -> Result<(), LabError> {
    if begin.elapsed() > PATIENCE {
        let member = format!("lab `{}`", directory.name());
        return Err(LabError::TooSlow { member, what: "end", seconds: PATIENCE.as_secs() });
    }
    // A keeper that still builds does not listen yet, and one that was stopped never will.
    let is_told = keeper.is_some() && ask(directory, "", &Request::Down).is_ok();
    if !is_told
        && begin.elapsed() > POLITE
        && let Some(pid) = keeper
    {
        drop(kill(pid));
    }
    if !is_told {
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Is the process a keeper, as far as its name tells? Numbers are given anew.
fn is_keeper(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|it| it.trim_end() == KEEPER_NAME)
}

/// The keeper's end is the end of all processes of the lab.
fn wait_for_keeper(pid: u32, deadline: Instant) -> Result<(), LabError> {
    wait_for_end(pid, deadline).map_err(|source: io::Error| LabError::Kernel {
        step: "wait for the end",
        member: "the keeper".to_owned(),
        source,
    })
}
