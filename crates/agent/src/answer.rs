//! What each request comes to.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use hopwise_collect::Limits;
use hopwise_probe::{Departures, PATIENCE, ProbeError, Watch};
use hopwise_snapshot::{Answers, Crossing, Observation, Observed, Place, Probe, Question};
use hopwise_sys::{Errand as Program, NetNs, ProgramError, ProgramLimits, Root};
use hopwise_wire::{Arrived, Bounds, Departed, End, Errand, Refusal, Reply, Request};

use crate::{
    host::unreachable,
    pods::Running,
    serve::{Known, Serving},
};

/// How long a watch waits to be told what has left the sender.
const LONGEST_WATCH: Duration = Duration::from_secs(30);
/// The longest that a program may be given.
const LONGEST_ERRAND: Duration = Duration::from_mins(10);
/// The most that a program may print.
const MOST_PRINTED: usize = 8 << 20;
/// The largest file that is written over, in bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// Programs of a node that concern a network namespace alone. What else is run for a pod would change the node's files,
/// or be a program of the pod's, which must not run with the node's rights.
const NETWORK_PROGRAMS: [&str; 13] = [
    "arp",
    "arptables",
    "bridge",
    "conntrack",
    "ethtool",
    "ip",
    "ip6tables",
    "ipset",
    "iptables",
    "nft",
    "ss",
    "sysctl",
    "tc",
];

impl Serving {
    /// The last reply to a request.
    pub(crate) fn answer(
        &self,
        id: u64,
        request: Request,
        expected: Option<&mpsc::Receiver<Departed>>,
    ) -> Reply {
        let answered = match request {
            Request::Collect(bounds) => self.collect(id, bounds),
            Request::Ask(questions) => Ok(self.ask(&questions)),
            Request::Send { crossing, probe } => self.send(&crossing, probe),
            Request::Watch { crossing, probe } => self.watch(id, &crossing, probe, expected),
            Request::Run(errand) => self.run(&errand),
            Request::WriteFile { place, path, content } => self
                .files(&place, &path, |root, path| root.write(path, content.as_bytes(), 0o644, LARGEST_FILE)),
            Request::RemoveFile { place, path } => self.files(&place, &path, Root::remove),
            // They were taken before.
            Request::Begin { .. } | Request::Expect { .. } => Ok(Reply::Done),
        };
        answered.unwrap_or_else(Reply::Refused)
    }

    fn collect(&self, id: u64, bounds: Bounds) -> Result<Reply, Refusal> {
        let Known { node, pods } = self.known()?;
        let (access, missing) = match self.host.access(&node, &pods) {
            Ok(access) => access,
            Err(error) => {
                self.tell(id, Reply::Node(Box::new(unreachable(&error, &self.host.proc))));
                for pod in pods {
                    self.tell(id, Reply::Pod(pod.name, Box::new(unreachable(&error, &self.host.proc))));
                }
                return Ok(Reply::Done);
            }
        };
        let limits =
            Limits { namespace: bounds.namespace, connections: bounds.connections, ..Limits::default() };
        let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let collected = hopwise_collect::collect(std::slice::from_ref(&access), &limits, &|it| {
            let (n_done, n_places) = (count(it.n_done), count(it.n_places));
            self.tell(id, Reply::Progress { place: it.place, n_done, n_places });
        });
        for (_, node) in collected.nodes {
            self.tell(id, Reply::Node(Box::new(node)));
        }
        for (pod, facts) in collected.pods {
            self.tell(id, Reply::Pod(pod, Box::new(facts)));
        }
        for (pod, why) in missing {
            self.tell(id, Reply::Pod(pod, Box::new(Observed::NotCollected(why))));
        }
        Ok(Reply::Done)
    }

    fn ask(&self, questions: &[Question]) -> Reply {
        let mut sites = BTreeMap::new();
        let mut absent = BTreeMap::new();
        for question in questions {
            let place = &question.from;
            if sites.contains_key(place) || absent.contains_key(place) {
                continue;
            }
            match self.netns_of(place) {
                Ok(netns) => drop(sites.insert(place.clone(), netns)),
                Err(refusal) => drop(absent.insert(place.clone(), refusal)),
            }
        }
        let probes: Vec<Probe> = questions.iter().cloned().map(Probe::Ask).collect();
        let observed = hopwise_probe::observe(&sites, &probes);
        let answers = observed.into_iter().zip(questions).map(|(observed, question)| match observed {
            Ok(seen) => answers_in(&seen).ok_or_else(|| Refusal::NotAllowed("it is no question".to_owned())),
            Err(ProbeError::NoSite(_)) if absent.contains_key(&question.from) => {
                Err(absent[&question.from].clone())
            }
            Err(error) => Err(Refusal::of(&error)),
        });
        Reply::Answers(answers.collect())
    }

    fn send(&self, crossing: &Crossing, probe: u64) -> Result<Reply, Refusal> {
        let netns = self.host.netns().map_err(|it| Refusal::of(&it))?;
        let departed = hopwise_probe::depart(&netns, crossing, probe).map_err(|it| Refusal::of(&it))?;
        let Departures { packets, ports, n_asked } = departed;
        Ok(Reply::Departed(Departed { packets, ports, n_asked }))
    }

    fn watch(
        &self,
        id: u64,
        crossing: &Crossing,
        probe: u64,
        expected: Option<&mpsc::Receiver<Departed>>,
    ) -> Result<Reply, Refusal> {
        const LOOK: Duration = Duration::from_millis(20);
        let netns = self.host.netns().map_err(|it| Refusal::of(&it))?;
        let mut watch = Watch::begin(&netns, crossing, probe).map_err(|it| Refusal::of(&it))?;
        self.tell(id, Reply::Watching);
        let mut limit = Instant::now() + LONGEST_WATCH;
        let mut departed: Option<Departures> = None;
        while Instant::now() < limit && !departed.as_ref().is_some_and(|it| watch.arrivals().has_all(it)) {
            watch.look(limit.min(Instant::now() + LOOK)).map_err(|it| Refusal::of(&it))?;
            if departed.is_none()
                && let Some(Departed { packets, ports, n_asked }) = expected.and_then(|it| it.try_recv().ok())
            {
                limit = Instant::now() + PATIENCE;
                departed = Some(Departures { packets, ports, n_asked });
            }
        }
        let arrivals = watch.arrivals().clone();
        let (packets, ports, n_asked) = (arrivals.packets, arrivals.ports, arrivals.n_asked);
        Ok(Reply::Arrived(Arrived { packets, ports, n_asked }))
    }

    fn run(&self, errand: &Errand) -> Result<Reply, Refusal> {
        let Some((program, arguments)) = errand.arguments.split_first() else {
            return Err(Refusal::NotAllowed("expected a program".to_owned()));
        };
        let namespaces = match &errand.place {
            Place::Node(_) => {
                self.is_here(&errand.place)?;
                self.host.of_tools(None)
            }
            Place::Pod(_) if is_of_network(program) => self.host.of_tools(Some(&self.pod(&errand.place)?)),
            Place::Pod(_) => {
                let why = format!(
                    "`{program}` is not run for a pod: expected a program that concerns its network alone"
                );
                return Err(Refusal::NotAllowed(why));
            }
        };
        let namespaces = namespaces.map_err(|it| Refusal::of(&it))?;
        let limits = ProgramLimits { timeout: errand.time.min(LONGEST_ERRAND), bytes: MOST_PRINTED };
        let input = errand.input.as_bytes();
        self.n_errands.fetch_add(1, Ordering::SeqCst);
        let ran = Program { program, arguments, input, namespaces }.run(&limits);
        self.n_errands.fetch_sub(1, Ordering::SeqCst);
        match ran {
            Ok(ran) => {
                let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
                let (output, complaint) = (text(&ran.output), text(&ran.complaint));
                Ok(Reply::Ended(End { code: ran.code, output, complaint }))
            }
            Err(ProgramError::Missing { program }) => Err(Refusal::ProgramMissing { program }),
            Err(ProgramError::TimedOut { timeout, .. }) => Err(Refusal::TimedOut { time: timeout }),
            Err(error @ ProgramError::TooLarge { .. }) => Err(Refusal::TooMuch(error.to_string())),
            Err(error) => Err(Refusal::of(&error)),
        }
    }

    /// Does something to a file of a place.
    fn files(
        &self,
        place: &Place,
        path: &str,
        act: impl FnOnce(&Root, &Path) -> Result<(), hopwise_sys::ReadError>,
    ) -> Result<Reply, Refusal> {
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(Refusal::NotAllowed(format!(
                "expected an absolute path, found `{}`",
                path.display()
            )));
        }
        let root = match place {
            Place::Node(_) => {
                self.is_here(place)?;
                self.host.root()
            }
            Place::Pod(_) => {
                let pod = self.pod(place)?;
                self.host.root_of(container_of(place, &pod)?)
            }
        };
        let failed = |error: &dyn std::error::Error| match Refusal::of(error) {
            Refusal::Failed(lines) => {
                Refusal::Failed([vec![format!("{} of {place}", path.display())], lines].concat())
            }
            other => other,
        };
        let root = Root::open(&root).map_err(|it| failed(&it))?;
        act(&root, path).map_err(|it| failed(&it))?;
        Ok(Reply::Done)
    }

    fn netns_of(&self, place: &Place) -> Result<NetNs, Refusal> {
        match place {
            Place::Node(_) => {
                self.is_here(place)?;
                self.host.netns().map_err(|it| Refusal::of(&it))
            }
            Place::Pod(_) => Ok(self.pod(place)?.netns),
        }
    }

    /// Is this the node that is meant?
    fn is_here(&self, place: &Place) -> Result<(), Refusal> {
        let own = self.known()?.node;
        match place {
            Place::Node(name) if *name == own => Ok(()),
            _ => Err(Refusal::NoPlace { place: place.clone(), why: format!("it is {own}") }),
        }
    }

    /// A pod, looked for anew: it may have been made anew.
    fn pod(&self, place: &Place) -> Result<Running, Refusal> {
        let absent = |why: String| Refusal::NoPlace { place: place.clone(), why };
        let pods = self.known()?.pods;
        let pod = pods.into_iter().find(|it| place.as_pod() == Some(&it.name));
        let pod = pod.ok_or_else(|| absent("nobody said that it runs here".to_owned()))?;
        let found = self.host.find(std::slice::from_ref(&pod)).map_err(|it| Refusal::of(&it))?;
        found.pod(&pod).map_err(absent)
    }
}

/// Does the program, of whichever back end, concern a network namespace alone?
fn is_of_network(program: &str) -> bool {
    let name = program.strip_suffix("-restore").unwrap_or(program);
    let name = name.strip_suffix("-nft").or_else(|| name.strip_suffix("-legacy")).unwrap_or(name);
    NETWORK_PROGRAMS.contains(&name)
}

/// A process of a pod's first container.
fn container_of(place: &Place, pod: &Running) -> Result<u32, Refusal> {
    let why = || "none of its containers runs".to_owned();
    pod.container.ok_or_else(|| Refusal::NoPlace { place: place.clone(), why: why() })
}

/// The answers in what was observed of a question.
fn answers_in(seen: &[Observation]) -> Option<Answers> {
    seen.iter().find_map(|it| match it {
        Observation::Asked { answers, .. } => Some(*answers),
        Observation::Crossed { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_the_network_are_known_in_every_back_end() {
        for program in ["ip", "iptables", "iptables-nft", "ip6tables-legacy", "iptables-nft-restore", "nft"] {
            assert!(is_of_network(program), "{program}");
        }
        for program in ["sh", "/tmp/ip", "ip;sh", "-nft", "-restore", "", "rm", "systemctl"] {
            assert!(!is_of_network(program), "{program}");
        }
    }
}
