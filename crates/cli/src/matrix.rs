//! `hopwise matrix`.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use hopwise_dataplane::{Check, Network, contract, verify};
use hopwise_diagnose::Verdict;
use hopwise_report::{Matrix, document::MatrixDocument, text};

use crate::{
    failure::Failure,
    output::{Shown, complain},
    program::Program,
    progress::{Step, proved},
    source::Source,
    verdict::Ending,
};

/// Show who can reach whom by the model.
#[derive(Debug, Args)]
pub(crate) struct MatrixCommand {
    #[command(flatten)]
    source: Source,
    /// Which packets to send; `none` only reads
    #[arg(long, value_name = "MODE", default_value = "none", value_parser = unprobed)]
    probe: Unprobed,
    #[command(flatten)]
    ending: Ending,
    #[command(flatten)]
    shown: Shown,
}

/// No packets are sent.
#[derive(Clone, Copy, Debug)]
struct Unprobed;

fn unprobed(word: &str) -> Result<Unprobed, String> {
    match word {
        "none" => Ok(Unprobed),
        _ => Err(format!("a matrix is made of the model alone: expected `none`, found `{word}`")),
    }
}

impl MatrixCommand {
    pub(crate) fn run(&self, _program: Program) -> ExitCode {
        self.answer().unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self) -> Result<ExitCode, Failure> {
        let read = self.source.read()?;
        let start = Instant::now();
        let step = Step::new("proving what is promised");
        let mut contract = contract(&read.snapshot);
        // Who reaches whom: what a node owes besides is nobody's pair.
        contract.promises.retain(|it| !matches!(it.check, Check::Duty(_)));
        self.source.focus.narrow(&read.snapshot.cluster, &mut contract);
        let verification = verify(&Network::new(&read.snapshot), &read.snapshot, &contract);
        drop(step);
        complain(&format!("{read}; {}", proved(contract.promises.len(), start.elapsed())));
        let matrix = Matrix { snapshot: &read.snapshot, contract: &contract, verification: &verification };
        self.shown.print(|| MatrixDocument::new(&matrix), |layout| text::matrix(&matrix, layout));
        let verdict = if verification.broken().next().is_some() {
            Verdict::Broken
        } else if verification.unknown().next().is_some() {
            Verdict::Incomplete
        } else {
            Verdict::Healthy
        };
        Ok(self.ending.code(verdict, verdict == Verdict::Broken))
    }
}
