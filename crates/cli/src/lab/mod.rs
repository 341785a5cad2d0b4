//! `hopwise lab`.

mod exec;
mod list;
mod truth;
mod up;

use std::process::ExitCode;

use clap::Subcommand;
use hopwise_lab::{Controller, Lab, LabError, LabName};

use crate::failure::{Output, complain, report};

/// The words by which this program is started as a lab's keeper.
const KEEPER_WORDS: &[&str] = &["lab", "keep"];

/// The commands about labs.
#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Make a lab: a Kubernetes cluster in network namespaces of this machine.
    Up(up::Up),
    /// Remove a lab with everything that belongs to it, also one whose `up` was killed.
    Down {
        /// The lab.
        name: LabName,
    },
    /// Show all labs and their members.
    List(list::List),
    /// Measure who reaches whom, by packets alone.
    Truth(truth::TruthCommand),
    /// Run a command in a member of a lab.
    Exec(exec::Exec),
    /// Start a controller of a node anew, as `kube-proxy@w1`: it writes its whole state.
    #[command(hide = true)]
    Sync {
        /// The lab.
        name: LabName,
        /// The controllers (`kube-proxy`, `flannel`, `kubelet`), each with `@` and its node; or a pod as
        /// `pod/NAMESPACE/NAME`, which is replaced.
        #[arg(required = true)]
        what: Vec<String>,
    },
    /// Hold a lab. Started by `up`.
    #[command(hide = true)]
    Keep,
}

/// Runs a command about labs.
pub(crate) fn run(command: LabCommand) -> ExitCode {
    let done = match command {
        LabCommand::Keep => return hopwise_lab::keep(),
        LabCommand::Exec(exec) => return exec.run(),
        LabCommand::List(list) => return list.run(),
        LabCommand::Truth(truth) => return truth.run(),
        LabCommand::Up(up) => return up.run(),
        LabCommand::Down { name } => down(&name),
        LabCommand::Sync { name, what } => sync(&name, &what),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, Output::Text),
    }
}

fn down(name: &LabName) -> Result<(), LabError> {
    if !hopwise_lab::down(name)? {
        complain(&format!("there is no lab called `{name}`: nothing to remove"));
    }
    Ok(())
}

fn sync(name: &LabName, what: &[String]) -> Result<(), LabError> {
    let lab = Lab::open(name)?;
    for it in what {
        if let Some(pod) = it.strip_prefix("pod/").and_then(|it| it.parse().ok()) {
            lab.restart_pod(&pod)?;
            continue;
        }
        let (controller, node) = it.split_once('@').unwrap_or((it, ""));
        let controller = match controller {
            "kube-proxy" => Controller::KubeProxy,
            "flannel" => Controller::Flannel,
            "kubelet" => Controller::Kubelet,
            _ => return Err(LabError::NoSuchController { name: it.clone() }),
        };
        lab.sync(controller, node)?;
    }
    Ok(())
}
