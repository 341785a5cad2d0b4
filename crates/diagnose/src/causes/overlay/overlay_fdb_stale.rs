//! `HW1507`: a node's tunnel sends the frames for another node elsewhere, or nowhere.

use hopwise_change::Controller;

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Basis},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1507),
    name: "overlay-fdb-stale",
    summary: "the node's tunnel does not know, or knows wrongly, where another node is",
    manual: include_str!("overlay_fdb_stale.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let flannel = Basis::Controller(Controller::Flannel);
    let entries = case.deviating(Aspect::Fdb).chain(case.deviating(Aspect::Neighbour));
    for deviation in entries.filter(|it| it.basis == flannel) {
        let Some(name) = deviation.place.as_node() else { continue };
        let device = deviation.element.parts()[1].clone();
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!(
                "The tunnel {device} of node {name} has an entry for another node that is {}, not {}.",
                deviation.observed, deviation.expected
            ))
            .because([deviation.evidence()])
            .repaired_by(deviation.repair.clone());
    }
}
