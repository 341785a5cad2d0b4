//! `HW1207`: a node was given no range of addresses for its pods.

use std::collections::BTreeSet;

use hopwise_dataplane::BlockerKind;
use hopwise_repair::{Action, Repair};
use hopwise_snapshot::{Element, NodeName, NodeObject};
use ipnet::IpNet;

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1207),
    name: "node-podcidr-unassigned",
    summary: "the node has no range of addresses for pods: its network agent does not start",
    manual: include_str!("node_podcidr_unassigned.md"),
    detect,
};

/// Nodes without a range, where others have one. A plugin with address management of its own gives none to any.
pub(in crate::causes) fn without_range<'a>(case: &Case<'a>) -> Vec<&'a NodeObject> {
    let nodes = case.snapshot.cluster.nodes.known().map_or(&[][..], Vec::as_slice);
    let has_none = |it: &&NodeObject| it.pod_cidrs().is_empty();
    if nodes.iter().all(|it| has_none(&it)) {
        return Vec::new();
    }
    nodes.iter().filter(has_none).collect()
}

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for node in without_range(case) {
        let name = node.name();
        let element = Element::object("node", "", name.as_str(), Some("spec.podCIDR"));
        let verify = format!("kubectl get node {name} -o jsonpath='{{.spec.podCIDR}}'");
        let told = match free_range(case) {
            Some(range) => format!(
                "kubectl patch node {name} -p '{{\"spec\":{{\"podCIDR\":\"{range}\",\"podCIDRs\":[\"{range}\"]}}}}'"
            ),
            None => {
                "let kube-controller-manager give out ranges: --allocate-node-cidrs and a --cluster-cidr \
                     with room for another node"
                    .to_owned()
            }
        };
        let suspect = suspects.report(&CAUSE, element.clone());
        suspect
            .says(format!(
                "Node {name} has no range of addresses for its pods, and the other nodes have one."
            ))
            .because([Evidence {
                element,
                observed: "none".to_owned(),
                expected: "a range of its own".to_owned(),
                source: verify.clone(),
            }])
            .also(agents(case, &name))
            .later(format!("new pods of {name} get no address"))
            .repaired_by(Repair::one(Action::told(None, told, verify)));
    }
}

/// The programs of a node that do not run for want of a range.
fn agents(case: &Case<'_>, name: &NodeName) -> Vec<Element> {
    let own = case.blockers.keys().filter(|it| {
        let is_agent = matches!(&it.kind, BlockerKind::NotRunning { program, .. } if program == "flanneld");
        let is_network = matches!(it.kind, BlockerKind::NoPodNetwork(_));
        (is_agent || is_network) && it.place.as_ref().and_then(|it| it.as_node()) == Some(name)
    });
    own.map(|it| it.element.clone()).collect()
}

/// A range like the others' that no node has.
fn free_range(case: &Case<'_>) -> Option<IpNet> {
    let nodes = case.snapshot.cluster.nodes.known()?;
    let taken: BTreeSet<IpNet> = nodes.iter().flat_map(NodeObject::pod_cidrs).collect();
    let first = taken.iter().find(|it| it.addr().is_ipv4())?;
    let IpNet::V4(first) = first else { return None };
    let size = 1u32.checked_shl(u32::from(32 - first.prefix_len()))?;
    let begin = u32::from(first.network());
    (0..256u32).find_map(|number| {
        let address = begin.checked_add(number.checked_mul(size)?)?;
        let range = IpNet::V4(ipnet::Ipv4Net::new(address.into(), first.prefix_len()).ok()?);
        (!taken.contains(&range)).then_some(range)
    })
}
