//! Every cause that a lab can be given, repaired and taken back, by the commands that a user has.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_change::{Settings, settings};
use hopwise_lab::{fault::Cause, truth::Truth};
use hopwise_snapshot::Element;

use crate::laboratory::{Laboratory, LaboratoryError, settled};

/// Repairs of every cause, on every base.
#[derive(Clone, Debug)]
pub struct Repairs {
    /// The bases.
    pub bases: Vec<&'static str>,
}

/// What came of one cause.
#[derive(Clone, Debug)]
pub struct RepairTrial {
    /// Base and fault.
    pub name: String,
    /// What is not as it should be; empty where all is.
    pub wrong: Vec<String>,
}

impl Repairs {
    /// Breaks, repairs and takes back every cause. A cause that a base has nothing for is left out.
    pub fn run(
        &self,
        laboratory: &Laboratory,
        say: &dyn Fn(&str),
    ) -> Result<Vec<RepairTrial>, LaboratoryError> {
        let mut trials = Vec::new();
        for base in &self.bases {
            let lab = "repairs";
            laboratory.up(lab, base)?;
            let reached = arriving(&laboratory.truth(lab)?);
            for cause in Cause::ALL {
                let fault = format!("{}@w2", cause.name());
                let healthy = settings(&settled(laboratory, lab)?);
                let wrong = try_one(laboratory, lab, &fault, (&healthy, &reached))?;
                laboratory.heal(lab)?;
                let word = if wrong.is_empty() { "repaired and taken back" } else { "NOT as it should be" };
                say(&format!("{base} {fault}: {word}"));
                for it in &wrong {
                    say(&format!("  {it}"));
                }
                trials.push(RepairTrial { name: format!("{base} {fault}"), wrong });
            }
            laboratory.down(lab)?;
        }
        Ok(trials)
    }
}

fn try_one(
    laboratory: &Laboratory,
    lab: &str,
    fault: &str,
    (healthy, reached): (&Settings, &BTreeMap<Pair, bool>),
) -> Result<Vec<String>, LaboratoryError> {
    let mut wrong = Vec::new();
    laboratory.inject(lab, &[fault.to_owned()])?;
    let broken = settings(&settled(laboratory, lab)?);

    let (code, document) = laboratory.repair(lab)?;
    if code != 0 || document["healed"] != true {
        wrong.push(format!("the repair ended with {code}: {}", document["why"]));
    }
    let packets = arriving(&laboratory.truth(lab)?);
    let other = reached.iter().filter(|(pair, is_reached)| packets.get(*pair) != Some(*is_reached)).count();
    if other > 0 {
        wrong.push(format!("{other} pairs are not as when healthy"));
    }
    let repaired = settings(&settled(laboratory, lab)?);
    let named = named(&document);
    for element in differing_lasting(&broken, &repaired) {
        let is_back = healthy.get(&element) == repaired.get(&element);
        if !is_back && !named.iter().any(|it| element.as_str().ends_with(it)) && !is_run(&document, &element)
        {
            wrong.push(format!("changed, and not named: {}", told(&element, &broken, &repaired)));
        }
    }

    let (code, document) = laboratory.undo(lab)?;
    if code != 0 || document["whole"] != true {
        wrong.push(format!("the undo ended with {code}: {}", document["left"]));
    }
    let undone = settings(&settled(laboratory, lab)?);
    for element in differing_lasting(&broken, &undone) {
        wrong.push(format!("not taken back: {}", told(&element, &broken, &undone)));
    }
    Ok(wrong)
}

/// Who, whom, how, by which family and size.
type Pair = (String, String, String, u8, String);

fn arriving(truth: &Truth) -> BTreeMap<Pair, bool> {
    let pair = |it: &hopwise_lab::truth::Pair| {
        let size = format!("{:?}", it.size);
        ((it.from.clone(), it.to.clone(), it.proto.clone(), it.family, size), it.reached)
    };
    truth.pairs.iter().map(pair).collect()
}

/// The files that a repair says it writes.
fn named(document: &serde_json::Value) -> BTreeSet<String> {
    let actions = document["repair"]["actions"].as_array().into_iter().flatten();
    let written = actions.filter_map(|it| it["persist"]["path"].as_str());
    written.map(|it| format!("/file{it}")).collect()
}

/// Does a command of a repair name the address, or the destination, that an element is?
fn is_run(document: &serde_json::Value, element: &Element) -> bool {
    let Some(last) = element.parts().pop() else { return false };
    let mut actions = document["repair"]["actions"].as_array().into_iter().flatten();
    last.contains(['.', ':']) && actions.any(|it| it["run"].as_str().is_some_and(|it| it.contains(&last)))
}

/// What differs, but for the Ethernet address that an interface gets by chance when it is made.
pub(crate) fn differing_lasting(one: &Settings, other: &Settings) -> BTreeSet<Element> {
    let mut all = hopwise_change::differing(one, other);
    all.retain(|it| {
        let parts = it.parts();
        !matches!(parts.iter().map(String::as_str).collect::<Vec<_>>()[..], ["link", _, "mac"])
            && parts.first().is_none_or(|it| it != "fdb")
    });
    all
}

pub(crate) fn told(element: &Element, one: &Settings, other: &Settings) -> String {
    let text = |it: &Settings| it.get(element).cloned().unwrap_or_else(|| "not there".to_owned());
    format!("{element}: {} | {}", text(one), text(other))
}
