//! `HW1601`: a pod sends packets that are larger than its path takes.

use std::collections::BTreeMap;

use hopwise_repair::Repair;
use hopwise_snapshot::{NodeName, Place};

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Deviation},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1601),
    name: "mtu-pod-too-large",
    summary: "packets of the size that the pod's interface allows do not fit their path",
    manual: include_str!("mtu_pod_too_large.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    let mut by_node: BTreeMap<(NodeName, u32, u32), Vec<&Deviation>> = BTreeMap::new();
    for deviation in case.deviating(Aspect::Size) {
        let sizes = (deviation.observed.parse::<u32>(), deviation.expected.parse::<u32>());
        let (Ok(is), Ok(should)) = sizes else { continue };
        let Some(node) = deviation.place.as_pod().and_then(|it| case.snapshot.pods.get(it)?.known()) else {
            continue;
        };
        if is > should {
            by_node.entry((node.node.clone(), is, should)).or_default().push(deviation);
        }
    }
    for ((node, is, should), pods) in by_node {
        let who = match &pods[..] {
            [one] => format!("{} of node {node}", one.place),
            all => format!("{} pods of node {node}", all.len()),
        };
        let ends = node_ends(case, &node, is, should).filter(|_| pods.len() > 1);
        let all: Vec<&Deviation> = pods.iter().copied().chain(ends).collect();
        suspects
            .report(&CAUSE, all[0].element.clone())
            .says(format!("{who} may send packets of {is} bytes, and the path takes {should}."))
            .also(all.iter().map(|it| it.element.clone()))
            .because(all.iter().map(|it| it.evidence()))
            .repaired_by(Repair { actions: all.iter().flat_map(|it| it.repair.actions.clone()).collect() });
    }
}

/// The ends of the pods' links and their bridge, made with the same wrong size.
fn node_ends<'a>(
    case: &'a Case<'_>,
    node: &NodeName,
    is: u32,
    should: u32,
) -> impl Iterator<Item = &'a Deviation> {
    let (place, is, should) = (Place::Node(node.clone()), is.to_string(), should.to_string());
    case.deviating(Aspect::Size)
        .filter(move |it| it.place == place && it.observed == is && it.expected == should)
}
