//! `HW9004`: an interface is off, cut, or not there.

use hopwise_change::Change;
use hopwise_dataplane::{Blocker, BlockerKind};
use hopwise_repair::{Action, Repair, Risk};

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9004),
    name: "link-down",
    summary: "an interface is down, has no carrier or no master, or is missing",
    manual: include_str!("link_down.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Link).chain(case.deviating(Aspect::Tunnel)) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |it| repair(case, it));
}

fn repair(case: &Case<'_>, blocker: &Blocker) -> Option<Repair> {
    let (BlockerKind::LinkDown { link }, Some(place)) = (&blocker.kind, &blocker.place) else { return None };
    let change = Change::LinkUp { place: place.clone(), link: link.clone(), up: true };
    Some(Repair::one(Action::change(
        change,
        case.snapshot,
        Risk::Additive,
        format!("ip link show dev {link}"),
    )))
}
