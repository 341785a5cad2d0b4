//! Ways to a node's agent.

mod complaint;
mod local;
mod ssh;

use std::{
    fmt,
    io::{self, Read, Write},
    process::{Child, ChildStderr},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use hopwise_snapshot::Reason;

use crate::{Target, serve::lock};

pub use local::Local;
pub use ssh::{Ssh, SshProgram};

/// A way to nodes.
///
/// Several nodes' lines are opened at a time. What an implementation needs to know of a node is in the [`Target`]; what
/// it started there for the line ends when the line's input does.
pub trait NodesVia: Send + Sync {
    /// Opens a line to an agent on the node: what is written to it is the agent's input, and what is read its output.
    fn open(&self, node: &Target) -> Result<Line, OpenError>;
}

/// An open line to an agent.
pub struct Line {
    pub(crate) reads: Box<dyn Read + Send>,
    pub(crate) writes: Box<dyn Write + Send>,
    pub(crate) far: Option<Far>,
}

impl Line {
    /// A line of two streams, which are used from two threads at a time. Dropping `writes` must end the agent's input, also
    /// while `reads` is still being read; reading ends when the agent has ended.
    pub fn new(reads: Box<dyn Read + Send>, writes: Box<dyn Write + Send>) -> Self {
        Self { reads, writes, far: None }
    }

    /// The line to a child whose standard input and output it is.
    pub(crate) fn of_child(mut child: Child) -> Result<Self, OpenError> {
        let (Some(reads), Some(writes)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(OpenError::Other("a child without an input or output".to_owned()));
        };
        Ok(Self { reads: Box::new(reads), writes: Box::new(writes), far: Some(Far::new(child)) })
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// Why there is no line to a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A program of this machine could not be started.
    #[error("`{program}` could not be started")]
    Start {
        /// Which.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody knows a machine of that name.
    #[error("no machine is known as {}: expected an entry in ~/.ssh/config or a name that resolves", .hosts.join(" or "))]
    UnknownHost {
        /// By which names it was looked for.
        hosts: Vec<String>,
    },
    /// The machine does not answer.
    #[error("{host} does not answer: {said}")]
    NoAnswer {
        /// Which.
        host: String,
        /// What ssh said.
        said: String,
    },
    /// Its key is not the one that is known, or none is known.
    #[error("the key of {host} is not trusted: {said}; `ssh {host}` by hand shows what to do")]
    HostKey {
        /// Which.
        host: String,
        /// What ssh said.
        said: String,
    },
    /// It lets nobody in.
    #[error(
        "{host} does not let this user in: {said}; expected a key that needs no password, or an agent that has it"
    )]
    Denied {
        /// Which.
        host: String,
        /// What ssh said.
        said: String,
    },
    /// The user there is not root, and cannot become root.
    #[error("root is needed on {host}: {said}; expected root, or a user who may use sudo without a password")]
    Sudo {
        /// Which.
        host: String,
        /// What sudo said.
        said: String,
    },
    /// There is no directory to put the program in.
    #[error("there is no place for the program on {host}: {why}")]
    NoPlace {
        /// Which.
        host: String,
        /// What is wrong with each directory.
        why: String,
    },
    /// The program is not made for that machine.
    #[error(
        "{host} is {found}, and this program is made for {own}: install `hopwise` there, or use the one for {found} here"
    )]
    OtherMachine {
        /// Which.
        host: String,
        /// What it is.
        found: String,
        /// What this one is for.
        own: String,
    },
    /// Something else went wrong.
    #[error("{0}")]
    Other(String),
}

impl OpenError {
    /// The reason that facts are missing for.
    pub(crate) fn reason(&self) -> Reason {
        let text = hopwise_wire::Refusal::of(self).to_string();
        match self {
            Self::Denied { .. } | Self::Sudo { .. } => Reason::NotPermitted(text),
            _ => Reason::Failed(text),
        }
    }
}

/// How much is kept of what a far end says about its failure.
const COMPLAINT: usize = 4096;
/// How long a far end has to end by itself.
const FAREWELL: Duration = Duration::from_secs(4);

/// The program of this machine that is a line's other end.
pub(crate) struct Far {
    child: Arc<Mutex<Child>>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Far {
    /// Begins to look after a program, and to listen to its complaints.
    fn new(mut child: Child) -> Self {
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&said);
            thread::spawn(move || listen(stderr, &said));
        }
        Self { child: Arc::new(Mutex::new(child)), said }
    }

    /// What it said, the last lines of it. Where it has ended, that is given a moment to arrive.
    pub(crate) fn complaint(&mut self) -> String {
        let limit = Instant::now() + Duration::from_millis(300);
        while lock(&self.said).is_empty() && Instant::now() < limit {
            thread::sleep(Duration::from_millis(10));
        }
        let said = lock(&self.said);
        let text = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|it| !it.is_empty()).collect();
        let last = &lines[lines.len().saturating_sub(3)..];
        last.join("; ")
    }

    /// Ends it without waiting, from another thread if need be.
    fn killer(&self) -> impl FnOnce() + Send + 'static {
        let child = Arc::clone(&self.child);
        move || drop(lock(&child).kill())
    }

    /// Waits a while for its end, which its input's end brings, and then brings it.
    pub(crate) fn hang_up(self) {
        let limit = Instant::now() + FAREWELL;
        while Instant::now() < limit {
            match lock(&self.child).try_wait() {
                Ok(None) => {}
                _ => return,
            }
            thread::sleep(Duration::from_millis(5));
        }
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Keeps the end of what is said.
fn listen(mut stderr: ChildStderr, said: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stderr.read(&mut buffer) {
        let mut said = lock(said);
        said.extend_from_slice(&buffer[..length]);
        let n_over = said.len().saturating_sub(COMPLAINT);
        said.drain(..n_over);
    }
}
