//! Where the state comes from.

use std::{fs, io, path::PathBuf};

use clap::Args;
use hopwise_collect::{Limits, NodeAccess, PodAccess, Progress, SourceError, kubectl};
use hopwise_lab::{Lab, LabError, LabName, MemberKind};
use hopwise_snapshot::{Cluster, NodeName, Observed, Place, Snapshot, hop};
use hopwise_sys::NetNs;

/// The options that name a source. They are the same on every command.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Read a lab
    #[arg(long, value_name = "NAME", conflicts_with = "snapshot")]
    lab: Option<LabName>,
    /// Read a snapshot file; no cluster is needed
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
}

/// Why a source could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceFailure {
    /// No source was named.
    #[error("no source: name a lab with --lab NAME or a snapshot with --snapshot FILE")]
    NoSource,
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

impl Source {
    /// Reads the source. Must be called before any thread is started: a lab of a plain user lies in a user
    /// namespace, and only a process with one thread can enter that.
    pub(crate) fn read(&self, progress: &(dyn Fn(Progress) + Sync)) -> Result<Snapshot, SourceFailure> {
        match (&self.lab, &self.snapshot) {
            (Some(name), _) => from_lab(name, progress),
            (None, Some(path)) => {
                let path_text = path.display().to_string();
                let bytes = fs::read(path)
                    .map_err(|source| SourceFailure::File { path: path_text.clone(), source })?;
                hop::read(&bytes).map_err(|source| SourceFailure::Hop { path: path_text, source })
            }
            (None, None) => Err(SourceFailure::NoSource),
        }
    }
}

fn from_lab(name: &LabName, progress: &(dyn Fn(Progress) + Sync)) -> Result<Snapshot, SourceFailure> {
    let of_lab = |source| SourceFailure::Lab { name: name.to_string(), source };
    let lab = Lab::open(name).map_err(of_lab)?;
    lab.enter_user_namespace().map_err(of_lab)?;
    let mut snapshot = Snapshot::new(jiff::Timestamp::now(), format!("lab/{name}"));
    snapshot.cluster = objects(&lab)?;
    snapshot.outside = lab.outside();
    snapshot.outside_name = Some(lab.outside_name().to_owned());
    let nodes = accesses(&lab, &snapshot.cluster)?;
    hopwise_collect::collect(&nodes, &Limits::default(), progress).add_to(&mut snapshot);
    Ok(snapshot)
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

/// How much a snapshot holds, for one line to the person at the terminal.
pub(crate) fn size(snapshot: &Snapshot) -> (usize, usize, usize) {
    let n_nodes = snapshot.nodes.len();
    let n_services = snapshot.cluster.services.known().map_or(0, Vec::len);
    let n_pods = snapshot.pods.values().filter(|it| matches!(it, Observed::Known(_))).count();
    (n_nodes, n_pods, n_services)
}
