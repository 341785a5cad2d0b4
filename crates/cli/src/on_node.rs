//! `hopwise on-node`: the agent, for a client at its standard input and output. Everything else it says goes to standard
//! error.

use std::{
    fs, io,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use hopwise_agent::{Deadlines, Host, serve};
use hopwise_sys::process;

use crate::{
    failure::{WRONG, complain},
    reach::said,
};

/// How long what was started may take to end when it is killed.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serve a node to a Hopwise elsewhere, over standard input and output
#[derive(Debug, Args)]
#[command(hide = true)]
pub(crate) struct OnNode {
    /// The process file system that shows the node's processes
    #[arg(long, value_name = "DIR", requires = "init")]
    proc: Option<PathBuf>,
    /// The process in it whose root and namespaces are the node's
    #[arg(long, value_name = "PID", requires = "proc")]
    init: Option<u32>,
    /// How long to wait for the next request
    #[arg(long, value_name = "SECONDS", default_value_t = Deadlines::default().idle.as_secs())]
    idle: u64,
    /// How long to serve in all
    #[arg(long, value_name = "SECONDS", default_value_t = Deadlines::default().life.as_secs())]
    life: u64,
    /// The directory that this program was put into: remove both
    #[arg(long, value_name = "DIR")]
    remove: Option<PathBuf>,
}

impl OnNode {
    /// Serves until the client ends, or a deadline.
    pub(crate) fn run(self) -> ExitCode {
        if let Some(directory) = &self.remove {
            // What is in use goes with its last use. Whoever put it there looks after what is left.
            drop(fs::remove_file(directory.join("hopwise")));
            drop(fs::remove_dir(directory));
        }
        // Both make it better, and neither is needed to begin.
        drop(process::raise_file_limit());
        drop(process::adopt_orphans());
        let host = match (self.proc, self.init) {
            (Some(proc), Some(init)) => Host { proc, init },
            _ => Host::this(),
        };
        let deadlines =
            Deadlines { idle: Duration::from_secs(self.idle), life: Duration::from_secs(self.life) };
        let served = serve(io::stdin(), io::stdout(), host, deadlines);
        // Nothing that was started here outlives this.
        if let Err(error) = process::end_descendants("/proc".as_ref(), Instant::now() + FAREWELL) {
            complain(&format!("what was started could not be ended: {error}"));
        }
        match served {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&said(&error));
                ExitCode::from(WRONG)
            }
        }
    }
}
