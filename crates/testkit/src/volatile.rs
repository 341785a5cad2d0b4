//! What differs between two captures of the same healthy cluster, and what may.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_snapshot::{
    Place, Snapshot,
    facts::{FactKind, facts},
};

/// The facts of a snapshot by their elements' names, without what chance and time decide: Ethernet addresses, the names
/// of veth pairs and the addresses made of them are told by whose they are, numbers and times are left out.
fn lasting(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let names = names(snapshot);
    let mut all = BTreeMap::new();
    for (element, fact) in facts(snapshot) {
        let element = told(&names, element.as_str());
        if fact.kind != FactKind::Passing && !is_by_chance(&element) {
            // Facts of one name are sorted by their texts.
            let text = told(&names, &fact.text);
            let mut parts: Vec<&str> = text.split("; ").collect();
            parts.sort_unstable();
            all.insert(element, parts.join("; "));
        }
    }
    all
}

/// What chance has named, and what stands for it.
fn names(snapshot: &Snapshot) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for place in snapshot.places() {
        let Some(net) = snapshot.net(&place) else { continue };
        let peers = net.namespaces.known();
        for link in net.links.known().into_iter().flatten() {
            let pod = link.lower_nsid.and_then(|it| peers?.get(&it)).filter(|it| it.as_pod().is_some());
            let owner = pod.map_or_else(|| format!("{place} {}", link.name), Place::to_string);
            if pod.is_some() && place.as_node().is_some() {
                names.push((link.name.clone(), format!("{{veth of {owner}}}")));
            }
            let Some(mac) = link.mac.filter(|it| it.0 != [0; 6]) else { continue };
            names.push((mac.to_string(), format!("{{mac of {owner}}}")));
            // The group of its link-local address (RFC 4291 §2.7.1, RFC 2464 §7).
            let [.., a, b, c] = mac.0;
            let group = format!("33:33:ff:{a:02x}:{b:02x}:{c:02x}");
            names.push((group, format!("{{group of {owner}}}")));
            let own = net.addresses.known().into_iter().flatten().filter(|it| it.link == link.index);
            for address in own.filter(|it| it.scope == 253 && it.address.addr().is_ipv6()) {
                let name = format!("{{link-local of {owner}}}");
                names.push((address.address.addr().to_string(), name));
            }
        }
    }
    for slice in snapshot.cluster.endpoint_slices.known().into_iter().flatten() {
        let service = slice.metadata.labels.get("kubernetes.io/service-name").map_or("", String::as_str);
        let stands_for = format!("{{slice of {service} {}}}", slice.address_type);
        names.push((slice.metadata.name.clone(), stands_for));
    }
    for pod in snapshot.cluster.pods.known().into_iter().flatten().filter(|it| it.spec.host_network) {
        let owner = pod.metadata.owner_references.first().map_or("", |it| it.name.as_str());
        let node = pod.spec.node_name.as_deref().unwrap_or("no node");
        names.push((pod.metadata.name.clone(), format!("{{pod of {owner} on {node}}}")));
    }
    names
}

fn told(names: &[(String, String)], text: &str) -> String {
    let text = names.iter().fold(text.to_owned(), |text, (name, stands_for)| text.replace(name, stands_for));
    without(&without(&text, UID, "{uid}"), TIME, "{time}")
}

/// The form of a UID: `h` stands for a hexadecimal digit.
const UID: &str = "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh";
/// The form of a time: `d` stands for a digit.
const TIME: &str = "dddd-dd-ddTdd:dd:ddZ";

/// A text in which whatever has a form is replaced.
fn without(text: &str, form: &str, stands_for: &str) -> String {
    let fits = |part: &[u8]| {
        form.bytes().zip(part).all(|(form, byte)| match form {
            b'h' => byte.is_ascii_hexdigit(),
            b'd' => byte.is_ascii_digit(),
            other => *byte == other,
        })
    };
    let (mut all, mut rest) = (String::new(), text);
    while let Some(at) = rest.as_bytes().windows(form.len()).position(fits) {
        all.push_str(&rest[..at]);
        all.push_str(stands_for);
        rest = &rest[at + form.len()..];
    }
    all + rest
}

/// Is the fact of this element another each time?
fn is_by_chance(element: &str) -> bool {
    // A node's annotations hold the Ethernet address of its tunnel, which is compared at the link.
    let holds_mac = element.starts_with("cluster/node/") && element.ends_with("/metadata.annotations");
    // In a user namespace of its own a network namespace does not show these (`xfrm_sysctl_init`, `ipv6_route_sysctl_init`),
    // and gives the groups by its own numbers.
    let is_hidden =
        ["/sysctl/net.core.xfrm_", "/sysctl/net.ipv6.route.", "/sysctl/net.ipv4.ping_group_range"];
    // Labs run on the kernel that the machine has.
    let is_of_machine = element.ends_with("/netns") || element.ends_with("/kernel");
    // Conditions say when they changed, and long texts are told by a hash; containers' readiness is compared by itself.
    let holds_time = element.ends_with("/status.conditions");
    holds_mac || holds_time || is_of_machine || is_hidden.iter().any(|it| element.contains(it))
}

/// What two captures have differently, one line each; empty where only chance and time are between them.
pub fn differences(one: &Snapshot, other: &Snapshot) -> Vec<String> {
    let (one, other) = (lasting(one), lasting(other));
    let elements: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let of = |facts: &BTreeMap<String, String>, element: &String| {
        facts.get(element).map_or_else(|| "(none)".to_owned(), Clone::clone)
    };
    let differing = elements.into_iter().filter(|it| one.get(*it) != other.get(*it));
    differing.map(|it| format!("{it}: {} | {}", of(&one, it), of(&other, it))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base;

    #[test]
    fn a_form_is_found_anywhere() {
        let text = "a 2026-11-21T15:18:43Z b 2026-11-21T15:18:43Z 2026-1";
        assert_eq!(without(text, TIME, "{time}"), "a {time} b {time} 2026-1");
        assert_eq!(without("x49d759b3-1132-497f-a756-1b94e53db68dx", UID, "{uid}"), "x{uid}x");
    }

    #[test]
    fn what_somebody_changed_is_told() {
        let base = base("vxlan").unwrap();
        assert_eq!(differences(&base, &base), Vec::<String>::new());
        let mut other = base.clone();
        let key = hopwise_snapshot::SysctlKey::from_dotted("net.ipv4.ip_forward");
        let sysctls = &mut other.net_mut(&Place::node("w1")).unwrap().sysctls;
        sysctls.known_mut().unwrap().values.insert(key, "0".to_owned());
        assert_eq!(differences(&base, &other), ["node/w1/sysctl/net.ipv4.ip_forward: 1 | 0"]);
    }
}
