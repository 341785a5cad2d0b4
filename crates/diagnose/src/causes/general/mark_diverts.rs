//! `HW9003`: a mark sends packets another way.

use super::{lost_rule_does, report_deviation, report_foreign_rules};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
    rules::Does,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9003),
    name: "mark-diverts",
    summary: "a rule marks packets, and the mark sends them another way",
    manual: include_str!("mark_diverts.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_foreign_rules(case, suspects, &CAUSE, Does::Mark);
    for deviation in case.deviating(Aspect::OwnedRule).filter(|it| lost_rule_does(it) == Does::Mark) {
        report_deviation(suspects, &CAUSE, deviation);
    }
}
