//! `hopwise lab exec`.

use std::process::ExitCode;

use clap::Args;
use hopwise_lab::{Lab, LabError, LabName};

use crate::failure::{Output, report};

/// Run a command in a member of a lab.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// The lab.
    name: LabName,
    /// The member: a node (`w1`), a pod (`pod/default/echo-w1`), `fab` or `outside`.
    member: String,
    /// The command with its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Exec {
    /// Ends as the command does.
    pub(crate) fn run(&self) -> ExitCode {
        let done = Lab::open(&self.name).and_then(|lab| lab.exec(lab.member(&self.member)?, &self.command));
        match done {
            Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
            Err(error) => {
                let code = match &error {
                    // As shells say it.
                    LabError::NoSuchProgram { .. } => ExitCode::from(127),
                    _ => ExitCode::from(crate::failure::WRONG),
                };
                report(&error, Output::Text);
                code
            }
        }
    }
}
