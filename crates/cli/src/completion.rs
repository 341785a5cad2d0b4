//! `hopwise completion`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use crate::output::print;

/// Write a shell's completion of this command to standard output.
///
/// For bash: source <(hopwise completion bash)
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, mut command: clap::Command) -> ExitCode {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "hopwise", &mut script);
        print(String::from_utf8_lossy(&script).trim_end());
        ExitCode::SUCCESS
    }
}
