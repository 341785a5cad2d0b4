//! `hopwise version`.

use std::{fs, process::ExitCode};

use clap::Args;
use hopwise_report::{document::VersionDocument, text};

use crate::output::Shown;

/// Show which Hopwise this is, and what it runs on.
#[derive(Debug, Args)]
pub(crate) struct Version {
    #[command(flatten)]
    shown: Shown,
}

impl Version {
    pub(crate) fn run(&self) -> ExitCode {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        let document = VersionDocument::new(
            env!("CARGO_PKG_VERSION"),
            option_env!("HOPWISE_COMMIT").map(str::to_owned),
            option_env!("HOPWISE_RUSTC").map(str::to_owned),
            kernel.map(|it| it.trim().to_owned()),
        );
        self.shown.print(|| document.clone(), |_| text::version(&document));
        ExitCode::SUCCESS
    }
}
