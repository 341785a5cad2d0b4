//! Queues of interfaces.

use hopwise_snapshot::Element;

use crate::fault::{Fault, Kind, Scene};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "a queue takes only small packets", make: token_bucket },
    Kind { name: "a queue takes nothing", make: blackhole },
    Kind { name: "a pod's queue takes nothing", make: of_veth },
];

fn token_bucket(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let burst = scene.dice.u32(1000..1250);
    let command = format!("tc qdisc replace dev {link} root tbf rate 1gbit burst {burst} limit 1mb");
    Some(Fault::new(&place, command, Element::qdisc(&place, &link, "root")))
}

fn blackhole(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let command = format!("tc qdisc replace dev {link} root blackhole");
    Some(Fault::new(&place, command, Element::qdisc(&place, &link, "root")))
}

fn of_veth(scene: &mut Scene<'_>) -> Option<Fault> {
    let (_, place, veth) = scene.at_veth();
    let command = format!("tc qdisc replace dev {veth} root blackhole");
    Some(Fault::new(&place, command, Element::qdisc(&place, &veth, "root")))
}
