//! `hopwise lab`.

mod exec;
mod list;
mod truth;
mod up;

use std::process::ExitCode;

use clap::Subcommand;
use hopwise_lab::{
    Controller, Lab, LabError, LabName,
    fault::{Fault, heal, inject},
};

use crate::failure::{Output, complain, print, report};

const INJECT_HELP: &str = "\
Break something.

A fault is a cause of the catalogue, with the node where it is to be (`node-ip-forward-off@w2`; without one w2), or \
words for a member:

  w2: sysctl net.ipv4.ip_forward=0
  w2: write /etc/resolv.conf \"nameserver 192.0.2.1\\n\"
  w2: rm /etc/sysctl.d/k8s.conf
  w1: ip route del 10.244.2.0/24
  pod/default/client-w1: ip link set eth0 down

Words other than sysctl, write and rm are run as a command there. `hopwise lab heal` takes all of it back.";

/// The words by which this program is started as a lab's keeper.
pub(crate) const KEEPER_WORDS: &[&str] = &["lab", "keep"];

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
    /// Break something.
    #[command(long_about = INJECT_HELP)]
    Inject {
        /// The lab.
        name: LabName,
        /// `CAUSE[@NODE]`, or `MEMBER: COMMAND WORDS`.
        #[arg(required = true)]
        faults: Vec<String>,
    },
    /// Take back everything that was injected.
    Heal {
        /// The lab.
        name: LabName,
    },
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
        LabCommand::Inject { name, faults } => break_it(&name, &faults),
        LabCommand::Heal { name } => mend(&name),
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

fn break_it(name: &LabName, faults: &[String]) -> Result<(), LabError> {
    let faults: Vec<Fault> = faults.iter().map(|it| it.parse()).collect::<Result<_, _>>()?;
    let lab = Lab::open(name)?;
    lab.enter_user_namespace()?;
    inject(&lab, &faults)?;
    for fault in faults {
        print(&format!("injected {fault}"));
    }
    Ok(())
}

fn mend(name: &LabName) -> Result<(), LabError> {
    let lab = Lab::open(name)?;
    lab.enter_user_namespace()?;
    let healed = heal(&lab)?;
    if healed.is_empty() {
        complain(&format!("nothing was injected into lab `{name}`"));
    }
    for fault in healed {
        print(&format!("took back {fault}"));
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
