//! `HW1211`: the pods' bridge holds an address of another range than the node's.

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
    code: Code(1211),
    name: "cni0-stale-address",
    summary: "the pods' bridge holds an address of another range: new pods get no network",
    manual: include_str!("cni0_stale_address.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for Fault { name, node, blocker, why } in faults(case, &CAUSE) {
        let NoPodNetwork::BridgeAddress { link, address, wanted } = why else { continue };
        let place = Place::Node(name.clone());
        let step = |change: Change| {
            Action::change(change, case.snapshot, Risk::Additive, format!("ip -4 address show dev {link}"))
        };
        let removed = Change::AddressRemoved { place: place.clone(), link: link.clone(), address: *address };
        let has_wanted = node.net.link(link).is_some_and(|own| {
            let addresses = node.net.addresses.known().into_iter().flatten();
            addresses.filter(|it| it.link == own.index).any(|it| it.address == *wanted)
        });
        let added = (!has_wanted).then(|| Change::AddressAdded {
            place: place.clone(),
            link: link.clone(),
            address: *wanted,
        });
        suspects
            .report(&CAUSE, blocker.element.clone())
            .says(format!("Node {name}'s bridge {link} holds {address}: new pods get no network."))
            .because([Evidence {
                element: blocker.element.clone(),
                observed: address.to_string(),
                expected: format!("{wanted} alone"),
                source: "netlink".to_owned(),
            }])
            .repaired_by(Repair {
                actions: [Some(removed), added].into_iter().flatten().map(step).collect(),
            });
    }
}
