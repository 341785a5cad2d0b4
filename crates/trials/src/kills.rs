//! Repairs that are killed at every point of their way: what the next command makes of it.

use hopwise_change::{Settings, settings};
use hopwise_lab::fault::Cause;

use crate::{
    laboratory::{Laboratory, LaboratoryError, settled},
    repairs::{differing_lasting, told},
};

/// Kills of the repairs of every cause.
#[derive(Clone, Debug)]
pub struct Kills {
    /// The bases.
    pub bases: Vec<&'static str>,
    /// The causes.
    pub causes: Vec<Cause>,
    /// Only every so many points are killed at, beginning with the first.
    pub step: usize,
}

/// What came of the kills.
#[derive(Clone, Debug, Default)]
pub struct KillsScore {
    /// How many repairs were killed.
    pub n_killed: usize,
    /// How many were taken back by the next undo.
    pub n_undone: usize,
    /// How many were completed by the next repair, and both taken back then.
    pub n_completed: usize,
    /// What is neither, one line each.
    pub wrong: Vec<String>,
}

impl KillsScore {
    /// Did every kill end in one of the two?
    pub fn is_good(&self) -> bool {
        self.n_killed > 0 && self.wrong.is_empty() && self.n_undone + self.n_completed == self.n_killed
    }

    /// The score in one line.
    pub fn line(&self) -> String {
        format!(
            "{} repairs killed: {} taken back by the next undo, {} completed by the next repair and taken back then, {} \
             neither",
            self.n_killed,
            self.n_undone,
            self.n_completed,
            self.wrong.len()
        )
    }
}

impl Kills {
    /// Breaks a lab by each cause, and kills its repair at one point after the other.
    pub fn run(&self, laboratory: &Laboratory, say: &dyn Fn(&str)) -> Result<KillsScore, LaboratoryError> {
        let mut score = KillsScore::default();
        for base in &self.bases {
            let lab = "kills";
            laboratory.up(lab, base)?;
            for cause in &self.causes {
                let fault = format!("{}@w2", cause.name());
                let n_before = score.n_killed;
                laboratory.inject(lab, std::slice::from_ref(&fault))?;
                self.kill_everywhere(laboratory, lab, &format!("{base} {fault}"), &mut score)?;
                laboratory.heal(lab)?;
                say(&format!("{base} {fault}: killed {} times", score.n_killed - n_before));
            }
            laboratory.down(lab)?;
        }
        Ok(score)
    }

    fn kill_everywhere(
        &self,
        laboratory: &Laboratory,
        lab: &str,
        name: &str,
        score: &mut KillsScore,
    ) -> Result<(), LaboratoryError> {
        let broken = settings(&settled(laboratory, lab)?);
        for at in (1..).step_by(self.step.max(1)) {
            let is_killed = laboratory.repair_killed_at(lab, at)?;
            // Each second one is gone on with instead of being taken back.
            let is_completed = is_killed && score.n_killed % 2 == 1;
            let mut wrong = Vec::new();
            if is_completed {
                let (code, document) = laboratory.repair(lab)?;
                if code != 0 || document["healed"] == false {
                    wrong.push(format!("the next repair ended with {code}: {}", document["why"]));
                }
            }
            undo_all(laboratory, lab, &mut wrong)?;
            wrong.extend(still_different(laboratory, lab, &broken)?);
            if !is_killed {
                score.wrong.extend(wrong.into_iter().map(|it| format!("{name}, not killed: {it}")));
                return Ok(());
            }
            score.n_killed += 1;
            match (wrong.is_empty(), is_completed) {
                (true, true) => score.n_completed += 1,
                (true, false) => score.n_undone += 1,
                (false, _) => {
                    score.wrong.push(format!("{name}, killed at {at}: {}", wrong.join("; ")));
                    laboratory.heal(lab)?;
                    let fault = name.rsplit(' ').next().unwrap_or(name).to_owned();
                    laboratory.inject(lab, &[fault])?;
                }
            }
        }
        Ok(())
    }
}

/// Takes runs back until none is left.
fn undo_all(laboratory: &Laboratory, lab: &str, wrong: &mut Vec<String>) -> Result<(), LaboratoryError> {
    // A killed run and the one that completed it.
    const MOST: usize = 3;
    for _ in 0..MOST {
        let (code, document) = laboratory.undo(lab)?;
        match code {
            0 if document["whole"] == true => {}
            // No run is left.
            2 => return Ok(()),
            _ => {
                wrong.push(format!("the undo ended with {code}: {document}"));
                return Ok(());
            }
        }
    }
    wrong.push("there is always one more run to take back".to_owned());
    Ok(())
}

fn still_different(
    laboratory: &Laboratory,
    lab: &str,
    broken: &Settings,
) -> Result<Vec<String>, LaboratoryError> {
    let now = settings(&settled(laboratory, lab)?);
    Ok(differing_lasting(broken, &now).iter().map(|it| told(it, broken, &now)).collect())
}
