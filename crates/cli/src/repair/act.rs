//! Doing what a plan says, in a lab.

use std::{
    io::{self, Write},
    process::Stdio,
};

use hopwise_change::{Change, Command};
use hopwise_lab::{Controller, Lab, LabError, LabName};

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActError {
    /// The lab.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// No command does it.
    #[error("no command does this: {0}")]
    NoCommand(String),
    /// A command for a place that the lab has not.
    #[error("the lab runs no `{0}`: there is no API server in it")]
    NoPlace(String),
    /// A command could not be started, or not be heard.
    #[error("failed to run `{command}` in {place}")]
    Start { command: String, place: String, source: io::Error },
    /// A command failed.
    #[error("`{command}` in {place} failed: {said}")]
    Failed { command: String, place: String, said: String },
}

/// Does one change.
pub(crate) fn act(name: &LabName, change: &Change) -> Result<(), ActError> {
    match change {
        Change::Resynced { node, controller } => {
            let controller = match controller {
                hopwise_change::Controller::KubeProxy => Controller::KubeProxy,
                hopwise_change::Controller::Flannel => Controller::Flannel,
            };
            Lab::open(name)?.sync(controller, node.as_str())?;
        }
        Change::PodRecreated { pod } => Lab::open(name)?.restart_pod(pod)?,
        other => {
            let commands = other.commands();
            if commands.is_empty() {
                return Err(ActError::NoCommand(other.summary()));
            }
            for command in &commands {
                super::run::point();
                run(name, command)?;
            }
        }
    }
    Ok(())
}

/// Runs one command where it belongs.
pub(crate) fn run(name: &LabName, command: &Command) -> Result<(), ActError> {
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

impl From<ActError> for crate::failure::Failure {
    fn from(error: ActError) -> Self {
        Self::Act(Box::new(error))
    }
}
