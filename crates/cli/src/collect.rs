//! `hopwise collect`.

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use hopwise_snapshot::hop;

use crate::{
    failure::Failure,
    output::{Format, complain},
    program::Program,
    source::{Probing, Source},
};

/// Write a snapshot to a file, for other machines and for later.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    probing: Probing,
    /// The file to write; `-` is standard output
    #[arg(short = 'o', long = "output-file", value_name = "FILE")]
    file: PathBuf,
}

impl Collect {
    pub(crate) fn run(&self, program: Program) -> ExitCode {
        self.write(program).unwrap_or_else(|it| it.report(Format::Text))
    }

    fn write(&self, program: Program) -> Result<ExitCode, Failure> {
        let read = self.source.read_and_probe(self.probing)?;
        let bytes = hop::write(&read.snapshot);
        let path = self.file.display().to_string();
        let failed = |source| Failure::Write { path: path.clone(), source };
        if self.file.as_os_str() == "-" {
            std::io::stdout().write_all(&bytes).map_err(failed)?;
            complain(&read.to_string());
        } else {
            fs::write(&self.file, &bytes).map_err(failed)?;
            complain(&format!("{read}; wrote {} bytes to {path}", bytes.len()));
            let words = program.words();
            complain(&format!("next: {words} diagnose --snapshot {}", crate::source::quoted(&self.file)));
        }
        Ok(ExitCode::SUCCESS)
    }
}
