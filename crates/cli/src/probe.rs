//! `hopwise probe`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hopwise_dataplane::{Check, Promise, contract};
use hopwise_diagnose::{mesh, names, plan::name_question, question_of};
use hopwise_report::{Asked, Query, document::ProbesDocument, text};
use hopwise_snapshot::Probe as Packets;

use crate::{
    failure::Failure,
    output::{Shown, complain},
    source::{Read, Source},
};

/// Send packets, and see what comes of them
#[derive(Debug, Subcommand)]
pub(crate) enum Probe {
    Mesh(Mesh),
    Path(Path),
    Dns(Dns),
}

/// Ask once between each two nodes, from pod to pod, with packets as large as the sender may send.
///
/// It ends with 0 where every question was answered, and with 1 where one was not.
#[derive(Debug, Args)]
pub(crate) struct Mesh {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shown: Shown,
}

/// Ask from one place to another, by every way that is promised, and hold the model against the answers.
///
/// Without a port every promised flow between the two is asked for, each by its own protocol. Who gets a UDP packet need
/// not answer. It ends with 0 where every question was answered, and with 1 where one was not.
#[derive(Debug, Args)]
pub(crate) struct Path {
    /// Who sends: pod/NS/NAME or node/NAME
    from: String,
    /// To whom: pod/NS/NAME, node/NAME, svc/NS/NAME or ip/ADDRESS, then :PORT and /tcp, /udp or /icmp
    to: String,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shown: Shown,
}

/// Ask the cluster's name servers from a pod of each node: by their Service, and each endpoint by itself.
///
/// It ends with 0 where every question was answered, and with 1 where one was not.
#[derive(Debug, Args)]
pub(crate) struct Dns {
    /// The name to ask for, complete
    #[arg(default_value = "kubernetes.default.svc.cluster.local")]
    name: String,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shown: Shown,
}

pub(crate) fn run(probe: &Probe) -> ExitCode {
    match probe {
        Probe::Mesh(it) => it.answer().unwrap_or_else(|failure| failure.report(it.shown.output)),
        Probe::Path(it) => it.answer().unwrap_or_else(|failure| failure.report(it.shown.output)),
        Probe::Dns(it) => it.answer().unwrap_or_else(|failure| failure.report(it.shown.output)),
    }
}

impl Mesh {
    fn answer(&self) -> Result<ExitCode, Failure> {
        let mut read = self.source.read_live()?;
        read.send(&mesh(&read.snapshot));
        Ok(show(&read, "no two nodes that were read have pods", &self.shown))
    }
}

impl Path {
    fn answer(&self) -> Result<ExitCode, Failure> {
        let asked = Asked { from: self.from.clone(), to: self.to.clone() };
        let mut read = self.source.read_live()?;
        let query = Query::new(&read.snapshot, &contract(&read.snapshot), asked, false)?;
        let question = |it: &Promise| match &it.check {
            Check::Flow { flow, .. } => question_of(flow),
            Check::Name { name } => name_question(&read.snapshot, &it.from, name),
            Check::Duty(_) => None,
        };
        let questions: Vec<Packets> = query.promises.iter().filter_map(question).map(Packets::Ask).collect();
        read.send(&questions);
        Ok(show(&read, "nothing of this can be asked for", &self.shown))
    }
}

impl Dns {
    fn answer(&self) -> Result<ExitCode, Failure> {
        let mut read = self.source.read_live()?;
        read.send(&names(&read.snapshot, &self.name));
        Ok(show(
            &read,
            "the cluster has no Service kube-dns that was read, or no pod to ask from",
            &self.shown,
        ))
    }
}

fn show(read: &Read, none: &str, shown: &Shown) -> ExitCode {
    complain(&read.to_string());
    let probes = ProbesDocument::new(&read.snapshot);
    shown.print(|| probes.clone(), |layout| text::probes(&probes, none, layout));
    if probes.is_answered() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
