//! `HW1202`: a plugin that the network configuration names is not on the node.

use hopwise_change::Change;
use hopwise_dataplane::{CNI_PLUGINS, NoPodNetwork};
use hopwise_repair::{Action, Repair};
use hopwise_snapshot::Place;

use super::{Fault, faults};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1202),
    name: "cni-binary-missing",
    summary: "a plugin that the network configuration names is not on the node: new pods get no network",
    manual: include_str!("cni_binary_missing.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, blocker, why, .. } in faults(case, &CAUSE) {
        let NoPodNetwork::NoPlugin { plugin } = why else { continue };
        let place = Place::Node(name.clone());
        let path = format!("{CNI_PLUGINS}/{plugin}");
        let change = Change::FileWritten { place: place.clone(), path: path.clone(), content: String::new() };
        let how = if plugin == "flannel" {
            format!("delete flannel's pod on {name}: its first container copies {path}")
        } else {
            format!("install the package of the CNI plugins on {name}, or copy {path} from another node")
        };
        let action = Action { changes: vec![change], ..Action::told(Some(place), how, format!("ls {path}")) };
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!("Node {name} lacks the network plugin {plugin}: new pods get no network."))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: "missing".to_owned(),
                expected: "the plugin, as the configuration names it".to_owned(),
                source: CNI_PLUGINS.to_owned(),
            }])
            .repaired_by(Repair::one(action));
    }
}
