//! `HW9008`: a bridge port does not pass frames.

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9008),
    name: "bridge-port-blocks",
    summary: "a setting of a bridge port keeps frames from passing",
    manual: include_str!("bridge_port_blocks.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::BridgePort) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |_| None);
}
