//! Where the state comes from.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use hopwise_api::ApiError;
use hopwise_collect::{Limits, NodeAccess, PodAccess, SourceError, kubectl};
use hopwise_diagnose::{Diagnosis, plan::confirmations, probes};
use hopwise_lab::{Lab, LabError, LabName, MemberKind};
use hopwise_snapshot::{Cluster, NodeName, Observation, Observed, Place, Probe, Question, Snapshot, hop};
use hopwise_sys::NetNs;

use crate::{
    cluster::ClusterOptions,
    focus::Focus,
    output::complain,
    progress::{Step, seconds},
    reach::{Reach, said},
};

/// The options that name a source. They are the same on every command.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Read a lab
    #[arg(long, value_name = "NAME", conflicts_with = "snapshot")]
    lab: Option<LabName>,
    /// Read a snapshot file; no cluster is needed
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterOptions,
    #[command(flatten)]
    pub(crate) focus: Focus,
}

/// The option that says which packets are sent.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Probing {
    /// Which packets to send: the few that a diagnosis needs, or none. A snapshot file gets none
    #[arg(long, value_name = "MODE", default_value = "auto")]
    probe: ProbeMode,
}

impl Probing {
    /// Are no packets sent?
    pub(crate) fn is_none(self) -> bool {
        self.probe == ProbeMode::None
    }
}

/// Which packets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ProbeMode {
    /// The few that a diagnosis needs
    Auto,
    /// None: everything is only read
    None,
}

/// How often a snapshot is looked at for what else is worth sending.
const MOST_ROUNDS: usize = 4;

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceFailure {
    /// Packets were to be sent, and the source is no cluster.
    #[error(
        "a snapshot file is no cluster: nothing can be sent from it or done in it; expected a live cluster or --lab NAME"
    )]
    NotLive,
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ApiError),
    /// The lab.
    #[error("failed to read lab `{name}`")]
    Lab { name: String, source: LabError },
    /// The lab's objects.
    #[error("failed to read the objects of lab `{name}`")]
    Objects { name: String, source: SourceError },
    /// A namespace.
    #[error("failed to open the network namespace of {member}")]
    Namespace { member: String, source: io::Error },
    /// A file.
    #[error("failed to read {path}")]
    File { path: String, source: io::Error },
    /// A snapshot.
    #[error("{path} is not a snapshot that can be read")]
    Hop { path: String, source: hop::HopError },
}

impl SourceFailure {
    /// What to do about it, where that is known.
    pub(crate) fn next(&self) -> Option<String> {
        let next = match self {
            Self::Cluster(error) => return error.next(),
            Self::Lab { source: LabError::NoSuchLab { .. }, .. } => {
                "`hopwise lab list` shows the labs that there are, `hopwise lab up NAME` makes one"
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::IsADirectory => {
                "expected one .hop file, as `hopwise collect -o FILE` writes it"
            }
            Self::Hop { source: hop::HopError::NotHop, .. } => "`hopwise collect -o FILE` writes such a file",
            Self::Hop { source: hop::HopError::TooNew { .. }, .. } => {
                "read it with the version of Hopwise that wrote it, or a newer one"
            }
            Self::Hop { source: hop::HopError::Truncated { .. } | hop::HopError::Damaged { .. }, .. } => {
                "copy the file again, or collect the snapshot anew"
            }
            _ => return None,
        };
        Some(next.to_owned())
    }
}

/// A source in which something can be done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Live<'a> {
    /// A lab.
    Lab(&'a LabName),
    /// A live cluster, or this machine.
    Cluster(&'a ClusterOptions, &'a Focus),
}

impl std::fmt::Display for Live<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lab(name) => write!(f, "lab `{name}`"),
            Self::Cluster(..) => f.write_str("this cluster"),
        }
    }
}

/// A snapshot that was read, with how long that took.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) snapshot: Snapshot,
    took: Duration,
    /// How many probes were sent, and how long that took.
    probed: Option<(usize, Duration)>,
    /// What can be done where it was read.
    pub(crate) reach: Reach,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_of_objects() {
            let count = |it: Option<usize>| it.map_or_else(|| "no".to_owned(), |it| it.to_string());
            let cluster = &self.snapshot.cluster;
            let n_nodes = count(cluster.nodes.known().map(Vec::len));
            let n_pods = count(cluster.pods.known().map(Vec::len));
            let n_services = count(cluster.services.known().map(Vec::len));
            let took = seconds(self.took);
            return write!(
                f,
                "read the objects of {n_nodes} nodes, {n_pods} pods, {n_services} services in {took}"
            );
        }
        let n_services = self.snapshot.cluster.services.known().map_or(0, Vec::len);
        let n_pods = self.snapshot.pods.values().filter(|it| matches!(it, Observed::Known(_))).count();
        let n_nodes = self.snapshot.nodes.values().filter(|it| matches!(it, Observed::Known(_))).count();
        let took = seconds(self.took);
        write!(f, "read {n_nodes} nodes, {n_pods} pods, {n_services} services in {took}")?;
        match self.probed {
            Some((n_probes, took)) => {
                let probes = if n_probes == 1 { "probe" } else { "probes" };
                write!(f, "; sent {n_probes} {probes} in {}", seconds(took))
            }
            None => Ok(()),
        }
    }
}

impl Read {
    /// Was the API server asked, and no node?
    fn is_of_objects(&self) -> bool {
        let is_known = self.snapshot.nodes.values().any(|it| matches!(it, Observed::Known(_)));
        !is_known && self.snapshot.source.starts_with("kubeconfig/")
    }

    /// Sends packets as long as some are worth sending.
    fn probe(&mut self) {
        for _ in 0..MOST_ROUNDS {
            let probes = probes(&self.snapshot);
            if self.send(&probes).is_empty() {
                break;
            }
        }
    }

    /// Sends packets of what a diagnosis says to be broken, where the option asks for packets. Was anything seen of them?
    pub(crate) fn confirm(&mut self, probing: Probing, found: &Diagnosis) -> bool {
        if probing.is_none() || self.reach.is_nowhere() {
            return false;
        }
        let asked = confirmations(&self.snapshot, found);
        let is_new = |it: &Question| {
            let is_it =
                |seen: &Observation| matches!(seen, Observation::Asked { question, .. } if question == it);
            !self.snapshot.observations.iter().any(is_it)
        };
        let asked: Vec<Probe> = asked.into_iter().filter(is_new).map(Probe::Ask).collect();
        !asked.is_empty() && !self.send(&asked).is_empty()
    }

    /// Sends packets, and gives what was seen of them, which the snapshot has from then on. What could not be sent is said,
    /// and nothing is concluded from it.
    pub(crate) fn send(&mut self, probes: &[Probe]) -> &[Observation] {
        let start = Instant::now();
        let _step = Step::new(format!("sending {} probes", probes.len()));
        let n_before = self.snapshot.observations.len();
        for observed in self.reach.observe(probes) {
            match observed {
                Ok(seen) => self.snapshot.observations.extend(seen),
                Err(error) => {
                    complain(&format!("a probe could not be sent: {}", said(&error)));
                }
            }
        }
        let (n_probes, took) = self.probed.unwrap_or_default();
        self.probed = Some((n_probes + probes.len(), took + start.elapsed()));
        &self.snapshot.observations[n_before..]
    }
}

impl Source {
    /// Was a source named?
    pub(crate) fn is_named(&self) -> bool {
        self.lab.is_some() || self.snapshot.is_some() || self.cluster.is_named()
    }

    /// Is it a cluster that changes while it is read?
    pub(crate) fn is_live_cluster(&self) -> bool {
        self.lab.is_none() && self.snapshot.is_none()
    }

    /// Where something can be done.
    pub(crate) fn live(&self) -> Result<Live<'_>, SourceFailure> {
        match (&self.lab, &self.snapshot) {
            (Some(name), _) => Ok(Live::Lab(name)),
            (None, Some(_)) => Err(SourceFailure::NotLive),
            (None, None) => Ok(Live::Cluster(&self.cluster, &self.focus)),
        }
    }

    /// The words that name the same source on another command line.
    pub(crate) fn words(&self) -> String {
        match (&self.lab, &self.snapshot) {
            (Some(name), _) => format!("--lab {name}"),
            (None, Some(path)) => format!("--snapshot {}", quoted(path)),
            (None, None) => self.cluster.words(&self.focus),
        }
    }

    /// Reads the source. Must be called before any thread is started: a lab of a plain user lies in a user
    /// namespace, and only a process with one thread can enter that.
    pub(crate) fn read(&self) -> Result<Read, SourceFailure> {
        let start = Instant::now();
        let (snapshot, reach) = match (&self.lab, &self.snapshot) {
            (Some(name), _) => from_lab(name)?,
            (None, Some(path)) => (read_file(path)?, Reach::Nowhere),
            (None, None) => self.cluster.read(&self.focus)?,
        };
        Ok(Read { snapshot, took: start.elapsed(), probed: None, reach })
    }

    /// The same, and sends packets from the places that were read: those that the option asks for.
    pub(crate) fn read_and_probe(&self, probing: Probing) -> Result<Read, SourceFailure> {
        let mut read = self.read()?;
        if probing.probe == ProbeMode::Auto && !read.reach.is_nowhere() {
            read.probe();
        }
        Ok(read)
    }

    /// Reads what packets can be sent from.
    pub(crate) fn read_live(&self) -> Result<Read, SourceFailure> {
        self.live()?;
        self.read()
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    shlex::try_quote(&text).map(std::borrow::Cow::into_owned).unwrap_or(text)
}

/// Reads a `.hop` file.
pub(crate) fn read_file(path: &Path) -> Result<Snapshot, SourceFailure> {
    let text = path.display().to_string();
    let bytes = fs::read(path).map_err(|source| SourceFailure::File { path: text.clone(), source })?;
    hop::read(&bytes).map_err(|source| SourceFailure::Hop { path: text, source })
}

/// Reads a lab, and opens the network namespaces of its nodes and pods.
fn from_lab(name: &LabName) -> Result<(Snapshot, Reach), SourceFailure> {
    let of_lab = |source| SourceFailure::Lab { name: name.to_string(), source };
    let lab = Lab::open(name).map_err(of_lab)?;
    lab.enter_user_namespace().map_err(of_lab)?;
    let step = Step::new("reading the objects");
    let mut snapshot = Snapshot::new(jiff::Timestamp::now(), format!("lab/{name}"));
    snapshot.cluster = objects(&lab)?;
    snapshot.outside = lab.outside();
    snapshot.outside_name = Some(lab.outside_name().to_owned());
    let nodes = accesses(&lab, &snapshot.cluster)?;
    let progress = |it: hopwise_collect::Progress| {
        step.says(format!("read {} of {}: {}", it.n_done, it.n_places, it.place));
    };
    hopwise_collect::collect(&nodes, &Limits::default(), &progress).add_to(&mut snapshot);
    let members = lab.members().iter();
    let sites = members.filter_map(|it| Some((it.place.clone()?, open(it))));
    let sites = sites.map(|(place, netns)| Ok((place, netns?))).collect::<Result<_, SourceFailure>>()?;
    Ok((snapshot, Reach::Lab(sites)))
}

/// The objects that the lab keeps in place of an API server.
fn objects(lab: &Lab) -> Result<Cluster, SourceFailure> {
    let directory = lab.objects_dir();
    let listed = fs::read_dir(&directory)
        .map_err(|source| SourceFailure::File { path: directory.display().to_string(), source })?;
    let mut files: Vec<PathBuf> = listed.filter_map(|it| it.ok().map(|it| it.path())).collect();
    files.sort();
    let objects = kubectl::read_files(&files)
        .map_err(|source| SourceFailure::Objects { name: lab.name().to_owned(), source })?;
    Ok(objects.cluster)
}

fn accesses(lab: &Lab, cluster: &Cluster) -> Result<Vec<NodeAccess>, SourceFailure> {
    let mut nodes = Vec::new();
    for member in lab.members().iter().filter(|it| it.kind == MemberKind::Node) {
        let name = NodeName(member.name.clone());
        let mut pods = Vec::new();
        for pod in lab.members().iter().filter(|it| it.kind == MemberKind::Pod) {
            let Some(Place::Pod(pod_name)) = &pod.place else { continue };
            let node = cluster.pod(pod_name).and_then(|it| it.spec.node_name.clone());
            if node.as_deref() == Some(name.as_str()) {
                let root = Some(pod.path(std::path::Path::new("/")));
                pods.push(PodAccess { name: pod_name.clone(), netns: open(pod)?, root });
            }
        }
        nodes.push(NodeAccess {
            name,
            netns: open(member)?,
            root: member.path(std::path::Path::new("/")),
            proc: member.path(std::path::Path::new("/proc")),
            tools: Vec::new(),
            pods,
        });
    }
    Ok(nodes)
}

fn open(member: &hopwise_lab::Member) -> Result<NetNs, SourceFailure> {
    NetNs::open(&member.net_namespace_path())
        .map_err(|source| SourceFailure::Namespace { member: member.name.clone(), source })
}
