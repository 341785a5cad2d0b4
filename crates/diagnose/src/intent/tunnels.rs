//! Tunnel devices.

use hopwise_change::{Change, Controller};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, LinkDetail, NodeName, Place};

use super::{Aspect, Basis, Deviation, Intent, devices, nodes};

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        let place = Place::Node(name.clone());
        for device in intent.flannel.get(name).into_iter().flat_map(|it| &it.devices) {
            let Some(link) = node.net.link(&device.name) else { continue };
            let LinkDetail::Vxlan(vxlan) = &link.detail else { continue };
            let lower = vxlan.lower.map(|it| devices::name_at(&node.net, it)).unwrap_or_default();
            let local = vxlan.local.map(|it| it.to_string()).unwrap_or_default();
            let settings = [
                ("vni", vxlan.vni.to_string(), device.vni.to_string()),
                ("port", vxlan.port.to_string(), device.port.to_string()),
                ("local", local, device.local.to_string()),
                ("dev", lower, device.lower.clone()),
            ];
            for (attribute, observed, expected) in settings {
                if observed != expected {
                    let element = Element::tunnel(&place, &device.name, attribute);
                    found.push(deviation(intent, name, &place, element, &observed, &expected));
                }
            }
            if let (Some(mac), Some(own)) = (device.mac, link.mac)
                && mac != own
            {
                let change = Change::LinkMac { place: place.clone(), link: device.name.clone(), mac };
                let verify = format!("ip link show dev {}", device.name);
                found.push(Deviation {
                    element: devices::aspect(&place, &device.name, "mac"),
                    place: place.clone(),
                    aspect: Aspect::Link,
                    observed: own.to_string(),
                    expected: mac.to_string(),
                    basis: Basis::Api,
                    source: "ip link".to_owned(),
                    repair: Repair::one(Action::change(change, intent.snapshot, Risk::Additive, verify)),
                });
            }
        }
    }
}

/// The kernel changes none of these on a device that is there: flannel makes it anew.
fn deviation(
    intent: &Intent<'_>,
    node: &NodeName,
    place: &Place,
    element: Element,
    observed: &str,
    expected: &str,
) -> Deviation {
    let change = Change::Resynced { node: node.clone(), controller: Controller::Flannel };
    Deviation {
        element,
        place: place.clone(),
        aspect: Aspect::Tunnel,
        observed: observed.to_owned(),
        expected: expected.to_owned(),
        basis: Basis::Controller(Controller::Flannel),
        source: "ip -d link".to_owned(),
        repair: Repair::one(Action::change(
            change,
            intent.snapshot,
            Risk::Restart,
            "ip -d link show type vxlan",
        )),
    }
}
