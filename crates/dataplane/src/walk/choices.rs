//! Walks that could go several ways, followed one after the other.
//!
//! A walk asks for a decision at each point where the kernel throws dice, or where a match is not understood.
//! The first walk takes the first way everywhere; [`Choices::next`] moves the last decision that has ways left
//! to its next one, so that repeating the walk until it says no visits every combination once.

/// Where a walk forks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fork {
    /// The kernel chooses at random, with this probability for the way taken.
    Chance,
    /// Nobody knows which way it goes.
    Unknown,
}

#[derive(Clone, Debug)]
struct Decision {
    fork: Fork,
    weights: Vec<f64>,
    taken: usize,
}

/// The decisions of one walk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choices {
    decisions: Vec<Decision>,
    at: usize,
}

impl Choices {
    /// Decides among as many ways as there are weights; the same way again when the walk is repeated.
    pub(crate) fn decide(&mut self, fork: Fork, weights: &[f64]) -> usize {
        if let Some(decision) = self.decisions.get(self.at) {
            self.at += 1;
            return decision.taken;
        }
        let first = weights.iter().position(|it| *it > 0.0).unwrap_or(0);
        self.decisions.push(Decision { fork, weights: weights.to_vec(), taken: first });
        self.at += 1;
        first
    }

    /// The probability of the ways taken.
    pub(crate) fn probability(&self) -> f64 {
        let taken = self.decisions.iter().filter(|it| it.fork == Fork::Chance);
        taken.map(|it| it.weights.get(it.taken).copied().unwrap_or(0.0)).product()
    }

    /// Did something unknown decide?
    pub(crate) fn has_unknown(&self) -> bool {
        self.decisions.iter().any(|it| it.fork == Fork::Unknown)
    }

    /// Goes on to the next combination; false when all were tried.
    pub(crate) fn next(&mut self) -> bool {
        self.at = 0;
        while let Some(last) = self.decisions.last_mut() {
            let later = (last.taken + 1..last.weights.len()).find(|it| last.weights[*it] > 0.0);
            if let Some(taken) = later {
                last.taken = taken;
                return true;
            }
            self.decisions.pop();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_visited_once() {
        let mut choices = Choices::default();
        let mut seen = Vec::new();
        loop {
            let first = choices.decide(Fork::Chance, &[0.5, 0.0, 0.5]);
            // The second fork exists on one way only.
            let second = if first == 0 { choices.decide(Fork::Unknown, &[1.0, 1.0]) } else { 9 };
            seen.push((first, second, choices.probability(), choices.has_unknown()));
            if !choices.next() {
                break;
            }
        }
        assert_eq!(seen, [(0, 0, 0.5, true), (0, 1, 0.5, true), (2, 9, 0.5, false)]);
    }
}
