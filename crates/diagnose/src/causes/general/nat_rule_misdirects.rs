//! `HW9002`: a rule translates packets that are promised to arrive as they are, or one that should does not.

use super::{lost_rule_does, report_blockers, report_deviation, report_foreign_rules};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
    rules::Does,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9002),
    name: "nat-rule-misdirects",
    summary: "a rule sends packets to somebody else, or gives them a source that gets no answer",
    manual: include_str!("nat_rule_misdirects.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_foreign_rules(case, suspects, &CAUSE, Does::Translate);
    for deviation in case.deviating(Aspect::OwnedRule).filter(|it| lost_rule_does(it) == Does::Translate) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
