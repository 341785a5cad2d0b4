//! `HW9013`: nobody listens on a port that a pod declares.

use std::collections::BTreeMap;

use hopwise_snapshot::{Place, SocketState};

use super::{report_blockers, report_deviation, subject};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Deviation},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9013),
    name: "nobody-listens",
    summary: "nobody listens on a port that is declared, or on loopback alone",
    manual: include_str!("nobody_listens.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let mut by_place: BTreeMap<&Place, Vec<&Deviation>> = BTreeMap::new();
    for deviation in case.deviating(Aspect::Socket) {
        by_place.entry(&deviation.place).or_default().push(deviation);
    }
    for (place, deviations) in by_place {
        // A program that does not run leaves all its ports silent at once.
        let is_dead = deviations.len() > 1 && nothing_listens(case, place);
        if !is_dead {
            for deviation in deviations {
                report_deviation(suspects, &CAUSE, deviation);
            }
            continue;
        }
        let suspect = report_deviation(suspects, &CAUSE, deviations[0]);
        suspect.says(format!(
            "{}: nothing listens on any of its {} ports.",
            subject(place),
            deviations.len()
        ));
        for other in &deviations[1..] {
            suspect.also([other.element.clone()]).because([other.evidence()]);
            suspect.repair.actions.extend(other.repair.actions.iter().cloned());
        }
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}

fn nothing_listens(case: &Case<'_>, place: &Place) -> bool {
    let sockets = case.snapshot.net(place).and_then(|it| it.sockets.known());
    sockets.is_some_and(|all| {
        !all.iter().any(|it| it.state != SocketState::Connected && !it.address.is_loopback())
    })
}
