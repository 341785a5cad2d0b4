//! `HW1203`: the container runtime looks for the network plugin where it is not.

use hopwise_change::Change;
use hopwise_controllers::container_runtime::CONTAINERD_CONFIG;
use hopwise_dataplane::NoPodNetwork;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Node, Observed, Place};

use super::{Fault, faults};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1203),
    name: "cni-dir-mismatch",
    summary: "the container runtime looks for the network plugin in another directory: new pods get no network",
    manual: include_str!("cni_dir_mismatch.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, node, blocker, why } in faults(case, &CAUSE) {
        let NoPodNetwork::ElsewhereThan { what, directory, usual } = why else { continue };
        let place = Place::Node(name.clone());
        let verify = format!("grep -n _dir {CONTAINERD_CONFIG}");
        let repair = if let Some(content) = corrected(node, directory, usual) {
            let path = CONTAINERD_CONFIG.to_owned();
            let written = Change::FileWritten { place: place.clone(), path, content };
            // What starts the runtime anew must not run in a container of it.
            let program = "containerd".to_owned();
            let started = Change::ProcessStarted { place, program };
            Repair {
                actions: vec![
                    Action::change(written, case.snapshot, Risk::External, verify),
                    Action::change(started, case.snapshot, Risk::External, "systemctl is-active containerd"),
                ],
            }
        } else {
            let told = format!("let the runtime look for {what} in {usual}, and restart it");
            Repair::one(Action::told(Some(place), told, verify))
        };
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!(
                "Node {name} gives new pods no network: its container {}.",
                why.note().trim_start_matches("the ")
            ))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: directory.clone(),
                expected: (*usual).to_owned(),
                source: CONTAINERD_CONFIG.to_owned(),
            }])
            .repaired_by(repair);
    }
}

/// The runtime's configuration with the usual directory in place of another.
fn corrected(node: &Node, directory: &str, usual: &str) -> Option<String> {
    let file = node.files.get(CONTAINERD_CONFIG).and_then(Observed::known)?;
    let text = std::str::from_utf8(file.content.bytes()).ok()?;
    let is_setting = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        matches!(key, "bin_dir" | "bin_dirs" | "conf_dir") && line.contains(directory)
    };
    if !text.lines().any(is_setting) || file.n_redacted > 0 {
        return None;
    }
    let lines =
        text.lines().map(|it| if is_setting(it) { it.replace(directory, usual) } else { it.to_owned() });
    Some(lines.flat_map(|it| [it, "\n".to_owned()]).collect())
}
