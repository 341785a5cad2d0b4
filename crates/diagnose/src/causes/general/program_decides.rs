//! `HW9012`: a BPF program sits in the path, and only packets tell what it does.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9012),
    name: "program-decides",
    summary: "a BPF program sits in the path: what it does to packets cannot be read",
    manual: include_str!("program_decides.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Program) {
        report_deviation(suspects, &CAUSE, deviation).is_opaque = true;
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
