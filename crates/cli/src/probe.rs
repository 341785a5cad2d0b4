//! `hopwise probe`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use hopwise_report::{document::MeshDocument, text};

use crate::{
    failure::Failure,
    output::{Shown, complain},
    source::Source,
};

/// Send packets, and see what comes of them
#[derive(Debug, Subcommand)]
pub(crate) enum Probe {
    Mesh(Mesh),
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

pub(crate) fn run(probe: &Probe) -> ExitCode {
    match probe {
        Probe::Mesh(it) => it.answer().unwrap_or_else(|failure| failure.report(it.shown.output)),
    }
}

impl Mesh {
    fn answer(&self) -> Result<ExitCode, Failure> {
        let read = self.source.read_and_ask()?;
        complain(&read.to_string());
        let mesh = MeshDocument::new(&read.snapshot);
        self.shown.print(|| mesh.clone(), |layout| text::mesh(&mesh, layout));
        Ok(if mesh.is_answered() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
