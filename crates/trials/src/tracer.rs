//! The tracer against packets under the causes that a lab can inject.

use hopwise_dataplane::contract;
use hopwise_lab::fault::Cause;

use crate::{
    comparison::{Comparison, not_measured},
    laboratory::{Laboratory, LaboratoryError},
    trial::{measured, settle},
};

/// How many pairs of causes are tried together.
const N_PAIRS: usize = 20;

/// What is injected, each in a lab of its own: nothing, each cause, and pairs of causes by dice.
pub fn conditions(seed: u64) -> Vec<Vec<String>> {
    let nodes = ["cp", "w1", "w2"];
    let mut all = vec![Vec::new()];
    all.extend(Cause::ALL.iter().map(|it| vec![format!("{}@w2", it.name())]));
    let mut dice = fastrand::Rng::with_seed(seed);
    while all.len() < 1 + Cause::ALL.len() + N_PAIRS {
        let [a, b] = [0, 1].map(|_| Cause::ALL[dice.usize(..Cause::ALL.len())]);
        let [at, bt] = [0, 1].map(|_| nodes[dice.usize(..nodes.len())]);
        if (a.name(), at) != (b.name(), bt) {
            all.push(vec![format!("{}@{at}", a.name()), format!("{}@{bt}", b.name())]);
        }
    }
    all
}

/// Compares the tracer with packets in a new lab under a condition. None where a lab of this base, or what was injected
/// first, has nothing that the rest could break.
///
/// Also gives the promised flows that no packet was sent for.
pub fn compare_under(
    laboratory: &Laboratory,
    lab: &str,
    base: &str,
    condition: &[String],
) -> Result<Option<(Comparison, Vec<String>)>, LaboratoryError> {
    laboratory.up(lab, base)?;
    let compared = on_lab(laboratory, lab, condition);
    laboratory.down(lab)?;
    compared
}

fn on_lab(
    laboratory: &Laboratory,
    lab: &str,
    condition: &[String],
) -> Result<Option<(Comparison, Vec<String>)>, LaboratoryError> {
    let healthy = laboratory.snapshot(lab)?;
    for fault in condition {
        match laboratory.inject(lab, std::slice::from_ref(fault)) {
            Ok(()) => {}
            // The second of two finds nothing left to break.
            Err(LaboratoryError::Command { .. }) if condition.len() > 1 => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    settle(laboratory, lab, &healthy)?;
    let (snapshot, truth, comparison) = measured(laboratory, lab)?;
    let left_out = not_measured(&snapshot, &contract(&snapshot), &truth);
    Ok(Some((comparison, left_out)))
}
