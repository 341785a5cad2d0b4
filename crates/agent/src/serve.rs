//! One session on a node: requests are taken until their stream ends, and answered side by side.

use std::{
    any::Any,
    collections::BTreeMap,
    io::{BufReader, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use hopwise_snapshot::{NodeName, Observed, Reason};
use hopwise_wire::{
    Asked, Departed, FROM_A_CLIENT, FROM_A_NODE, Greeting, PodIdentity, Refusal, Reply, Request, Told,
    Welcome, WireError,
};

use crate::{
    Host, StreamError,
    stream::{be_greeted, greet, read, write},
};

/// How many requests are answered at a time.
const MOST_AT_ONCE: usize = 64;
/// How long a program that is under way may go on once the client is gone: half of a change is worse than all of it.
const GRACE: Duration = Duration::from_secs(2);

/// How long an agent stays.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// How long it waits for the next request.
    pub idle: Duration,
    /// How long it serves in all.
    pub life: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { idle: Duration::from_mins(10), life: Duration::from_hours(1) }
    }
}

/// Why a session ended that nothing was wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client ended it.
    Input,
    /// There was no request for too long.
    Idle,
    /// It had its time.
    Life,
}

/// Serves one client until it ends, or until a deadline.
///
/// Programs that still run then were given a moment to end; whoever calls this ends what is left
/// ([`hopwise_sys::process::end_descendants`]) and then ends itself, as threads may still be at work.
pub fn serve(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    host: Host,
    deadlines: Deadlines,
) -> Result<Ending, StreamError> {
    let serving = Arc::new(Serving::new(host, Box::new(output)));
    greet(&mut **lock(&serving.output), Greeting::Node)?;
    let (sender, heard) = mpsc::sync_channel(MOST_AT_ONCE);
    thread::spawn(move || listen(input, &sender));
    let ending = serving.serve(&heard, deadlines);
    let limit = Instant::now() + GRACE;
    while serving.n_errands.load(Ordering::SeqCst) > 0 && Instant::now() < limit {
        thread::sleep(Duration::from_millis(10));
    }
    ending
}

/// What was heard from the client: a request, or nothing more.
type Heard = Result<Option<Asked>, StreamError>;

/// Takes in what the client says, until it ends.
fn listen(input: impl Read, sender: &mpsc::SyncSender<Heard>) {
    let mut input = BufReader::new(input);
    let mut heard = be_greeted(&mut input, Greeting::Client).and_then(|()| read(&mut input, &FROM_A_CLIENT));
    while let Ok(Some(_)) = heard {
        if sender.send(heard).is_err() {
            return;
        }
        heard = read(&mut input, &FROM_A_CLIENT);
    }
    // Nobody hears it where the session ended first.
    let _ = sender.send(heard);
}

/// What the node is called, and what runs on it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) node: NodeName,
    pub(crate) pods: Vec<PodIdentity>,
}

/// A session, as the threads that answer see it.
pub(crate) struct Serving {
    pub(crate) host: Host,
    known: Mutex<Option<Known>>,
    output: Mutex<Box<dyn Write + Send>>,
    /// The watches that do not know yet what is expected.
    watches: Mutex<BTreeMap<u64, mpsc::Sender<Departed>>>,
    n_running: AtomicUsize,
    pub(crate) n_errands: AtomicUsize,
    is_deaf: AtomicBool,
}

impl Serving {
    fn new(host: Host, output: Box<dyn Write + Send>) -> Self {
        Self {
            host,
            known: Mutex::new(None),
            output: Mutex::new(output),
            watches: Mutex::new(BTreeMap::new()),
            n_running: AtomicUsize::new(0),
            n_errands: AtomicUsize::new(0),
            is_deaf: AtomicBool::new(false),
        }
    }

    fn serve(
        self: &Arc<Self>,
        heard: &mpsc::Receiver<Heard>,
        deadlines: Deadlines,
    ) -> Result<Ending, StreamError> {
        const LOOK: Duration = Duration::from_millis(200);
        let end = Instant::now() + deadlines.life;
        let mut last = Instant::now();
        loop {
            match heard.recv_timeout(LOOK) {
                Ok(Ok(Some(asked))) => {
                    last = Instant::now();
                    self.take(asked);
                }
                Ok(Ok(None)) | Err(RecvTimeoutError::Disconnected) => return Ok(Ending::Input),
                Ok(Err(error)) => return Err(error),
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = Instant::now();
            if self.n_running.load(Ordering::SeqCst) > 0 {
                last = now;
            }
            if self.is_deaf.load(Ordering::SeqCst) {
                return Ok(Ending::Input);
            }
            if now >= end {
                return Ok(Ending::Life);
            }
            if now >= last + deadlines.idle {
                return Ok(Ending::Idle);
            }
        }
    }

    /// Answers a request, or has it answered.
    fn take(self: &Arc<Self>, asked: Asked) {
        let Asked { id, request } = asked;
        match request {
            Request::Begin { node, pods } => {
                *lock(&self.known) = Some(Known { node, pods });
                let program = env!("CARGO_PKG_VERSION").to_owned();
                let user = hopwise_sys::process::effective_user();
                self.tell(id, Reply::Welcome(Welcome { program, user }));
            }
            Request::Expect { watch, departed } => {
                if let Some(sender) = lock(&self.watches).remove(&watch) {
                    // The watch may have given up.
                    let _ = sender.send(departed);
                }
            }
            request => self.answer_aside(id, request),
        }
    }

    /// Answers on a thread of its own.
    fn answer_aside(self: &Arc<Self>, id: u64, request: Request) {
        let too_much =
            || Reply::Refused(Refusal::TooMuch(format!("more than {MOST_AT_ONCE} requests at a time")));
        if self.n_running.load(Ordering::SeqCst) >= MOST_AT_ONCE {
            return self.tell(id, too_much());
        }
        let expected = matches!(request, Request::Watch { .. }).then(|| {
            let (sender, expected) = mpsc::channel();
            lock(&self.watches).insert(id, sender);
            expected
        });
        self.n_running.fetch_add(1, Ordering::SeqCst);
        let serving = Arc::clone(self);
        let started = thread::Builder::new().spawn(move || {
            // A client must not wait for an answer that never comes.
            let answer = catch_unwind(AssertUnwindSafe(|| serving.answer(id, request, expected.as_ref())));
            lock(&serving.watches).remove(&id);
            serving.tell(id, answer.unwrap_or_else(|panic| Reply::Refused(of_panic(panic.as_ref()))));
            serving.n_running.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(error) = started {
            self.n_running.fetch_sub(1, Ordering::SeqCst);
            self.tell(id, Reply::Refused(Refusal::of(&error)));
        }
    }

    /// Tells the client something.
    pub(crate) fn tell(&self, id: u64, reply: Reply) {
        let mut output = lock(&self.output);
        let told = Told { id, reply };
        let written = match write(&mut **output, &told, &FROM_A_NODE) {
            // Nothing of it was written.
            Err(StreamError::Wire(error)) => {
                let reply = instead_of(told.reply, &error);
                write(&mut **output, &Told { id, reply }, &FROM_A_NODE)
            }
            written => written,
        };
        if written.is_err() {
            self.is_deaf.store(true, Ordering::SeqCst);
        }
    }

    /// What the client said that the node is called and has.
    pub(crate) fn known(&self) -> Result<Known, Refusal> {
        let not_begun = || Refusal::NotAllowed("expected the node's name and pods first".to_owned());
        lock(&self.known).clone().ok_or_else(not_begun)
    }
}

/// What is told instead of a reply that is too large: one place's facts do not cost the others'.
fn instead_of(reply: Reply, error: &WireError) -> Reply {
    let reason = match error {
        WireError::TooLarge { limit, .. } => Reason::TooLarge { limit: *limit },
        other => Reason::Failed(other.to_string()),
    };
    match reply {
        Reply::Node(_) => Reply::Node(Box::new(Observed::NotCollected(reason))),
        Reply::Pod(pod, _) => Reply::Pod(pod, Box::new(Observed::NotCollected(reason))),
        _ => Reply::Refused(Refusal::TooMuch(error.to_string())),
    }
}

/// What a thread that panicked says: a defect of this program.
fn of_panic(panic: &(dyn Any + Send)) -> Refusal {
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Refusal::Failed(vec!["the agent failed".to_owned(), text.unwrap_or_else(|| "it panicked".to_owned())])
}

/// What a lock guards; what a thread that panicked left there is still whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
