//! `HW1206`: flannel has not written down which range is the node's.

use hopwise_change::{Change, Controller};
use hopwise_repair::{Action, Repair, Risk};

use super::{Fault, faults};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1206),
    name: "flannel-subnet-env-missing",
    summary: "flannel's subnet file is missing or empty: new pods get no network",
    manual: include_str!("flannel_subnet_env_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, blocker, why, .. } in faults(case, &CAUSE) {
        let change = Change::Resynced { node: name.clone(), controller: Controller::Flannel };
        let action = Action::change(change, case.snapshot, Risk::Restart, "cat /run/flannel/subnet.env");
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!("Node {name} does not know the range of its pods: new pods get no network."))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: why.note(),
                expected: "as flannel writes it".to_owned(),
                source: "/run/flannel/subnet.env".to_owned(),
            }])
            .repaired_by(Repair::one(action));
    }
}
