//! `HW1209`: all addresses of the node's range are taken, by pods or by what is left of them.

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_change::Change;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Observed, Place};

use super::{Fault, faults};
use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1209),
    name: "ipam-hostlocal-exhausted",
    summary: "all addresses of the node's range are taken: new pods get no network",
    manual: include_str!("ipam_hostlocal_exhausted.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, node, blocker, why } in faults(case, &CAUSE) {
        let place = Place::Node(name.clone());
        let directory = format!("/{}", blocker.element.parts()[1..].join("/"));
        let pods = case.snapshot.cluster.pods.known();
        let used: BTreeSet<IpAddr> =
            pods.into_iter().flatten().flat_map(hopwise_snapshot::PodObject::ips).collect();
        let taken = node.directories.get(&directory).and_then(Observed::known);
        // Nobody's by the API server: whoever had it is gone.
        let left = taken.into_iter().flatten().filter(|it| it.parse().is_ok_and(|it| !used.contains(&it)));
        let left: Vec<&String> = if pods.is_some() { left.collect() } else { Vec::new() };
        let remove = |it: &&String| {
            let path = format!("{directory}/{it}");
            let change = Change::FileRemoved { place: place.clone(), path };
            Action::change(change, case.snapshot, Risk::Disruptive, format!("ls {directory}"))
        };
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!(
                "Node {name} has no address left for a new pod: {}, {} of them by pods that are gone.",
                why.note(),
                left.len()
            ))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: why.note(),
                expected: "an address that is free".to_owned(),
                source: directory.clone(),
            }])
            .repaired_by(Repair { actions: left.iter().map(remove).collect() });
    }
}
