//! `hopwise drift`.

use std::{process::ExitCode, time::Instant};

use clap::Args;
use hopwise_diagnose::{diagnose, drift};
use hopwise_report::{Report, document::DriftDocument, text, text::Guide};

use crate::{
    diagnose::guide,
    failure::Failure,
    output::{Shown, complain},
    program::Program,
    progress::{Step, proved},
    source::Source,
};

/// Something is broken, now or after the next boot.
const BROKEN: u8 = 1;

/// Compare nodes with each other and their files with their kernels, and say what the next boot changes.
///
/// The answer ends with 1 where something is broken now, or would be after the next boot of every node; else with 0:
/// a difference is no fault by itself.
#[derive(Debug, Args)]
pub(crate) struct DriftCommand {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    shown: Shown,
}

impl DriftCommand {
    pub(crate) fn run(&self, program: Program) -> ExitCode {
        self.answer(program).unwrap_or_else(|it| it.report(self.shown.output))
    }

    fn answer(&self, program: Program) -> Result<ExitCode, Failure> {
        let read = self.source.read()?;
        let snapshot = &read.snapshot;
        let start = Instant::now();
        let step = Step::new("proving what is promised");
        let now = diagnose(snapshot);
        step.says("predicting the next boot");
        let found = drift::drift(snapshot);
        drop(step);
        complain(&format!("{read}; {}", proved(now.n_promised + found.after.n_promised, start.elapsed())));
        let report = Report::new(snapshot, &now);
        let Guide { program, mut next } = guide(&report, &self.source.words(), program);
        // What the other commands would say of the state as it is.
        next.truncate(1);
        self.shown.print(
            || DriftDocument::new(snapshot, &found, &now),
            |layout| text::drift(&found, &now, &Guide { program, next: next.clone() }, layout),
        );
        let is_broken = now.n_broken > 0 || found.after.n_broken > 0;
        Ok(if is_broken { ExitCode::from(BROKEN) } else { ExitCode::SUCCESS })
    }
}
