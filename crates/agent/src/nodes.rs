//! All nodes of a cluster: their sessions are opened side by side, and stay open for what is asked later.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use hopwise_change::{Command, FileAct};
use hopwise_collect::{Collected, Limits};
use hopwise_probe::{Arrivals, Departures, crossed};
use hopwise_snapshot::{Crossing, NodeName, Observation, Observed, Place, PodName, Probe, Question, Reason};
use hopwise_wire::{Bounds, End, Errand, Refusal};

use crate::{NodesVia, OpenError, Session, SessionError, Target, serve::lock};

/// How many nodes are spoken to at a time.
pub const NODES_AT_ONCE: usize = 16;
/// How long a program of a repair may run.
const COMMAND_TIME: Duration = Duration::from_mins(1);

/// Why something was not done on a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The place is on none of the nodes.
    #[error("no node has {0}")]
    NoPlace(Place),
    /// The command is none for a node.
    #[error("`{0}` is a command to the API server, and not to a node")]
    NotForANode(String),
    /// There is no way to the node.
    #[error("node {node} cannot be reached")]
    Open {
        /// Which.
        node: NodeName,
        /// Why.
        source: OpenError,
    },
    /// The session with the node gave no answer.
    #[error("node {node} gave no answer")]
    Session {
        /// Which.
        node: NodeName,
        /// Why.
        source: SessionError,
    },
    /// The system of this machine.
    #[error("no random numbers can be had: {0}")]
    Random(String),
}

impl NodeError {
    /// The reason that a node's facts are missing for.
    fn reason(&self) -> Reason {
        match self {
            Self::Open { source, .. } => source.reason(),
            Self::Session { source: SessionError::Silent(_), .. } => Reason::TimedOut,
            other => Reason::Failed(Refusal::of(other).to_string()),
        }
    }
}

/// What is being done on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its agent is being reached.
    Opening,
    /// So many places of so many have been read.
    Reading(u32, u32),
    /// All that could be read has been.
    Read,
    /// Nothing could be read, for this reason.
    Failed(Reason),
}

/// What is told while nodes are read: from several threads.
pub type Progress<'a> = &'a (dyn Fn(&NodeName, Step) + Sync);

/// What was seen of a probe.
type Seen = Result<Vec<Observation>, NodeError>;

/// The nodes of a cluster, and a way to them. Dropping this ends all agents.
pub struct Nodes {
    via: Box<dyn NodesVia>,
    members: BTreeMap<NodeName, Member>,
}

/// A node, and the session with it.
struct Member {
    target: Target,
    session: Mutex<Option<Arc<Session>>>,
}

/// Reads nodes and their pods: what cannot be read is not collected, with the reason.
pub fn collect_all(
    via: Box<dyn NodesVia>,
    targets: Vec<Target>,
    limits: &Limits,
    progress: Progress<'_>,
) -> (Nodes, Collected) {
    let nodes = Nodes::new(via, targets);
    let collected = nodes.collect(limits, progress);
    (nodes, collected)
}

impl Nodes {
    /// The nodes, of which none is spoken to yet.
    pub fn new(via: Box<dyn NodesVia>, targets: Vec<Target>) -> Self {
        let mut nodes = Self { via, members: BTreeMap::new() };
        nodes.set_targets(targets);
        nodes
    }

    /// Takes note of which nodes and pods there are now. Sessions with nodes that are still there stay open.
    pub fn set_targets(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.members);
        for target in targets {
            let name = target.name.clone();
            let session = before.remove(&name).map(|it| it.session).unwrap_or_default();
            // An agent that is not told finds pods by what it was told before.
            if let Some(session) = lock(&session).as_ref() {
                // Whoever asks next learns that it is over.
                let _ = session.begin(&name, &target.pods);
            }
            self.members.insert(name, Member { target, session });
        }
    }

    /// Reads all nodes with their pods.
    pub fn collect(&self, limits: &Limits, progress: Progress<'_>) -> Collected {
        let bounds = Bounds { namespace: limits.namespace, connections: limits.connections };
        let members: Vec<&Member> = self.members.values().collect();
        let read = at_once(&members, NODES_AT_ONCE, |member| {
            progress(&member.target.name, Step::Opening);
            let collected = self.collect_one(member, bounds, progress);
            match &collected {
                Ok(_) => progress(&member.target.name, Step::Read),
                Err(error) => progress(&member.target.name, Step::Failed(error.reason())),
            }
            collected
        });
        let mut all = Collected::default();
        for (member, read) in members.into_iter().zip(read) {
            let mut read = read.unwrap_or_else(|error| nothing(&member.target, &error.reason()));
            for pod in &member.target.starting {
                if read.pods.get(pod).is_some_and(Observed::is_not_collected) {
                    read.pods.remove(pod);
                }
            }
            all.nodes.extend(read.nodes);
            all.pods.extend(read.pods);
        }
        all
    }

    fn collect_one(
        &self,
        member: &Member,
        bounds: Bounds,
        progress: Progress<'_>,
    ) -> Result<Collected, NodeError> {
        let name = &member.target.name;
        let session = self.session(member)?;
        let mut collected = session
            .collect(name, &member.target.pods, bounds, &|n_done, n_places| {
                progress(name, Step::Reading(n_done, n_places));
            })
            .map_err(|it| of_session(name, it))?;
        // What was asked for and did not come is said.
        let missing = || Reason::Failed(format!("node {name} said nothing about it"));
        collected.nodes.entry(name.clone()).or_insert_with(|| Observed::NotCollected(missing()));
        for pod in &member.target.pods {
            let facts = collected.pods.entry(pod.name.clone());
            facts.or_insert_with(|| Observed::NotCollected(missing()));
        }
        Ok(collected)
    }

    /// Sends packets and says what was seen of them, in the order of the probes.
    pub fn observe(&self, probes: &[Probe]) -> Vec<Seen> {
        let mut results: Vec<Option<Seen>> = Vec::new();
        results.resize_with(probes.len(), || None);
        let mut questions: BTreeMap<&NodeName, Vec<(usize, &Question)>> = BTreeMap::new();
        let mut work = Vec::new();
        for (at, probe) in probes.iter().enumerate() {
            match probe {
                Probe::Ask(question) => match self.node_of(&question.from) {
                    Some(member) => questions.entry(&member.target.name).or_default().push((at, question)),
                    None => results[at] = Some(Err(NodeError::NoPlace(question.from.clone()))),
                },
                Probe::Cross(crossings) => work.push(Work::Cross(at, crossings)),
            }
        }
        work.extend(questions.into_iter().map(|(node, all)| Work::Ask(node, all)));
        for (at, result) in at_once(&work, NODES_AT_ONCE, |work| self.do_work(work)).into_iter().flatten() {
            results[at] = Some(result);
        }
        // Each probe was either put to work or answered.
        results.into_iter().flatten().collect()
    }

    /// Runs a command in its place. That the program fails is no error: its code tells.
    ///
    /// What only writes or removes a file is done without a program.
    pub fn run(&self, command: &Command) -> Result<End, NodeError> {
        let Some(place) = &command.place else { return Err(NodeError::NotForANode(command.to_string())) };
        let done = || End { code: 0, output: String::new(), complaint: String::new() };
        match command.file_act() {
            Some(FileAct::Write { path, content }) => {
                return self.write_file(place, &path, &content).map(|()| done());
            }
            Some(FileAct::Remove { path }) => return self.remove_file(place, &path).map(|()| done()),
            None => {}
        }
        let errand = Errand {
            place: place.clone(),
            arguments: command.arguments.clone(),
            input: command.input.clone(),
            time: COMMAND_TIME,
        };
        self.with(place, |session| session.run(errand))
    }

    /// Writes a file of a node, or of a pod's first container, in place.
    pub fn write_file(&self, place: &Place, path: &str, content: &str) -> Result<(), NodeError> {
        self.with(place, |session| session.write_file(place.clone(), path, content))
    }

    /// Removes a file of a node, or of a pod's first container.
    pub fn remove_file(&self, place: &Place, path: &str) -> Result<(), NodeError> {
        self.with(place, |session| session.remove_file(place.clone(), path))
    }

    fn with<T>(
        &self,
        place: &Place,
        act: impl FnOnce(&Session) -> Result<T, SessionError>,
    ) -> Result<T, NodeError> {
        let member = self.node_of(place).ok_or_else(|| NodeError::NoPlace(place.clone()))?;
        let session = self.session(member)?;
        act(&session).map_err(|it| of_session(&member.target.name, it))
    }

    fn node_of(&self, place: &Place) -> Option<&Member> {
        match place {
            Place::Node(name) => self.members.get(name),
            Place::Pod(pod) => {
                let has = |it: &&Member| it.target.pods.iter().any(|it| it.name == *pod);
                self.members.values().find(has)
            }
        }
    }

    /// The session with a node: the one that is open, or a new one.
    fn session(&self, member: &Member) -> Result<Arc<Session>, NodeError> {
        let name = &member.target.name;
        let mut open = lock(&member.session);
        if let Some(session) = open.as_ref().filter(|it| !it.is_over()) {
            return Ok(Arc::clone(session));
        }
        *open = None;
        let line = self.via.open(&member.target);
        let line = line.map_err(|source| NodeError::Open { node: name.clone(), source })?;
        let session = Session::open(line).and_then(|session| {
            session.begin(name, &member.target.pods)?;
            Ok(Arc::new(session))
        });
        let session = session.map_err(|it| of_session(name, it))?;
        *open = Some(Arc::clone(&session));
        Ok(session)
    }

    fn do_work(&self, work: &Work<'_>) -> Vec<(usize, Seen)> {
        match work {
            Work::Cross(at, crossings) => {
                vec![(*at, crossings.iter().map(|it| self.cross(it)).collect())]
            }
            Work::Ask(node, questions) => {
                let asked: Vec<Question> = questions.iter().map(|(_, it)| (*it).clone()).collect();
                let place = Place::Node((*node).clone());
                // An error is told of each question, so that none is lost.
                let answers = match self.with(&place, |session| session.ask(asked)) {
                    Ok(answers) => answers,
                    Err(error) => {
                        let refusal = Refusal::of(&error);
                        questions.iter().map(|_| Err(refusal.clone())).collect()
                    }
                };
                let told = questions.iter().zip(answers).map(|((at, question), answers)| {
                    let observed = answers
                        .map(|answers| vec![Observation::Asked { question: (*question).clone(), answers }])
                        .map_err(|it| of_session(node, it.into()));
                    (*at, observed)
                });
                told.collect()
            }
        }
    }

    /// Sends from one node, and watches at the other.
    fn cross(&self, crossing: &Crossing) -> Result<Observation, NodeError> {
        let probe = getrandom::u64().map_err(|it| NodeError::Random(it.to_string()))?;
        let (from, to) = (Place::Node(crossing.from.clone()), Place::Node(crossing.to.clone()));
        let send = || self.with(&from, |session| session.send(crossing.clone(), probe));
        let watched = self.with(&to, |session| session.watch(crossing.clone(), probe, send))?;
        let (departed, arrived) = watched?;
        let departures =
            Departures { packets: departed.packets, ports: departed.ports, n_asked: departed.n_asked };
        let arrivals = Arrivals { packets: arrived.packets, ports: arrived.ports, n_asked: arrived.n_asked };
        Ok(crossed(crossing, &departures, &arrivals))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // All are let go first, so that they end side by side.
        for member in self.members.values() {
            if let Some(session) = lock(&member.session).as_ref() {
                session.let_go();
            }
        }
    }
}

/// What is done for one or several probes.
enum Work<'a> {
    Cross(usize, &'a [Crossing]),
    Ask(&'a NodeName, Vec<(usize, &'a Question)>),
}

fn of_session(node: &NodeName, source: SessionError) -> NodeError {
    NodeError::Session { node: node.clone(), source }
}

/// What is known of a node that could not be read, and of its pods.
fn nothing(target: &Target, reason: &Reason) -> Collected {
    let pod = |name: &PodName| (name.clone(), Observed::NotCollected(reason.clone()));
    Collected {
        nodes: BTreeMap::from([(target.name.clone(), Observed::NotCollected(reason.clone()))]),
        pods: target.pods.iter().map(|it| pod(&it.name)).collect(),
    }
}

/// Applies `f` to each item, some at a time. The results are in the order of the items.
fn at_once<T: Sync, R: Send>(items: &[T], n_at_once: usize, f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return done };
            done.push((at, f(item)));
        }
    };
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..n_at_once.min(items.len())).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter();
        joined.flat_map(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, it)| it).collect()
}
