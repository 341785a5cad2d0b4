//! The long forms of the trials, for people: `hopwise-trials faults`, `hopwise-trials tracer`.

#![expect(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use clap::{Args, Parser, Subcommand};
use hopwise_trials::{
    Comparison, Kind, Laboratory, Outcome, Trial, compare_under, conditions, kinds, try_out,
};

/// Tries Hopwise against packets in labs.
#[derive(Debug, Parser)]
struct Arguments {
    /// The program `hopwise`
    #[arg(long, default_value = "target/release/hopwise")]
    program: PathBuf,
    /// How many labs at a time, 4 at most
    #[arg(long, default_value_t = 2)]
    labs: usize,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Change labs by hand at random; which diagnoses name what was changed?
    Faults(Faults),
    /// Hold the tracer against packets: healthy, under every cause of a lab, and under pairs of them
    Tracer {
        /// The base of the labs: vxlan, dual-stack, or both
        #[arg(long, default_value = "both")]
        base: String,
        /// The seed of the pairs
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Debug, Args)]
struct Faults {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many changes that break promised packets
    #[arg(long, default_value_t = 200)]
    kept: usize,
    /// The base of the labs: vxlan, dual-stack, or both in turn
    #[arg(long, default_value = "both")]
    base: String,
    /// Only kinds whose name contains this
    #[arg(long)]
    kind: Option<String>,
    /// How many changes at once, each on another node
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Print every trial
    #[arg(short, long)]
    verbose: bool,
}

/// How many disagreements of a trial are printed.
const N_SHOWN: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let laboratory = match Laboratory::new(&arguments.program) {
        Ok(laboratory) => laboratory,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match &arguments.what {
        What::Faults(faults) => faults.run(&laboratory, arguments.labs),
        What::Tracer { base, seed } => tracer(&laboratory, arguments.labs, base, *seed),
    }
}

/// The bases that a word stands for.
fn bases(word: &str) -> Vec<&str> {
    if word == "both" { vec!["vxlan", "dual-stack"] } else { vec![word] }
}

fn tracer(laboratory: &Laboratory, n_labs: usize, base: &str, seed: u64) -> ExitCode {
    let of_base = |base| conditions(seed).into_iter().map(move |it| (base, it));
    let all: Vec<(&str, Vec<String>)> = bases(base).into_iter().flat_map(of_base).collect();
    let next = AtomicUsize::new(0);
    let total = Mutex::new((Comparison::default(), 0, 0));
    thread::scope(|scope| {
        for worker in 0..n_labs {
            let (all, next, total) = (&all, &next, &total);
            scope.spawn(move || {
                while let Some((base, condition)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let compared = compare_under(laboratory, &format!("t{worker}"), base, condition);
                    let mut total = total.lock().expect("no thread panics");
                    let head = format!("{base} {}", condition.join(" + "));
                    match compared {
                        Ok(Some((comparison, left_out))) => {
                            println!("{}", summary(&head, &comparison, left_out.len()));
                            for it in comparison.disagreements.iter().take(N_SHOWN) {
                                println!("  {it}");
                            }
                            total.0.add(comparison);
                        }
                        Ok(None) => {
                            println!("{head}: not both at once");
                            total.1 += 1;
                        }
                        Err(error) => {
                            println!("{head}: {error}");
                            total.2 += 1;
                        }
                    }
                }
            });
        }
    });
    let (comparison, n_impossible, n_failed) = total.into_inner().expect("no thread panics");
    println!(
        "{} conditions: {} impossible, {} failed; {}",
        all.len(),
        n_impossible,
        n_failed,
        summary("all", &comparison, 0)
    );
    if comparison.disagreements.is_empty() && n_failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn summary(head: &str, comparison: &Comparison, n_left_out: usize) -> String {
    format!(
        "{head}: {} compared, {} disagreements, {} unknown ({:.2} %), {n_left_out} promises without packets",
        comparison.n_compared,
        comparison.disagreements.len(),
        comparison.unknown.len(),
        comparison.unknown_percent()
    )
}

impl Faults {
    fn run(&self, laboratory: &Laboratory, n_labs: usize) -> ExitCode {
        let all: Vec<Kind> = kinds()
            .into_iter()
            .filter(|it| self.kind.as_ref().is_none_or(|part| it.name.contains(part)))
            .collect();
        let next = AtomicU64::new(self.seed);
        let score = Mutex::new(Score::default());
        // Kinds that break nothing here would go on for ever.
        let last = self.seed + u64::try_from(self.kept * 8).unwrap_or(u64::MAX);
        thread::scope(|scope| {
            for worker in 0..n_labs {
                let (all, next, score) = (&all, &next, &score);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= last || score.lock().expect("no thread panics").n_kept >= self.kept {
                            return;
                        }
                        let bases = bases(&self.base);
                        let base = bases[usize::try_from(seed).unwrap_or(0) % bases.len()];
                        let chosen = chosen(all, seed, self.at_once);
                        let tried = try_out(laboratory, &format!("t{worker}"), base, &chosen, seed);
                        let mut score = score.lock().expect("no thread panics");
                        match tried {
                            Ok(Some(trial)) => score.add(seed, base, &trial, self.verbose),
                            Ok(None) => {}
                            Err(error) => println!("seed {seed} on {base}: {error}"),
                        }
                    }
                });
            }
        });
        let score = score.into_inner().expect("no thread panics");
        score.print();
        let is_good = score.comparison.disagreements.is_empty() && score.n_named * 100 >= score.n_kept * 98;
        if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Every kind in turn; with several at once, any other for the rest.
fn chosen(all: &[Kind], seed: u64, at_once: usize) -> Vec<Kind> {
    let mut dice = fastrand::Rng::with_seed(seed);
    let n_kinds = u64::try_from(all.len()).unwrap_or(1);
    let first = usize::try_from((seed / 2) % n_kinds).unwrap_or(0);
    let mut chosen = vec![all[first]];
    chosen.extend((1..at_once).map(|_| all[dice.usize(..all.len())]));
    chosen
}

#[derive(Default)]
struct Score {
    n_tried: usize,
    n_impossible: usize,
    n_without_difference: usize,
    n_not_promised: usize,
    n_kept: usize,
    n_named: usize,
    n_exact: usize,
    kinds: BTreeMap<&'static str, (usize, usize)>,
    misses: Vec<String>,
    comparison: Comparison,
}

impl Score {
    fn add(&mut self, seed: u64, base: &str, trial: &Trial, is_verbose: bool) {
        self.n_tried += 1;
        let faults: Vec<String> = trial.faults.iter().map(|it| format!("[{}] {it}", it.kind)).collect();
        let head = format!("seed {seed} on {base}: {}", faults.join(" + "));
        let n_disagreements = trial.comparison.disagreements.len();
        for it in trial.comparison.disagreements.iter().take(N_SHOWN) {
            println!("DISAGREES {n_disagreements} times {head}: {it}");
        }
        if let [first, ..] = &*trial.comparison.unknown {
            println!("unknown {} times {head}: {first}", trial.comparison.unknown.len());
        }
        self.comparison.add(trial.comparison.clone());
        match &trial.outcome {
            Outcome::Impossible(why) => {
                self.n_impossible += 1;
                println!("impossible {head}: {why}");
            }
            Outcome::NoDifference => {
                self.n_without_difference += 1;
                if is_verbose {
                    println!("no difference {head}");
                }
            }
            Outcome::NothingPromised { accused } => {
                self.n_not_promised += 1;
                if is_verbose || !accused.is_empty() {
                    println!("nothing promised {head}: {}", accused.join("; "));
                }
            }
            Outcome::Broken(judgement) => {
                self.n_kept += 1;
                let kind = self.kinds.entry(trial.faults[0].kind).or_default();
                kind.0 += 1;
                let line = format!("{head}: {}", judgement.findings.join("; "));
                if judgement.is_named_first {
                    self.n_named += 1;
                    kind.1 += 1;
                    if is_verbose {
                        println!("named {line}");
                    }
                } else {
                    println!("MISSED {line}");
                    self.misses.push(line.clone());
                }
                if judgement.is_exact {
                    self.n_exact += 1;
                } else if judgement.is_named_first {
                    println!("more than one finding {line}");
                }
            }
        }
    }

    fn print(&self) {
        for (kind, (n_kept, n_named)) in &self.kinds {
            println!("{n_named:4} of {n_kept:4}  {kind}");
        }
        println!(
            "{} changes tried: {} impossible here, {} without a difference, {} that break nothing promised, {} kept",
            self.n_tried, self.n_impossible, self.n_without_difference, self.n_not_promised, self.n_kept
        );
        println!(
            "the changed element is named first in {} of {}; no more findings than changes in {}",
            self.n_named, self.n_kept, self.n_exact
        );
        println!(
            "tracer and packets: {} compared, {} disagreements, {} unknown ({:.2} %)",
            self.comparison.n_compared,
            self.comparison.disagreements.len(),
            self.comparison.unknown.len(),
            self.comparison.unknown_percent()
        );
    }
}
