//! `HW9013`: nobody listens on a port that a pod declares.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9013),
    name: "nobody-listens",
    summary: "nobody listens on a port that is declared, or on loopback alone",
    manual: include_str!("nobody_listens.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Socket) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
