//! Queueing disciplines, filters, programs, IPsec policies: none of them is a cluster's own.

use hopwise_change::Change;
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, NetNs, Place, Qdisc};

use super::{Aspect, Basis, Deviation, Intent, devices, nodes, pods};

/// Queueing disciplines that systems set by themselves, and that drop nothing that fits.
const USUAL: [&str; 7] = ["noqueue", "fq_codel", "pfifo_fast", "fq", "mq", "cake", "noop"];

pub(super) fn find(intent: &Intent<'_>, found: &mut Vec<Deviation>) {
    for (name, node) in nodes(intent.snapshot) {
        of_namespace(intent, &Place::Node(name.clone()), &node.net, found);
    }
    for (name, pod) in pods(intent.snapshot) {
        of_namespace(intent, &Place::Pod(name.clone()), &pod.net, found);
    }
}

fn of_namespace(intent: &Intent<'_>, place: &Place, net: &NetNs, found: &mut Vec<Deviation>) {
    for qdisc in net.qdiscs.known().into_iter().flatten() {
        if qdisc.is_root() && !USUAL.contains(&qdisc.kind.as_str()) {
            found.push(queue(intent, place, net, qdisc));
        }
    }
    for filter in net.tc_filters.known().into_iter().flatten() {
        let link = devices::name_at(net, filter.link);
        let change = Change::TcFilterRemoved {
            place: place.clone(),
            link: link.clone(),
            direction: filter.direction.clone(),
            priority: filter.priority,
        };
        found.push(Deviation {
            element: Element::tc(place, &link, &filter.direction, filter.priority),
            place: place.clone(),
            aspect: if filter.kind == "bpf" { Aspect::Program } else { Aspect::TcFilter },
            observed: format!("{} filter", filter.kind),
            expected: "no filter".to_owned(),
            basis: Basis::Default,
            source: format!("tc filter show dev {link} {}", filter.direction),
            repair: Repair::one(Action::change(
                change,
                intent.snapshot,
                Risk::Disruptive,
                format!("tc filter show dev {link} {}", filter.direction),
            )),
        });
    }
    for link in net.links.known().into_iter().flatten() {
        let Some(xdp) = &link.xdp else { continue };
        let change = Change::XdpRemoved { place: place.clone(), link: link.name.clone() };
        let verify = format!("ip link show dev {}", link.name);
        found.push(Deviation {
            element: Element::xdp(place, &link.name),
            place: place.clone(),
            aspect: Aspect::Program,
            observed: format!("program {} ({})", xdp.program, xdp.mode),
            expected: "no program".to_owned(),
            basis: Basis::Default,
            source: "ip -d link".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Disruptive, verify)),
        });
    }
    for policy in net.xfrm_policies.known().into_iter().flatten() {
        let change = Change::XfrmPolicyRemoved {
            place: place.clone(),
            index: policy.index,
            direction: policy.direction.clone(),
        };
        let observed = if policy.blocks { "blocks" } else { "present" };
        found.push(Deviation {
            element: Element::xfrm_policy(place, policy.index),
            place: place.clone(),
            aspect: Aspect::Xfrm,
            observed: format!("{observed} {} → {}", policy.source, policy.destination),
            expected: "no policy".to_owned(),
            basis: Basis::Default,
            source: "ip xfrm policy".to_owned(),
            repair: Repair::one(Action::change(change, intent.snapshot, Risk::Disruptive, "ip xfrm policy")),
        });
    }
}

fn queue(intent: &Intent<'_>, place: &Place, net: &NetNs, qdisc: &Qdisc) -> Deviation {
    let link = devices::name_at(net, qdisc.link);
    let change = Change::QdiscRemoved { place: place.clone(), link: link.clone(), parent: "root".to_owned() };
    let limits = qdisc.token_bucket.map_or_else(String::new, |it| {
        format!(" rate {} B/s burst {} B limit {} B", it.rate, it.burst, it.limit)
    });
    Deviation {
        element: Element::qdisc(place, &link, "root"),
        place: place.clone(),
        aspect: Aspect::Queue,
        observed: format!("{}{limits}", qdisc.kind),
        expected: "the kernel's own".to_owned(),
        basis: Basis::Default,
        source: format!("tc qdisc show dev {link}"),
        repair: Repair::one(Action::change(
            change,
            intent.snapshot,
            Risk::Disruptive,
            format!("tc qdisc show dev {link}"),
        )),
    }
}
