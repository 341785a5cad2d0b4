//! `hopwise stay`.

use std::{process::ExitCode, thread, time::Duration};

use clap::Args;

/// Stay for some seconds, and do nothing: what a pod on a node runs while it is not spoken to.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct Stay {
    /// How many seconds
    seconds: u32,
}

impl Stay {
    pub(crate) fn run(&self) -> ExitCode {
        thread::sleep(Duration::from_secs(u64::from(self.seconds)));
        ExitCode::SUCCESS
    }
}
