//! The client's end of one session: requests go out, and replies are handed to whoever waits for them.

use std::{
    collections::BTreeMap,
    io::{BufReader, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use hopwise_collect::Collected;
use hopwise_snapshot::{Answers, Crossing, NodeName, Place, Question};
use hopwise_wire::{
    Arrived, Asked, Bounds, Departed, End, Errand, FROM_A_CLIENT, FROM_A_NODE, Greeting, PodIdentity,
    Refusal, Reply, Request, Told, Welcome,
};

use crate::{
    StreamError,
    serve::lock,
    stream::{be_greeted, greet, read, write},
    via::{Far, Line},
};

/// How long a node may say nothing while something is awaited of it.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a node has to greet.
const GREETING: Duration = Duration::from_secs(30);
/// How much longer than a program may run its end is waited for.
const RETURN: Duration = Duration::from_secs(15);

/// How long the facts of a node and its pods may take in all, whatever it says meanwhile.
const COLLECTION: Duration = Duration::from_mins(10);
/// How many replies are kept for somebody who does not take them.
const MOST_UNHEARD: usize = 64;

/// Why a session gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The connection is over.
    #[error("the connection ended{}", because(.0))]
    Ended(String),
    /// Nothing was heard for too long.
    #[error("no answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// The node does not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The request is none that can be sent.
    #[error("the request cannot be sent: {0}")]
    NotSent(String),
    /// The reply belongs to another request.
    #[error("an answer of another kind came: {0}")]
    Unexpected(&'static str),
}

fn because(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

/// A session with a node's agent. Requests may be made from several threads at a time.
///
/// When it is dropped, the agent's input ends, and so does the agent.
pub struct Session {
    shared: Arc<Shared>,
    writes: Mutex<Option<Box<dyn Write + Send>>>,
    next: AtomicU64,
    far: Mutex<Option<Far>>,
}

/// What the thread that reads shares with those that wait.
#[derive(Default)]
struct Shared {
    waiting: Mutex<BTreeMap<u64, mpsc::SyncSender<Reply>>>,
    /// Why nothing more comes, once that is so.
    end: Mutex<Option<String>>,
}

/// A request that is under way.
struct UnderWay<'a> {
    id: u64,
    replies: mpsc::Receiver<Reply>,
    session: &'a Session,
}

impl Session {
    /// Begins a session over an open line.
    pub fn open(line: Line) -> Result<Self, SessionError> {
        let Line { reads, mut writes, far } = line;
        let shared = Arc::new(Shared::default());
        let (sender, greeted) = mpsc::channel();
        let reading = Arc::clone(&shared);
        thread::spawn(move || {
            let mut input = BufReader::new(reads);
            let ended = be_greeted(&mut input, Greeting::Node).and_then(|()| {
                // Whoever waits may have given up.
                let _ = sender.send(());
                reading.hear(&mut input)
            });
            let why = ended.err().map(|it| in_a_line(&it)).unwrap_or_default();
            *lock(&reading.end) = Some(why);
            lock(&reading.waiting).clear();
        });
        let greeted = greet(&mut *writes, Greeting::Client).map_err(|it| in_a_line(&it)).and_then(|()| {
            greeted.recv_timeout(GREETING).map_err(|error| match error {
                RecvTimeoutError::Timeout => format!("no greeting within {} s", GREETING.as_secs()),
                RecvTimeoutError::Disconnected => lock(&shared.end).clone().unwrap_or_default(),
            })
        });
        let session =
            Self { shared, writes: Mutex::new(Some(writes)), next: AtomicU64::new(1), far: Mutex::new(far) };
        match greeted {
            Ok(()) => Ok(session),
            Err(why) => Err(SessionError::Ended(session.with_complaint(&why))),
        }
    }

    /// Is the connection over?
    pub fn is_over(&self) -> bool {
        lock(&self.shared.end).is_some()
    }

    /// Tells the agent what its node is called, and which pods run there.
    pub fn begin(&self, node: &NodeName, pods: &[PodIdentity]) -> Result<Welcome, SessionError> {
        let request = Request::Begin { node: node.clone(), pods: pods.to_vec() };
        match self.ask_for(request, SILENCE)? {
            Reply::Welcome(welcome) => Ok(welcome),
            other => Err(unexpected(other)),
        }
    }

    /// The facts of the node and of those of its pods that are given. `progress` is told how many places of how many have
    /// been read.
    pub fn collect(
        &self,
        node: &NodeName,
        pods: &[PodIdentity],
        bounds: Bounds,
        progress: &dyn Fn(u32, u32),
    ) -> Result<Collected, SessionError> {
        let under_way = self.start(Request::Collect(bounds))?;
        let limit = Instant::now() + COLLECTION;
        // A place may take its time, and many are read side by side.
        let silence = SILENCE + bounds.namespace;
        let mut collected = Collected::default();
        while Instant::now() < limit {
            match under_way.next(silence)? {
                Reply::Progress { n_done, n_places, .. } => progress(n_done, n_places),
                Reply::Node(facts) => drop(collected.nodes.insert(node.clone(), *facts)),
                Reply::Pod(pod, facts) => {
                    // Nobody but the node itself speaks for a pod, and it speaks for none but its own.
                    let is_own = facts.known().is_none_or(|it| it.node == *node);
                    if is_own && pods.iter().any(|it| it.name == pod) {
                        collected.pods.insert(pod, *facts);
                    }
                }
                Reply::Done => return Ok(collected),
                other => return Err(unexpected(other)),
            }
        }
        Err(SessionError::Silent(COLLECTION))
    }

    /// Sends packets that are questions from the node and its pods, and gives what came back, question by question.
    pub fn ask(&self, questions: Vec<Question>) -> Result<Vec<Result<Answers, Refusal>>, SessionError> {
        let n_questions = questions.len();
        // Each takes a few seconds where nothing answers, and some are asked at a time.
        let rounds = u32::try_from(n_questions / hopwise_probe::N_AT_ONCE).unwrap_or(u32::MAX);
        let patience = SILENCE.saturating_add(Duration::from_secs(5).saturating_mul(rounds));
        match self.ask_for(Request::Ask(questions), patience)? {
            Reply::Answers(answers) if answers.len() == n_questions => Ok(answers),
            other => Err(unexpected(other)),
        }
    }

    /// Sends packets to another node, and gives what has left this one.
    pub fn send(&self, crossing: Crossing, probe: u64) -> Result<Departed, SessionError> {
        match self.ask_for(Request::Send { crossing, probe }, SILENCE)? {
            Reply::Departed(departed) => Ok(departed),
            other => Err(unexpected(other)),
        }
    }

    /// Watches for packets from another node while `send` has them sent, and gives what `send` says and what arrived.
    ///
    /// Both nodes' failures come back as they are, so that whoever asks knows which one it was.
    pub fn watch<E>(
        &self,
        crossing: Crossing,
        probe: u64,
        send: impl FnOnce() -> Result<Departed, E>,
    ) -> Result<Result<(Departed, Arrived), E>, SessionError> {
        let under_way = self.start(Request::Watch { crossing, probe })?;
        match under_way.next(SILENCE)? {
            Reply::Watching => {}
            other => return Err(unexpected(other)),
        }
        let sent = send();
        // Where nothing was sent, nothing is expected, and the watch ends.
        let departed = sent.as_ref().ok().cloned().unwrap_or_default();
        self.put(&Asked { id: self.number(), request: Request::Expect { watch: under_way.id, departed } })?;
        match under_way.next(SILENCE)? {
            Reply::Arrived(arrived) => Ok(sent.map(|departed| (departed, arrived))),
            other => Err(unexpected(other)),
        }
    }

    /// Runs a program. That it fails is no error: its code tells.
    pub fn run(&self, errand: Errand) -> Result<End, SessionError> {
        let patience = errand.time + RETURN;
        match self.ask_for(Request::Run(errand), patience)? {
            Reply::Ended(end) => Ok(end),
            other => Err(unexpected(other)),
        }
    }

    /// Writes a file of the node, or of a pod's first container, in place.
    pub fn write_file(&self, place: Place, path: &str, content: &str) -> Result<(), SessionError> {
        let (path, content) = (path.to_owned(), content.to_owned());
        self.do_it(Request::WriteFile { place, path, content })
    }

    /// Removes a file of the node, or of a pod's first container.
    pub fn remove_file(&self, place: Place, path: &str) -> Result<(), SessionError> {
        self.do_it(Request::RemoveFile { place, path: path.to_owned() })
    }

    fn do_it(&self, request: Request) -> Result<(), SessionError> {
        match self.ask_for(request, SILENCE)? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn ask_for(&self, request: Request, patience: Duration) -> Result<Reply, SessionError> {
        self.start(request)?.next(patience)
    }

    fn start(&self, request: Request) -> Result<UnderWay<'_>, SessionError> {
        let id = self.number();
        let (sender, replies) = mpsc::sync_channel(MOST_UNHEARD);
        lock(&self.shared.waiting).insert(id, sender);
        let under_way = UnderWay { id, replies, session: self };
        // Whoever ends the session empties the list after that: either it is seen here, or the list was emptied of this.
        if self.is_over() {
            return Err(self.ended());
        }
        self.put(&Asked { id, request })?;
        Ok(under_way)
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn put(&self, asked: &Asked) -> Result<(), SessionError> {
        let mut writes = lock(&self.writes);
        let Some(output) = writes.as_mut() else { return Err(self.ended()) };
        match write(&mut **output, asked, &FROM_A_CLIENT) {
            Ok(()) => Ok(()),
            Err(StreamError::Wire(error)) => Err(SessionError::NotSent(error.to_string())),
            Err(error) => Err(SessionError::Ended(self.with_complaint(&in_a_line(&error)))),
        }
    }

    fn ended(&self) -> SessionError {
        let why = lock(&self.shared.end).clone().unwrap_or_default();
        SessionError::Ended(self.with_complaint(&why))
    }

    /// Why it ended, with what the far end said about it.
    fn with_complaint(&self, why: &str) -> String {
        let said = lock(&self.far).as_mut().map(Far::complaint).unwrap_or_default();
        match (why, said.as_str()) {
            (why, "") => why.to_owned(),
            ("", said) => said.to_owned(),
            (why, said) => format!("{why}; {said}"),
        }
    }

    /// Has the agent end. What is under way there ends too.
    pub(crate) fn let_go(&self) {
        drop(lock(&self.writes).take());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.let_go();
        if let Some(far) = lock(&self.far).take() {
            far.hang_up();
        }
    }
}

impl Shared {
    /// Hands replies to whoever waits for them, until there are no more.
    fn hear(&self, input: &mut impl std::io::Read) -> Result<(), StreamError> {
        while let Some(Told { id, reply }) = read(input, &FROM_A_NODE)? {
            let sender = if reply.is_last() {
                lock(&self.waiting).remove(&id)
            } else {
                lock(&self.waiting).get(&id).cloned()
            };
            if let Some(sender) = sender {
                // Who gave up hears no more.
                let _ = sender.send(reply);
            }
        }
        Ok(())
    }
}

impl UnderWay<'_> {
    /// The next reply. A refusal is an error.
    fn next(&self, patience: Duration) -> Result<Reply, SessionError> {
        match self.replies.recv_timeout(patience) {
            Ok(Reply::Refused(refusal)) => Err(refusal.into()),
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Timeout) => Err(SessionError::Silent(patience)),
            Err(RecvTimeoutError::Disconnected) => Err(self.session.ended()),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.session.shared.waiting).remove(&self.id);
    }
}

fn unexpected(reply: Reply) -> SessionError {
    match reply {
        Reply::Refused(refusal) => refusal.into(),
        other => SessionError::Unexpected(other.word()),
    }
}

/// An error and what caused it.
fn in_a_line(error: &dyn std::error::Error) -> String {
    Refusal::of(error).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use hopwise_snapshot::{Observed, Pod, PodName, Reason};

    use super::*;
    use crate::{Deadlines, Host, serve};

    /// Half of a socket, which ends the other side's input with itself.
    struct Writes(UnixStream);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }

    impl Drop for Writes {
        fn drop(&mut self) {
            let _ = self.0.shutdown(std::net::Shutdown::Write);
        }
    }

    fn line(here: UnixStream) -> Line {
        Line::new(Box::new(here.try_clone().unwrap()), Box::new(Writes(here)))
    }

    /// A session with a node that does this once it was greeted and asked for the first time.
    fn with(node: impl FnOnce(&mut UnixStream, &mut BufReader<UnixStream>) + Send + 'static) -> Session {
        let (here, mut there) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            greet(&mut there, Greeting::Node).unwrap();
            let mut reads = BufReader::new(there.try_clone().unwrap());
            be_greeted(&mut reads, Greeting::Client).unwrap();
            let first: Option<Asked> = read(&mut reads, &FROM_A_CLIENT).unwrap();
            assert_eq!(first.unwrap().id, 1);
            node(&mut there, &mut reads);
        });
        Session::open(line(here)).unwrap()
    }

    fn tell(there: &mut UnixStream, id: u64, reply: Reply) {
        write(there, &Told { id, reply }, &FROM_A_NODE).unwrap();
    }

    fn bounds() -> Bounds {
        Bounds { namespace: Duration::from_secs(1), connections: 0 }
    }

    #[test]
    fn a_node_of_another_version_is_told_so() {
        let (here, mut there) = UnixStream::pair().unwrap();
        there.write_all(b"hopwise-node 9\n").unwrap();
        let Err(error) = Session::open(line(here)) else { panic!("it was taken") };
        assert!(
            error.to_string().starts_with("the connection ended: the other side speaks version 9"),
            "{error}"
        );
    }

    #[test]
    fn a_node_that_ends_or_talks_nonsense_is_an_error() {
        let name = NodeName::from("w1");
        let session = with(|_, _| ());
        assert!(matches!(session.begin(&name, &[]), Err(SessionError::Ended(_))));
        let session = with(|there, _| there.write_all(&[0, 0, 0, 3, 1, 2, 3]).unwrap());
        assert!(
            matches!(session.begin(&name, &[]), Err(SessionError::Ended(why)) if why.contains("damaged"))
        );
        let session = with(|there, _| tell(there, 1, Reply::Watching));
        assert_eq!(session.begin(&name, &[]), Err(SessionError::Unexpected("watching")));
    }

    #[test]
    fn what_a_node_says_of_others_is_not_taken() {
        let (name, own, other) =
            (NodeName::from("w1"), PodName::new("default", "a"), PodName::new("default", "b"));
        let pod = |node: &str| {
            let (net, files) = (hopwise_snapshot::NetNs::default(), BTreeMap::new());
            let processes = Observed::Absent;
            Box::new(Observed::Known(Pod { node: node.into(), net, files, processes }))
        };
        let said = [
            Reply::Pod(own.clone(), pod("w2")),
            Reply::Pod(other.clone(), pod("w1")),
            Reply::Pod(other, Box::new(Observed::NotCollected(Reason::TimedOut))),
            Reply::Node(Box::new(Observed::Absent)),
            Reply::Done,
        ];
        let session = with(move |there, _| said.into_iter().for_each(|it| tell(there, 1, it)));
        let pods = [PodIdentity { name: own, uid: String::new() }];
        let collected = session.collect(&name, &pods, bounds(), &|_, _| ()).unwrap();
        assert!(collected.pods.is_empty());
        assert_eq!(collected.nodes.into_keys().collect::<Vec<_>>(), [name]);
    }

    #[test]
    fn replies_find_their_requests_in_any_order() {
        let session = with(|there, reads| {
            let asked: Option<Asked> = read(reads, &FROM_A_CLIENT).unwrap();
            let (first, second) = (1, asked.unwrap().id);
            tell(there, 99, Reply::Done);
            tell(there, second, Reply::Refused(Refusal::NotAllowed("the second".to_owned())));
            tell(there, first, Reply::Refused(Refusal::NotAllowed("the first".to_owned())));
        });
        let (node, said) = (Place::node("w1"), |it: SessionError| it.to_string());
        thread::scope(|scope| {
            let first = scope.spawn(|| said(session.remove_file(node.clone(), "/a").unwrap_err()));
            while session.next.load(Ordering::Relaxed) < 2 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(50));
            let second = scope.spawn(|| said(session.remove_file(node.clone(), "/b").unwrap_err()));
            assert_eq!(
                (first.join().unwrap().as_str(), second.join().unwrap().as_str()),
                ("the first", "the second")
            );
        });
    }

    #[test]
    fn an_agent_that_was_not_told_its_name_refuses_and_goes_on() {
        let (here, there) = UnixStream::pair().unwrap();
        let reads = there.try_clone().unwrap();
        let served = thread::spawn(move || serve(reads, there, Host::this(), Deadlines::default()));
        let session = Session::open(line(here)).unwrap();
        let error = session.collect(&"w1".into(), &[], bounds(), &|_, _| ()).unwrap_err();
        assert_eq!(error.to_string(), "expected the node's name and pods first");
        session.begin(&"w1".into(), &[]).unwrap();
        let error = session.remove_file(Place::node("w2"), "/nonexistent/x").unwrap_err();
        assert_eq!(error.to_string(), "there is no node/w2 on this node: it is w1");
        let error = session.remove_file(Place::node("w1"), "/nonexistent/x").unwrap_err();
        assert_eq!(error.to_string(), "/nonexistent/x of node/w1: not found");
        drop(session);
        assert!(matches!(served.join().unwrap(), Ok(crate::Ending::Input)));
    }
}
