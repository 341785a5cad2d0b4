//! `hopwise collect`.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use clap::Args;
use hopwise_snapshot::hop;

use crate::{
    failure::{Output, complain, report},
    source::{Source, SourceFailure, size},
};

/// Write a snapshot to a file, for other machines and for later.
#[derive(Debug, Args)]
pub(crate) struct Collect {
    #[command(flatten)]
    source: Source,
    /// The file to write
    #[arg(short = 'o', long = "output-file", value_name = "FILE")]
    file: PathBuf,
}

impl Collect {
    pub(crate) fn run(&self) -> ExitCode {
        match self.write() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => report(&error, Output::Text),
        }
    }

    fn write(&self) -> Result<(), SourceFailure> {
        let start = Instant::now();
        let snapshot = self.source.read(&|_| {})?;
        let bytes = hop::write(&snapshot);
        fs::write(&self.file, &bytes)
            .map_err(|source| SourceFailure::File { path: self.file.display().to_string(), source })?;
        let (n_nodes, n_pods, n_services) = size(&snapshot);
        complain(&format!(
            "read {n_nodes} nodes, {n_pods} pods, {n_services} services in {:.1} s; wrote {} bytes to {}",
            start.elapsed().as_secs_f64(),
            bytes.len(),
            self.file.display(),
        ));
        Ok(())
    }
}
