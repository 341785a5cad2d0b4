//! The code that a command ends with.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hopwise_diagnose::Verdict;

/// Something is broken.
const BROKEN: u8 = 1;
/// Nothing was found, yet for some promised flow the answer is not known.
const INCOMPLETE: u8 = 3;

/// The options that say which results are failures. They are the same on every command that judges.
#[derive(Clone, Debug, Args)]
pub(crate) struct Ending {
    /// End with 0 whatever is found; wrong input is still 2
    #[arg(long)]
    exit_zero: bool,
    /// Which findings end with 1
    #[arg(long, value_enum, value_name = "KIND", default_value_t = FailOn::Any)]
    fail_on: FailOn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Proven ones alone.
    Proven,
    /// All that break something.
    Any,
}

impl Ending {
    /// The code for a verdict; `is_proven` tells whether something that breaks is proven.
    pub(crate) fn code(&self, verdict: Verdict, is_proven: bool) -> ExitCode {
        if self.exit_zero {
            return ExitCode::SUCCESS;
        }
        match verdict {
            Verdict::Healthy => ExitCode::SUCCESS,
            Verdict::Broken if self.fail_on == FailOn::Proven && !is_proven => ExitCode::SUCCESS,
            Verdict::Broken => ExitCode::from(BROKEN),
            Verdict::Incomplete => ExitCode::from(INCOMPLETE),
        }
    }
}
