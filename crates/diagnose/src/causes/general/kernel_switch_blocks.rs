//! `HW9009`: a kernel switch stands in the way.

use hopwise_dataplane::{Blocker, BlockerKind};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::SysctlKey;

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9009),
    name: "kernel-switch-blocks",
    summary: "a kernel switch keeps packets from passing",
    manual: include_str!("kernel_switch_blocks.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Switch) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |it| repair(case, it));
}

fn repair(case: &Case<'_>, blocker: &Blocker) -> Option<Repair> {
    let place = blocker.place.as_ref()?;
    let action = match &blocker.kind {
        BlockerKind::Switch { key, wanted } => {
            return Some(Repair::sysctl(place, key, wanted, case.snapshot));
        }
        // The larger of the interface's value and that of all interfaces holds.
        BlockerKind::ReversePath { .. } => {
            let key = SysctlKey::from_dotted(blocker.element.parts().get(1)?);
            return Some(Repair::sysctl(place, &key, "2", case.snapshot));
        }
        BlockerKind::ConntrackFull => {
            let told = "raise net.netfilter.nf_conntrack_max above what is in use, on the host that the node runs on";
            Action {
                risk: Risk::Persistent,
                ..Action::told(Some(place.clone()), told, "sysctl net.netfilter.nf_conntrack_count")
            }
        }
        _ => return None,
    };
    Some(Repair::one(action))
}
