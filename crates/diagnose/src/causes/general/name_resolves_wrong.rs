//! `HW9014`: a name has another answer than the cluster gives, or none.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9014),
    name: "name-resolves-wrong",
    summary: "a name has another answer than the cluster gives, or none",
    manual: include_str!("name_resolves_wrong.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Resolver) {
        // Whether another server answers cannot be read: then only packets tell.
        report_deviation(suspects, &CAUSE, deviation).is_opaque = true;
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
