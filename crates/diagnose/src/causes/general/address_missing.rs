//! `HW9005`: an interface lacks an address, or holds somebody else's.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9005),
    name: "address-missing",
    summary: "an interface lacks the address that it should have, or holds one that is somebody else's",
    manual: include_str!("address_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Address) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
