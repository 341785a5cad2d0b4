//! `HW9011`: a queueing discipline keeps packets.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9011),
    name: "queue-limits",
    summary: "a queueing discipline drops packets, or holds them longer than anybody waits",
    manual: include_str!("queue_limits.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Queue) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
