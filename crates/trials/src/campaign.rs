//! Many trials: several labs at a time, and what all of them come to.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    comparison::Comparison,
    fault::Kind,
    laboratory::Laboratory,
    tracer::{compare_under, conditions},
    trial::{Outcome, Trial, try_out},
};

/// How many disagreements of a trial are told.
const N_SHOWN: usize = 3;

/// Who is told what happens, line by line.
pub type Say<'s> = dyn Fn(&str) + Sync + 's;

/// Changes by hand at random.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The kinds that are tried in turn.
    pub kinds: Vec<Kind>,
    /// The first seed.
    pub seed: u64,
    /// How many changes that break promised packets are wanted.
    pub n_kept: usize,
    /// The bases of the labs, in turn.
    pub bases: Vec<&'static str>,
    /// How many changes at once, each on another node.
    pub at_once: usize,
    /// Is every trial told of, or only what went wrong?
    pub is_verbose: bool,
}

/// What changes by hand came to.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// How many changes were tried.
    pub n_tried: usize,
    /// How many could not be made here.
    pub n_impossible: usize,
    /// How many changed nothing that packets do.
    pub n_without_difference: usize,
    /// How many changed only what nobody promises.
    pub n_not_promised: usize,
    /// How many broke promised packets: those are what counts.
    pub n_kept: usize,
    /// In how many of them each changed element is named first.
    pub n_named: usize,
    /// In how many there are no more findings than changed elements.
    pub n_exact: usize,
    /// By kind: kept, and named first.
    pub kinds: BTreeMap<&'static str, (usize, usize)>,
    /// The others, with what was found instead.
    pub misses: Vec<String>,
    /// What could not be tried at all: a lab that did not come up.
    pub failures: Vec<String>,
    /// The tracer against packets, after each change.
    pub comparison: Comparison,
}

impl Faults {
    /// Tries until enough changes are kept, in so many labs at a time.
    pub fn run(&self, laboratory: &Laboratory, n_labs: usize, say: &Say<'_>) -> Score {
        let next = AtomicU64::new(self.seed);
        let score = Mutex::new(Score::default());
        // Kinds that break nothing here would go on for ever.
        let last = self.seed + u64::try_from(self.n_kept * 8).unwrap_or(u64::MAX);
        thread::scope(|scope| {
            for worker in 0..n_labs {
                let (next, score) = (&next, &score);
                scope.spawn(move || {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= last || locked(score).n_kept >= self.n_kept {
                            return;
                        }
                        let base = self.bases[usize::try_from(seed).unwrap_or(0) % self.bases.len()];
                        let kinds = self.chosen(seed);
                        let tried = try_out(laboratory, &format!("t{worker}"), base, &kinds, seed);
                        let mut score = locked(score);
                        match tried {
                            Ok(Some(trial)) => score.add(seed, base, &trial, self.is_verbose, say),
                            Ok(None) => {}
                            Err(error) => score.fail(format!("seed {seed} on {base}: {error}"), say),
                        }
                    }
                });
            }
        });
        score.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every kind in turn; with several at once, any other for the rest.
    fn chosen(&self, seed: u64) -> Vec<Kind> {
        let mut dice = fastrand::Rng::with_seed(seed);
        let n_bases = u64::try_from(self.bases.len()).unwrap_or(1);
        let n_kinds = u64::try_from(self.kinds.len()).unwrap_or(1);
        // Steps that meet every kind before any comes again, and not one neighbour after the other.
        let first = usize::try_from((seed / n_bases * 29) % n_kinds).unwrap_or(0);
        let mut chosen = vec![self.kinds[first]];
        chosen.extend((1..self.at_once).map(|_| self.kinds[dice.usize(..self.kinds.len())]));
        chosen
    }
}

impl Score {
    fn add(&mut self, seed: u64, base: &str, trial: &Trial, is_verbose: bool, say: &Say<'_>) {
        self.n_tried += 1;
        let faults: Vec<String> = trial.faults.iter().map(|it| format!("[{}] {it}", it.kind)).collect();
        let head = format!("seed {seed} on {base}: {}", faults.join(" + "));
        let n_disagreements = trial.comparison.disagreements.len();
        for it in trial.comparison.disagreements.iter().take(N_SHOWN) {
            say(&format!("DISAGREES {n_disagreements} times {head}: {it}"));
        }
        if let [first, ..] = &*trial.comparison.unknown {
            say(&format!("unknown {} times {head}: {first}", trial.comparison.unknown.len()));
        }
        self.comparison.add(trial.comparison.clone());
        match &trial.outcome {
            Outcome::Impossible(why) => {
                self.n_impossible += 1;
                say(&format!("impossible {head}: {why}"));
            }
            Outcome::NoDifference => {
                self.n_without_difference += 1;
                if is_verbose {
                    say(&format!("no difference {head}"));
                }
            }
            Outcome::NothingPromised { accused } => {
                self.n_not_promised += 1;
                if is_verbose || !accused.is_empty() {
                    say(&format!("nothing promised {head}: {}", accused.join("; ")));
                }
            }
            Outcome::Broken(judgement) => {
                self.n_kept += 1;
                let kind = self.kinds.entry(trial.faults[0].kind).or_default();
                kind.0 += 1;
                let line = format!("{head}: {}", judgement.findings.join("; "));
                self.n_exact += usize::from(judgement.is_exact);
                if !judgement.is_named_first {
                    say(&format!("MISSED {line}"));
                    self.misses.push(line);
                    return;
                }
                self.n_named += 1;
                kind.1 += 1;
                if !judgement.is_exact {
                    say(&format!("more findings than changes {line}"));
                } else if is_verbose {
                    say(&format!("named {line}"));
                }
            }
        }
    }

    fn fail(&mut self, line: String, say: &Say<'_>) {
        say(&line);
        self.failures.push(line);
    }

    /// Is at least this share, in percent, named first, and the tracer never wrong?
    pub fn is_good(&self, percent: usize) -> bool {
        self.n_named * 100 >= self.n_kept * percent
            && self.comparison.disagreements.is_empty()
            && self.failures.is_empty()
    }

    /// All of it in a few lines.
    pub fn lines(&self) -> Vec<String> {
        let kinds =
            self.kinds.iter().map(|(kind, (n_kept, n_named))| format!("{n_named:4} of {n_kept:4}  {kind}"));
        let mut lines: Vec<String> = kinds.collect();
        lines.push(format!(
            "{} changes tried: {} impossible here, {} without a difference, {} that break nothing promised, {} kept",
            self.n_tried, self.n_impossible, self.n_without_difference, self.n_not_promised, self.n_kept
        ));
        lines.push(format!(
            "the changed element is named first in {} of {}; no more findings than changed elements in {}",
            self.n_named, self.n_kept, self.n_exact
        ));
        lines.push(format!("tracer and packets: {}", self.comparison));
        lines
    }
}

/// What the tracer came to under the causes that labs can inject.
#[derive(Clone, Debug, Default)]
pub struct TracerScore {
    /// How many conditions were tried.
    pub n_conditions: usize,
    /// Pairs of causes of which the second found nothing left to break.
    pub n_impossible: usize,
    /// What could not be tried at all.
    pub failures: Vec<String>,
    /// Promised flows that no packet was sent for.
    pub not_measured: Vec<String>,
    /// All comparisons.
    pub comparison: Comparison,
}

/// Holds the tracer against packets under every condition, in so many labs at a time.
pub fn tracer(laboratory: &Laboratory, n_labs: usize, base: &str, seed: u64, say: &Say<'_>) -> TracerScore {
    let all = conditions(seed);
    let next = AtomicUsize::new(0);
    let score = Mutex::new(TracerScore { n_conditions: all.len(), ..TracerScore::default() });
    thread::scope(|scope| {
        for worker in 0..n_labs {
            let (all, next, score) = (&all, &next, &score);
            scope.spawn(move || {
                while let Some(condition) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let compared = compare_under(laboratory, &format!("t{worker}"), base, condition);
                    let mut score = locked(score);
                    let head = format!("{base} {}", condition.join(" + "));
                    match compared {
                        Ok(Some((comparison, not_measured))) => {
                            say(&format!("{head}: {comparison}"));
                            for it in comparison.disagreements.iter().take(N_SHOWN) {
                                say(&format!("  DISAGREES {it}"));
                            }
                            score.comparison.add(comparison);
                            score.not_measured.extend(not_measured);
                        }
                        Ok(None) => {
                            say(&format!("{head}: not both at once"));
                            score.n_impossible += 1;
                        }
                        Err(error) => {
                            say(&format!("{head}: {error}"));
                            score.failures.push(format!("{head}: {error}"));
                        }
                    }
                }
            });
        }
    });
    score.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl TracerScore {
    /// Is the tracer never wrong, and at most this share, in percent, unknown to it?
    pub fn is_good(&self, percent: f64) -> bool {
        self.comparison.disagreements.is_empty()
            && self.comparison.unknown_percent() <= percent
            && self.failures.is_empty()
            && self.not_measured.is_empty()
    }

    /// All of it in a line.
    pub fn line(&self) -> String {
        format!(
            "{} conditions, {} pairs impossible, {} failed, {} promised flows without packets; {}",
            self.n_conditions,
            self.n_impossible,
            self.failures.len(),
            self.not_measured.len(),
            self.comparison
        )
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
