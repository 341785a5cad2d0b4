//! `hopwise`: finds out why a Kubernetes cluster's network is broken, proves it, and repairs it.

mod collect;
mod diagnose;
mod failure;
mod lab;
mod matrix;
mod source;

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
    /// Write a snapshot to a file, for other machines and for later.
    Collect(collect::Collect),
    /// Find out what is broken, and prove it.
    Diagnose(diagnose::Diagnose),
    /// Who can reach whom, by the model.
    Matrix(matrix::Matrix),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Lab(command) => lab::run(command),
        Command::Collect(command) => command.run(),
        Command::Diagnose(command) => command.run(),
        Command::Matrix(command) => command.run(),
    }
}
