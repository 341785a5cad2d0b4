//! `HW9016`: a program that a node needs does not run, or is frozen.

use hopwise_change::Change;
use hopwise_dataplane::BlockerKind;
use hopwise_repair::{Action, Repair, Risk};

use super::report_blockers;
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9016),
    name: "process-down",
    summary: "a program that must run on the node does not, or does not answer",
    manual: include_str!("process_down.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_blockers(case, suspects, &CAUSE, |blocker| {
        let program = match &blocker.kind {
            BlockerKind::NotRunning { program, .. } => program.as_str(),
            BlockerKind::NotReporting { .. } => "kubelet",
            _ => return None,
        };
        let place = blocker.place.clone()?;
        let change = Change::ProcessStarted { place, program: program.to_owned() };
        let verify = format!("systemctl is-active {program}");
        Some(Repair::one(Action::change(change, case.snapshot, Risk::Restart, verify)))
    });
}
