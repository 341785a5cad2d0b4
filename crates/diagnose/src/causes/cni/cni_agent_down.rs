//! `HW1205`: the network plugin's agent does not run on a node.

use hopwise_change::{Change, Controller};
use hopwise_dataplane::BlockerKind;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::NodeName;

use super::node_podcidr_unassigned::without_range;
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
    causes::proxy,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1205),
    name: "cni-agent-down",
    summary: "the network plugin's agent does not run: the node learns of no other any more",
    manual: include_str!("cni_agent_down.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report(case, suspects, &CAUSE, ("flanneld", Controller::Flannel));
}

/// Is it known why a controller's program does not run there, so that starting it anew would not help?
fn cannot_start(case: &Case<'_>, name: &NodeName, controller: Controller) -> bool {
    match controller {
        Controller::Flannel => without_range(case).iter().any(|it| it.name() == *name),
        Controller::KubeProxy => !proxy::obstacles(case).is_empty(),
    }
}

/// Reports where a controller's program does not run: its pod is made anew.
pub(in crate::causes) fn report(
    case: &Case<'_>,
    suspects: &mut Suspects,
    own: &'static Cause,
    (wanted, controller): (&str, Controller),
) {
    for blocker in case.blockers.keys() {
        let BlockerKind::NotRunning { program, is_stopped } = &blocker.kind else { continue };
        let Some(name) = blocker.place.as_ref().and_then(|it| it.as_node()) else { continue };
        if program != wanted || cannot_start(case, name, controller) {
            continue;
        }
        let place = hopwise_snapshot::Place::Node(name.clone());
        let resynced = Change::Resynced { node: name.clone(), controller };
        let action =
            Action::change(resynced.clone(), case.snapshot, Risk::Restart, format!("pgrep -x {program}"));
        let started = Change::ProcessStarted { place, program: program.clone() };
        let action = Action { changes: vec![started], by: Some(resynced), ..action };
        let is = if *is_stopped { "is stopped" } else { "does not run" };
        suspects
            .report(own, blocker.element.clone())
            .says(format!("{program} {is} on node {name}: what changes in the cluster does not reach it."))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: if *is_stopped { "stopped" } else { "not there" }.to_owned(),
                expected: "running, as on the other nodes".to_owned(),
                source: "/proc".to_owned(),
            }])
            .repaired_by(Repair::one(action));
    }
}
