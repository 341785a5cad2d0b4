//! Doing what a plan says, in a lab or on a live cluster.

use std::{
    io::{self, Write},
    process::Stdio,
    time::Duration,
};

use hopwise_change::{Change, Command};
use hopwise_lab::{Controller, Lab, LabError, LabName};
use hopwise_snapshot::{NodeName, PodObject};

use crate::source::Live;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// No command does it.
    #[error("no command does this: {0}")]
    NoCommand(String),
    /// A command to an API server.
    #[error("`{0}` is a command to the API server, which only a person can give")]
    NoPlace(String),
    /// No node is reached.
    #[error("no node is reached, so that `{0}` cannot be run")]
    NoNodes(String),
    /// A controller has no pod on a node.
    #[error("{controller} has no pod on node {node} that could be made anew")]
    NoAgent { node: NodeName, controller: hopwise_change::Controller },
    /// The API server.
    #[error(transparent)]
    Api(Box<hopwise_api::ApiError>),
    /// A pod.
    #[error(transparent)]
    Restart(#[from] hopwise_api::RestartError),
    /// A node.
    #[error(transparent)]
    Node(#[from] hopwise_agent::NodeError),
    /// A command could not be started, or not be heard.
    #[error("failed to run `{command}` in {place}")]
    Start { command: String, place: String, source: io::Error },
    /// A command failed.
    #[error("`{command}` in {place} failed: {said}")]
    Failed { command: String, place: String, said: String },
}

/// How long a pod that is made anew may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Does one change.
pub(crate) fn act(live: Live<'_>, change: &Change) -> Result<(), ActError> {
    match change {
        Change::Resynced { node, controller } => resync(live, node, *controller),
        Change::PodRecreated { pod } => match live {
            Live::Lab(name) => Ok(Lab::open(name)?.restart_pod(pod)?),
            Live::Cluster(cluster, focus) => Ok(cluster.server(focus)?.restart_pod(pod, PATIENCE)?),
        },
        other => {
            let commands = other.commands();
            if commands.is_empty() {
                return Err(ActError::NoCommand(other.summary()));
            }
            for command in &commands {
                super::run::point();
                run(live, command)?;
            }
            Ok(())
        }
    }
}

/// Has a controller write its whole state on a node: its pod there is made anew.
fn resync(live: Live<'_>, node: &NodeName, controller: hopwise_change::Controller) -> Result<(), ActError> {
    match live {
        Live::Lab(name) => {
            let controller = match controller {
                hopwise_change::Controller::KubeProxy => Controller::KubeProxy,
                hopwise_change::Controller::Flannel => Controller::Flannel,
            };
            Ok(Lab::open(name)?.sync(controller, node.as_str())?)
        }
        Live::Cluster(cluster, focus) => {
            let server = cluster.server(focus)?;
            let objects = server.read(&hopwise_api::Limits::default(), &|_| {})?;
            let pod = objects.pods.known().into_iter().flatten().find(|it| is_agent(it, node, controller));
            let pod = pod.ok_or_else(|| ActError::NoAgent { node: node.clone(), controller })?;
            Ok(server.restart_pod(&pod.name(), PATIENCE)?)
        }
    }
}

/// Is it the pod of a controller on a node? kubeadm and flannel label theirs (kubeadm 1.34 `addons/proxy/manifests.go`,
/// flannel 0.28 `kube-flannel.yml`).
fn is_agent(pod: &PodObject, node: &NodeName, controller: hopwise_change::Controller) -> bool {
    let label = |key: &str, value: &str| pod.metadata.labels.get(key).is_some_and(|it| it == value);
    let is_it = match controller {
        hopwise_change::Controller::KubeProxy => label("k8s-app", "kube-proxy"),
        hopwise_change::Controller::Flannel => label("k8s-app", "flannel") || label("app", "flannel"),
    };
    is_it && pod.spec.node_name.as_deref() == Some(node.as_str())
}

/// Runs one command where it belongs.
pub(crate) fn run(live: Live<'_>, command: &Command) -> Result<(), ActError> {
    match live {
        Live::Lab(name) => run_in_lab(name, command),
        Live::Cluster(cluster, _) => {
            let place = command.place.as_ref().ok_or_else(|| ActError::NoPlace(command.to_string()))?;
            let agents = cluster.agents().ok_or_else(|| ActError::NoNodes(command.to_string()))?;
            let end = agents.run(command)?;
            if end.code == 0 {
                return Ok(());
            }
            let said = end.complaint.trim();
            let said = if said.is_empty() { format!("exit code {}", end.code) } else { said.to_owned() };
            Err(ActError::Failed { command: command.to_string(), place: place.to_string(), said })
        }
    }
}

fn run_in_lab(name: &LabName, command: &Command) -> Result<(), ActError> {
    let Some(place) = &command.place else { return Err(ActError::NoPlace(command.to_string())) };
    let Some((program, arguments)) = command.arguments.split_first() else { return Ok(()) };
    // A pod that was made anew has new namespaces.
    let lab = Lab::open(name)?;
    let start = |source| ActError::Start { command: command.to_string(), place: place.to_string(), source };
    let mut started = lab.command(lab.member(&place.to_string())?, program)?;
    started.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = started.spawn().map_err(start)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that reads nothing may have ended; what it says counts.
        match stdin.write_all(command.input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(start(error)),
            _ => {}
        }
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let said = if said.is_empty() { output.status.to_string() } else { said };
    Err(ActError::Failed { command: command.to_string(), place: place.to_string(), said })
}

impl From<hopwise_api::ApiError> for ActError {
    fn from(error: hopwise_api::ApiError) -> Self {
        Self::Api(Box::new(error))
    }
}

impl From<ActError> for crate::failure::Failure {
    fn from(error: ActError) -> Self {
        Self::Act(Box::new(error))
    }
}
