//! `hopwise diff`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use hopwise_report::{Differences, differences, differences_of_nodes, document::DiffDocument, text};
use hopwise_snapshot::{NodeName, Snapshot};

use crate::{
    failure::Failure,
    output::Shown,
    source::{Source, read_file},
};

/// Show what changed between two snapshots, or between two nodes of one.
///
/// A and B are snapshot files; with --lab or --snapshot they are nodes of that one. Differences end with 0: they are
/// no fault by themselves.
#[derive(Debug, Args)]
pub(crate) struct DiffCommand {
    /// What was before: a .hop file, or a node
    #[arg(value_name = "A")]
    before: String,
    /// What was after: a .hop file, or a node
    #[arg(value_name = "B")]
    after: String,
    /// Show also what changes by itself, like counters
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shown: Shown,
}

impl DiffCommand {
    pub(crate) fn run(&self) -> ExitCode {
        self.answer().unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self) -> Result<ExitCode, Failure> {
        if self.source.is_named() {
            let read = self.source.read()?;
            let (before, after) = (node(&read.snapshot, &self.before)?, node(&read.snapshot, &self.after)?);
            self.show(&differences_of_nodes(&read.snapshot, (&before, &after), self.all));
        } else {
            let before = read_file(&PathBuf::from(&self.before))?;
            let after = read_file(&PathBuf::from(&self.after))?;
            self.show(&differences(&before, &after, self.all));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn show(&self, differences: &Differences<'_>) {
        self.shown.print(|| DiffDocument::new(differences), |layout| text::diff(differences, layout));
    }
}

fn node(snapshot: &Snapshot, written: &str) -> Result<NodeName, Failure> {
    let name = NodeName::from(written.strip_prefix("node/").unwrap_or(written));
    if snapshot.nodes.contains_key(&name) {
        return Ok(name);
    }
    let nodes: Vec<&str> = snapshot.nodes.keys().map(NodeName::as_str).collect();
    Err(Failure::NoSuchNode {
        name: written.to_owned(),
        source_name: snapshot.source.clone(),
        nodes: nodes.join(", "),
    })
}
