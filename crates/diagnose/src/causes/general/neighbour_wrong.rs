//! `HW9007`: a neighbour or a forwarding database leads frames to nobody, or to the wrong station.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9007),
    name: "neighbour-wrong",
    summary: "frames go to nobody or to the wrong station: a neighbour or forwarding entry is wrong or missing",
    manual: include_str!("neighbour_wrong.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Neighbour).chain(case.deviating(Aspect::Fdb)) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
