//! Names of interfaces and what a namespace holds of them.

use hopwise_snapshot::{Element, IPV6_MIN_MTU, IfIndex, Link, NetNs, Place, SysctlKey};

/// The interface with this index.
pub(crate) fn link_at(net: &NetNs, index: IfIndex) -> Option<&Link> {
    net.links.known()?.iter().find(|it| it.index == index)
}

/// The name of an interface; its number if there is none of that number.
pub(crate) fn name_at(net: &NetNs, index: IfIndex) -> String {
    link_at(net, index).map_or_else(|| index.to_string(), |it| it.name.clone())
}

/// Is this the node's end of a pod's veth pair?
pub(crate) fn is_veth_of_pod(net: &NetNs, link: &Link) -> bool {
    let Some(nsid) = link.lower_nsid else { return false };
    let place = net.namespaces.known().and_then(|it| it.get(&nsid));
    link.kind == "veth" && matches!(place, Some(Place::Pod(_)))
}

/// The name of a link's aspect.
pub(crate) fn aspect(place: &Place, link: &str, aspect: &str) -> Element {
    Element::link_aspect(place, link, aspect)
}

/// Can the interface hold addresses and routes of a family? One that is switched off loses those of IPv6, and those
/// over it are its own matter.
pub(super) fn takes(net: &NetNs, link: &Link, is_ipv6: bool) -> bool {
    let key = SysctlKey::of_link(true, &link.name, "disable_ipv6");
    let is_off = || net.sysctls.known().is_some_and(|it| it.values.get(&key).is_some_and(|it| it != "0"));
    link.is_up() && !(is_ipv6 && (link.mtu < IPV6_MIN_MTU || is_off()))
}
