//! `HW1204`: the network configuration that comes first by name is not the plugin's, or cannot be read.

use hopwise_change::Change;
use hopwise_dataplane::NoPodNetwork;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::Place;

use super::{Fault, faults};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1204),
    name: "cni-conf-conflict",
    summary: "the network configuration that comes first by name cannot be used: new pods get no network",
    manual: include_str!("cni_conf_conflict.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, blocker, why, .. } in faults(case, &CAUSE) {
        let NoPodNetwork::NotUnderstood { path, .. } = why else { continue };
        let place = Place::Node(name.clone());
        let usual = case.nodes().filter(|(other, _)| *other != name).find_map(|(_, node)| {
            Some(String::from_utf8_lossy(node.files.get(path)?.known()?.content.bytes()).into_owned())
        });
        let change = match usual {
            Some(content) => Change::FileWritten { place: place.clone(), path: path.clone(), content },
            None => Change::FileRemoved { place: place.clone(), path: path.clone() },
        };
        let action = Action::change(change, case.snapshot, Risk::Disruptive, format!("cat {path}"));
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!("Node {name} gives new pods no network: {}.", why.note()))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: why.note(),
                expected: "a network configuration".to_owned(),
                source: path.clone(),
            }])
            .repaired_by(Repair::one(action));
    }
}
