//! Faults that no node's state shows: the bridge between a lab's nodes drops packets, and a diagnosis must say which, where.

use std::{collections::BTreeSet, fmt::Write};

use hopwise_diagnose::{Kind, diagnose};
use hopwise_snapshot::{Observation, Snapshot};
use hopwise_testkit::Fault;

use crate::laboratory::{Laboratory, LaboratoryError, settled};

/// Where packets get lost, by nodes A and B of three.
const SCOPES: [&str; 6] = ["A>B", "A-B", "A", "A>", ">A", "all"];
/// Which packets get lost.
const MECHANISMS: [&str; 4] = ["udp 8472", "udp", "all", "mtu 1400"];
const NODES: [&str; 3] = ["cp", "w1", "w2"];

/// Faults of every scope and mechanism, on every base.
#[derive(Clone, Debug)]
pub struct Underlay {
    /// What chooses the nodes.
    pub seed: u64,
    /// The bases.
    pub bases: Vec<&'static str>,
    /// How many of a hundred packets get lost by chance as well.
    pub loss: u32,
}

/// What came of the trials.
#[derive(Clone, Debug, Default)]
pub struct UnderlayScore {
    /// How many faults were tried.
    pub n_tried: usize,
    /// How many were located to their scope and mechanism, with nothing else accused.
    pub n_located: usize,
    /// How many probes each took.
    pub n_probes: Vec<usize>,
    /// What was found instead, one line each.
    pub misses: Vec<String>,
}

impl UnderlayScore {
    /// The median number of probes.
    pub fn median_probes(&self) -> usize {
        let mut all = self.n_probes.clone();
        all.sort_unstable();
        all.get(all.len() / 2).copied().unwrap_or(0)
    }

    /// Were so many of a hundred located?
    pub fn is_good(&self, percent: usize) -> bool {
        self.n_tried > 0 && self.n_located * 100 >= self.n_tried * percent
    }

    /// The score in one line.
    pub fn line(&self) -> String {
        format!(
            "{} of {} underlay faults located to their scope and mechanism, nothing else accused; {} probes in the \
             median, {} at most",
            self.n_located,
            self.n_tried,
            self.median_probes(),
            self.n_probes.iter().max().unwrap_or(&0)
        )
    }
}

impl Underlay {
    /// Tries every fault.
    pub fn run(&self, laboratory: &Laboratory, say: &dyn Fn(&str)) -> Result<UnderlayScore, LaboratoryError> {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let mut score = UnderlayScore::default();
        for base in &self.bases {
            let lab = "underlay";
            laboratory.up(lab, base)?;
            let healthy = settled(laboratory, lab)?;
            for scope in SCOPES {
                for mechanism in MECHANISMS {
                    let mut nodes = NODES;
                    dice.shuffle(&mut nodes);
                    let [mut a, mut b, _] = nodes;
                    if scope == "A-B" && a > b {
                        std::mem::swap(&mut a, &mut b);
                    }
                    let fault = format!("{} {mechanism}", scope.replace('A', a).replace('B', b));
                    self.try_one(laboratory, lab, &healthy, &fault, &mut score)?;
                    if let Some(miss) = score.misses.last().filter(|it| it.starts_with(&fault)) {
                        say(&format!("{base}: {miss}"));
                    }
                }
            }
            laboratory.down(lab)?;
        }
        Ok(score)
    }

    fn try_one(
        &self,
        laboratory: &Laboratory,
        lab: &str,
        healthy: &Snapshot,
        text: &str,
        score: &mut UnderlayScore,
    ) -> Result<(), LaboratoryError> {
        let not_a_fault =
            |problem| LaboratoryError::Document { words: format!("underlay fault {text}"), problem };
        let fault = Fault::parse(healthy, text).map_err(not_a_fault)?;
        laboratory.exec(lab, "fab", &format!("nft -f - <<'END'\n{}END", rules(&fault, self.loss)))?;
        let snapshot = laboratory.probed(lab);
        laboratory.exec(lab, "fab", "nft delete table bridge lost")?;
        // What nodes could not learn of each other meanwhile they are to learn again.
        for node in NODES {
            laboratory.exec(lab, node, "ip neigh flush dev eth0 || true")?;
        }
        let snapshot = snapshot?;
        let found = located(&snapshot);
        score.n_tried += 1;
        score.n_probes.push(n_probes(&snapshot));
        if found == [element(text)] {
            score.n_located += 1;
        } else {
            let seen: Vec<String> = snapshot.observations.iter().map(seen).collect();
            score.misses.push(format!("{text}: found {found:?}\n  {}", seen.join("\n  ")));
        }
        Ok(())
    }
}

/// The rules of the bridge between the nodes, the first of which loses so many of a hundred packets by chance.
fn rules(fault: &Fault, loss: u32) -> String {
    let mut rules = fault.rules();
    if loss > 0 {
        let _ = writeln!(rules, "insert rule bridge lost forward numgen random mod 100 < {loss} drop");
    }
    rules
}

/// The element that a fault's words mean.
fn element(text: &str) -> String {
    let (scope, what) = text.split_once(' ').unwrap_or((text, ""));
    let what = if what.starts_with("mtu") { "mtu".to_owned() } else { what.replace(' ', "/") };
    format!("underlay/{scope}/{what}")
}

/// What a diagnosis says to be wrong now, with how sure it is where it has not located it.
fn located(snapshot: &Snapshot) -> Vec<String> {
    let findings = diagnose(snapshot).findings.into_iter().filter(|it| it.kind != Kind::Latent);
    let told = findings.map(|it| match it.kind {
        Kind::Located => it.elements[0].to_string(),
        kind => format!("{} {} {}", it.cause.code, kind.word(), it.elements[0]),
    });
    told.collect()
}

/// How many probes were sent: questions, and directions between two nodes.
fn n_probes(snapshot: &Snapshot) -> usize {
    let mut ways = BTreeSet::new();
    let mut n_questions = 0;
    for observation in &snapshot.observations {
        match observation {
            Observation::Asked { .. } => n_questions += 1,
            Observation::Crossed { crossing, .. } => drop(ways.insert((&crossing.from, &crossing.to))),
        }
    }
    n_questions + ways.len()
}

fn seen(observation: &Observation) -> String {
    match observation {
        Observation::Asked { question, answers } => {
            format!("{} → {}: {} of {}", question.from, question.to, answers.n_answered, answers.n_sent)
        }
        Observation::Crossed { crossing, seen, asked } => {
            let counts: Vec<String> =
                seen.iter().map(|it| format!("{} of {}", it.n_arrived, it.n_left)).collect();
            let (a, b) = (asked.n_arrived, asked.n_left);
            format!("{} > {}: {}, asked {a} of {b}", crossing.from, crossing.to, counts.join(", "))
        }
    }
}
