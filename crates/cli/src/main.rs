//! `hopwise`: finds out why a Kubernetes cluster's network is broken, proves it, and repairs it.

mod failure;
mod lab;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Finds out why a Kubernetes cluster's network is broken, proves it, and repairs it.
#[derive(Debug, Parser)]
#[command(name = "hopwise", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Clusters in network namespaces, to try things on.
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Lab(command) => lab::run(command),
    }
}
