//! `HW1508`: a tunnel device has another Ethernet address than its node published.

use hopwise_change::Controller;
use hopwise_repair::{Action, Repair, Risk};

use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::{Aspect, Basis},
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(1508),
    name: "overlay-vtep-mac-mismatch",
    summary: "frames through the tunnel carry an Ethernet address that the device does not have",
    manual: include_str!("overlay_vtep_mac_mismatch.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Link) {
        let parts = deviation.element.parts();
        let (Some(name), [_, device, aspect]) = (deviation.place.as_node(), &parts[..]) else { continue };
        if aspect != "mac" || deviation.basis != Basis::Api {
            continue;
        }
        let change = hopwise_change::Change::Resynced { node: name.clone(), controller: Controller::Flannel };
        let verify = format!("ip link show dev {device}");
        suspects
            .report(&CAUSE, deviation.element.clone())
            .says(format!(
                "The tunnel {device} of node {name} has the address {}, and its node published {}.",
                deviation.observed, deviation.expected
            ))
            .because([deviation.evidence()])
            .repaired_by(Repair::one(Action::change(change, case.snapshot, Risk::Restart, verify)));
    }
}
