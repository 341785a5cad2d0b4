//! `hopwise probe`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hopwise_dataplane::{Check, FlowProtocol, Promise, Size, contract};
use hopwise_report::{Asked, Query, document::ProbesDocument, text};
use hopwise_snapshot::{Message, Probe as Packets, Question};

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
        let read = self.source.read_and_ask(hopwise_diagnose::mesh)?;
        Ok(show(&read, "no two nodes that were read have pods", &self.shown))
    }
}

impl Path {
    fn answer(&self) -> Result<ExitCode, Failure> {
        let asked = Asked { from: self.from.clone(), to: self.to.clone() };
        let mut query = None;
        let read = self.source.read_and_ask(|snapshot| {
            let found = Query::new(snapshot, &contract(snapshot), asked.clone(), false);
            let promises = found.as_ref().map_or(&[][..], |it| &it.promises);
            let questions = promises.iter().filter_map(question).map(Packets::Ask).collect();
            query = Some(found.map(|_| ()));
            questions
        })?;
        if let Some(Err(error)) = query {
            return Err(error.into());
        }
        Ok(show(&read, "nothing of this can be asked for", &self.shown))
    }
}

impl Dns {
    fn answer(&self) -> Result<ExitCode, Failure> {
        let read = self.source.read_and_ask(|snapshot| hopwise_diagnose::names(snapshot, &self.name))?;
        Ok(show(
            &read,
            "the cluster has no Service kube-dns that was read, or no pod to ask from",
            &self.shown,
        ))
    }
}

/// The question that a promise is, where packets can ask it.
fn question(promise: &Promise) -> Option<Question> {
    let Check::Flow { flow, .. } = &promise.check else { return None };
    let message = match (flow.protocol, flow.size) {
        (FlowProtocol::Icmp, Size::Small) => Message::Echo { size: None },
        (FlowProtocol::Icmp, Size::Bytes(size)) => Message::Echo { size: Some(size) },
        (FlowProtocol::Tcp(port), _) => Message::Tcp { port },
        (FlowProtocol::Udp(port), _) => Message::Udp { port },
        (FlowProtocol::Icmp, Size::Full) => return None,
    };
    Some(Question { from: flow.from.clone(), to: flow.to, message })
}

fn show(read: &Read, none: &str, shown: &Shown) -> ExitCode {
    complain(&read.to_string());
    let probes = ProbesDocument::new(&read.snapshot);
    shown.print(|| probes.clone(), |layout| text::probes(&probes, none, layout));
    if probes.is_answered() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
