//! The long forms of the trials, for people: `hopwise-trials faults`, `tracer`, `repairs`, `kills` and
//! `underlay`.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use hopwise_lab::fault::Cause;
use hopwise_trials::{Faults, Kills, Laboratory, Repairs, Underlay, kinds, tracer};

/// Tries Hopwise against packets in labs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program `hopwise`
    #[arg(long, default_value = "target/release/hopwise")]
    program: PathBuf,
    /// How many labs at a time, 4 at most
    #[arg(long, default_value_t = 2)]
    labs: usize,
    /// The base of the labs: vxlan, dual-stack, or both
    #[arg(long, default_value = "both")]
    base: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Change labs by hand at random; which diagnoses name what was changed?
    Faults {
        /// The first seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many changes that break promised packets
        #[arg(long, default_value_t = 200)]
        kept: usize,
        /// Only kinds whose name contains this
        #[arg(long)]
        kind: Option<String>,
        /// How many changes at once, each on another node
        #[arg(long, default_value_t = 1)]
        at_once: usize,
        /// Print every trial
        #[arg(short, long)]
        verbose: bool,
    },
    /// Hold the tracer against packets: healthy, under every cause of a lab, and under pairs of them
    Tracer {
        /// The seed of the pairs
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Break, repair and take back every cause of a lab
    Repairs,
    /// Kill the repair of every cause of a lab at every point of its way; needs a program with debug assertions
    Kills {
        /// Only causes whose name contains this
        #[arg(long)]
        cause: Option<String>,
        /// Only every so many points
        #[arg(long, default_value_t = 1)]
        step: usize,
    },
    /// Lose packets between nodes; do probes locate which, and where?
    Underlay {
        /// The seed of the nodes
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many of a hundred packets get lost by chance as well
        #[arg(long, default_value_t = 0)]
        loss: u32,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let laboratory = match Laboratory::new(&arguments.program) {
        Ok(laboratory) => laboratory,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let bases: Vec<&'static str> = ["vxlan", "dual-stack"]
        .into_iter()
        .filter(|it| arguments.base == "both" || arguments.base == *it)
        .collect();
    let say = |line: &str| println!("{line}");
    let is_good = match arguments.what {
        What::Faults { seed, kept, kind, at_once, verbose } => {
            let kinds =
                kinds().into_iter().filter(|it| kind.as_ref().is_none_or(|part| it.name.contains(part)));
            let kinds = kinds.collect();
            let faults = Faults { kinds, seed, n_kept: kept, bases, at_once, is_verbose: verbose };
            let score = faults.run(&laboratory, arguments.labs, &say);
            for line in score.lines() {
                println!("{line}");
            }
            score.is_good(98)
        }
        What::Tracer { seed } => {
            let scores: Vec<_> =
                bases.iter().map(|base| tracer(&laboratory, arguments.labs, base, seed, &say)).collect();
            for (base, score) in bases.iter().zip(&scores) {
                println!("{base}: {}", score.line());
            }
            scores.iter().all(|it| it.is_good(1.0))
        }
        What::Repairs => match (Repairs { bases }).run(&laboratory, &say) {
            Ok(trials) => {
                let n_whole = trials.iter().filter(|it| it.wrong.is_empty()).count();
                println!("{n_whole} of {} repaired and taken back, as they should be", trials.len());
                n_whole == trials.len() && n_whole > 0
            }
            Err(error) => {
                println!("{error}");
                false
            }
        },
        What::Kills { cause, step } => {
            let causes = Cause::ALL
                .into_iter()
                .filter(|it| cause.as_ref().is_none_or(|part| it.name().contains(part)))
                .collect();
            match (Kills { bases, causes, step }).run(&laboratory, &say) {
                Ok(score) => {
                    score.wrong.iter().for_each(|it| println!("{it}"));
                    println!("{}", score.line());
                    score.is_good()
                }
                Err(error) => {
                    println!("{error}");
                    false
                }
            }
        }
        What::Underlay { seed, loss } => match (Underlay { seed, bases, loss }).run(&laboratory, &say) {
            Ok(score) => {
                println!("{}", score.line());
                score.is_good(if loss > 0 { 90 } else { 95 })
            }
            Err(error) => {
                println!("{error}");
                false
            }
        },
    };
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
