//! `HW1201`: a node has no network configuration, so that no new pod gets a network.

use hopwise_change::Change;
use hopwise_dataplane::CNI_CONFIGURATIONS;
use hopwise_repair::{Action, Persist, Repair, Risk};
use hopwise_snapshot::{Node, Place};

use super::{Fault, faults};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1201),
    name: "cni-not-installed",
    summary: "the node has no network configuration: new pods stay in ContainerCreating",
    manual: include_str!("cni_not_installed.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, node, blocker, why } in faults(case, &CAUSE) {
        let place = Place::Node(name.clone());
        let repair = match configuration(case) {
            Some((path, text)) => written(case, &place, node, &path, text),
            None => Repair::one(Action::told(
                Some(place.clone()),
                "install a network plugin, as flannel, Calico or Cilium",
                format!("ls {CNI_CONFIGURATIONS}"),
            )),
        };
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!(
                "Node {name} has no network configuration: it is NotReady, and new pods get no network."
            ))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: why.note(),
                expected: "a configuration, as on the other nodes".to_owned(),
                source: CNI_CONFIGURATIONS.to_owned(),
            }])
            .repaired_by(repair);
    }
}

/// What flannel's own first container would copy, else what another node has.
fn configuration(case: &Case<'_>) -> Option<(String, String)> {
    let of_flannel = ["kube-flannel", "kube-system"].into_iter().find_map(|namespace| {
        let config = case.snapshot.cluster.config_map(namespace, "kube-flannel-cfg")?;
        Some((format!("{CNI_CONFIGURATIONS}/10-flannel.conflist"), config.data.get("cni-conf.json")?.clone()))
    });
    of_flannel.or_else(|| {
        let mut all: Vec<(String, String)> = case
            .nodes()
            .flat_map(|(_, node)| &node.files)
            .filter(|(path, _)| path.starts_with(CNI_CONFIGURATIONS))
            .filter_map(|(path, file)| {
                let text = String::from_utf8_lossy(file.known()?.content.bytes()).into_owned();
                Some((path.clone(), text))
            })
            .collect();
        all.sort();
        all.dedup();
        // Where nodes have different ones, each is a node's own.
        (all.len() == 1).then(|| all.remove(0))
    })
}

fn written(case: &Case<'_>, place: &Place, node: &Node, path: &str, text: String) -> Repair {
    let change = Change::FileWritten { place: place.clone(), path: path.to_owned(), content: text.clone() };
    let action = Action::change(change, case.snapshot, Risk::Persistent, format!("cat {path}"));
    Repair::one(Action {
        changes: Vec::new(),
        run: Vec::new(),
        ..action.persisted(Persist::file(place, node, path, text))
    })
}
