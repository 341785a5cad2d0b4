//! `hopwise explain` and `hopwise causes`.

use std::process::ExitCode;

use clap::Args;
use hopwise_report::{document::CausesDocument, text};

use crate::{diagnose::cause, output::Shown, program::Program};

/// Show the manual page of a cause.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Its code or its name: HW1001, node-ip-forward-off
    #[arg(value_name = "CAUSE")]
    cause: String,
    #[command(flatten)]
    shown: Shown,
}

impl Explain {
    pub(crate) fn run(&self, _program: Program) -> ExitCode {
        match cause(&self.cause) {
            Ok(cause) => {
                self.shown.print(|| CausesDocument::one(cause), |layout| text::cause(cause, layout));
                ExitCode::SUCCESS
            }
            Err(failure) => failure.report(self.shown.output),
        }
    }
}

/// Show the table of all causes.
#[derive(Debug, Args)]
pub(crate) struct Causes {
    #[command(flatten)]
    shown: Shown,
}

impl Causes {
    pub(crate) fn run(&self) -> ExitCode {
        self.shown.print(CausesDocument::all, text::causes);
        ExitCode::SUCCESS
    }
}
