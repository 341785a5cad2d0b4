//! `hopwise`: finds out why a Kubernetes cluster's network is broken, proves it, and says how to repair it.

mod causes;
mod cluster;
mod collect;
mod completion;
mod demo;
mod diagnose;
mod diff;
mod drift;
mod failure;
mod focus;
mod image;
mod lab;
mod matrix;
mod on_node;
mod output;
mod probe;
mod program;
mod progress;
mod reach;
mod repair;
mod source;
mod stay;
mod trace;
mod verdict;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{
    failure::usage,
    program::{Program, program},
};

/// Finds out why a Kubernetes cluster's network is broken, proves it, and says how to repair it.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, infer_long_args = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Diagnose(diagnose::Diagnose),
    Trace(trace::TraceCommand),
    Matrix(matrix::MatrixCommand),
    #[command(subcommand)]
    Probe(probe::Probe),
    Repair(repair::RepairCommand),
    Undo(repair::UndoCommand),
    Collect(collect::Collect),
    Diff(diff::DiffCommand),
    Drift(drift::DriftCommand),
    Explain(causes::Explain),
    Causes(causes::Causes),
    /// Make clusters in network namespaces, to try things on
    #[command(subcommand)]
    Lab(lab::LabCommand),
    OnNode(on_node::OnNode),
    Image(image::ImageCommand),
    Stay(stay::Stay),
    Version(version::Version),
    Completion(completion::Completion),
}

fn main() -> ExitCode {
    let program = program();
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let command = command(program);
    if program == Program::KubectlCompletion {
        return completion::complete(command, &words[1..]);
    }
    let parsed = command.try_get_matches_from(&words).and_then(|it| Arguments::from_arg_matches(&it));
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error, &words),
    };
    match arguments.command {
        Command::Demo(it) => it.run(program),
        Command::Diagnose(it) => it.run(program),
        Command::Trace(it) => it.run(program),
        Command::Matrix(it) => it.run(program),
        Command::Probe(it) => probe::run(&it),
        Command::Repair(it) => it.run(program),
        Command::Undo(it) => it.run(program),
        Command::Collect(it) => it.run(program),
        Command::Diff(it) => it.run(),
        Command::Drift(it) => it.run(program),
        Command::Explain(it) => it.run(program),
        Command::Causes(it) => it.run(),
        Command::Lab(it) => lab::run(it),
        Command::OnNode(it) => it.run(),
        Command::Image(it) => it.run(),
        Command::Stay(it) => it.run(),
        Command::Version(it) => it.run(),
        Command::Completion(it) => it.run(self::command(Program::Hopwise)),
    }
}

/// The command line, as it is called.
fn command(program: Program) -> clap::Command {
    Arguments::command().name("hopwise").bin_name(program.words())
}
