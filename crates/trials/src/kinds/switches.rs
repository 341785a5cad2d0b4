//! Kernel switches of nodes.

use hopwise_snapshot::{Element, SysctlKey};

use crate::fault::{Fault, Kind, Scene};

pub(super) static KINDS: &[Kind] = &[
    Kind { name: "global forwarding off", make: global_forwarding },
    Kind { name: "an interface's forwarding off", make: forwarding },
    Kind { name: "bridged packets pass no iptables", make: bridge_nf },
    Kind { name: "strict reverse path", make: reverse_path },
    Kind { name: "ARP is ignored", make: arp_ignore },
    Kind { name: "packets live one hop", make: time_to_live },
    Kind { name: "echo requests are ignored", make: no_echo },
    Kind { name: "IPv6 off on an interface", make: no_ipv6 },
];

fn set(scene: &mut Scene<'_>, key: &str, value: &str) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let key = SysctlKey::from_dotted(key);
    net.sysctls.known()?.values.get(&key)?;
    let command = format!("printf {value} > /proc/sys/{}", key.path());
    Some(Fault::new(&place, command, Element::sysctl(&place, &key)))
}

fn set_of_link(scene: &mut Scene<'_>, is_ipv6: bool, leaf: &str, value: &str) -> Option<Fault> {
    let (_, place, net) = scene.at_node();
    let link = scene.interface(net);
    let key = SysctlKey::of_link(is_ipv6, &link, leaf);
    net.sysctls.known()?.values.get(&key)?;
    let command = format!("printf {value} > /proc/sys/{}", key.path());
    Some(Fault::new(&place, command, Element::sysctl(&place, &key)))
}

fn global_forwarding(scene: &mut Scene<'_>) -> Option<Fault> {
    if scene.is_ipv6() {
        return set(scene, "net.ipv6.conf.all.forwarding", "0");
    }
    set(scene, "net.ipv4.ip_forward", "0")
}

fn forwarding(scene: &mut Scene<'_>) -> Option<Fault> {
    set_of_link(scene, false, "forwarding", "0")
}

fn bridge_nf(scene: &mut Scene<'_>) -> Option<Fault> {
    set(scene, "net.bridge.bridge-nf-call-iptables", "0")
}

fn reverse_path(scene: &mut Scene<'_>) -> Option<Fault> {
    set_of_link(scene, false, "rp_filter", "1")
}

fn arp_ignore(scene: &mut Scene<'_>) -> Option<Fault> {
    set_of_link(scene, false, "arp_ignore", "8")
}

fn time_to_live(scene: &mut Scene<'_>) -> Option<Fault> {
    set(scene, "net.ipv4.ip_default_ttl", "1")
}

fn no_echo(scene: &mut Scene<'_>) -> Option<Fault> {
    set(scene, "net.ipv4.icmp_echo_ignore_all", "1")
}

fn no_ipv6(scene: &mut Scene<'_>) -> Option<Fault> {
    scene.is_ipv6().then(|| set_of_link(scene, true, "disable_ipv6", "1"))?
}
