//! Interfaces, bridges, tunnels and addresses.

use hopwise_snapshot::{
    Address, AddressFlags, Bridge, BridgePort, Element, Link, LinkDetail, LinkFlags, NetNs, Scope, Vxlan,
};

use super::{LINK_ASPECTS, Restoring};
use crate::{Change, inverse::name_of};

impl Restoring<'_> {
    pub(super) fn links(&mut self) {
        let (Some(now), Some(wanted)) = (self.now.links.known(), self.wanted.links.known()) else { return };
        // A pair has its other end in a pod: whoever makes the pod makes it.
        let is_own = |it: &&Link| it.kind != "veth" && self.wanted.link(&it.name).is_none();
        for link in now.iter().filter(is_own) {
            let elements = LINK_ASPECTS.map(|it| Element::link_aspect(self.place, &link.name, it));
            if elements.iter().any(|it| self.open.contains(it)) {
                self.change(&Change::LinkRemoved { place: self.place.clone(), link: link.name.clone() });
                self.forget(&link.name);
            }
        }
        for link in wanted {
            match self.now.link(&link.name) {
                Some(now) => self.link(now, link),
                None => self.missing(link),
            }
        }
        self.addresses();
    }

    /// Everything of an interface counts as done: it goes with it.
    fn forget(&mut self, link: &str) {
        self.open.retain(|it| !is_of(it, &["link", "tunnel", "bridge", "neigh", "fdb"], link));
    }

    fn missing(&mut self, link: &Link) {
        let LinkDetail::Vxlan(vxlan) = &link.detail else { return };
        if self.open.contains(&Element::link_aspect(self.place, &link.name, "kind")) {
            self.make_tunnel(link, vxlan);
        }
    }

    /// Makes a tunnel device; what hangs on it differs until the next reading.
    fn make_tunnel(&mut self, link: &Link, vxlan: &Vxlan) {
        let words = tunnel_words(self.wanted, link, vxlan);
        self.run(words);
        let (place, name) = (self.place.clone(), link.name.clone());
        if let Some(master) = link.master.and_then(|it| name_of(self.wanted, it)) {
            let master = Some(master);
            self.change(&Change::LinkMaster { place: place.clone(), link: name.clone(), master });
        }
        if link.is_up() {
            self.change(&Change::LinkUp { place, link: name, up: true });
        }
        self.forget(&link.name);
    }

    fn link(&mut self, now: &Link, link: &Link) {
        let name = &link.name;
        if let LinkDetail::Vxlan(vxlan) = &link.detail
            && self.open.iter().any(|it| is_of(it, &["tunnel"], name))
        {
            self.run(["ip", "link", "del", "dev", name]);
            return self.make_tunnel(link, vxlan);
        }
        let takes = |this: &mut Self, aspect| this.takes(&Element::link_aspect(this.place, name, aspect));
        let (place, link_name) = (self.place.clone(), name.clone());
        if takes(self, "master") {
            let master = link.master.and_then(|it| name_of(self.wanted, it));
            self.change(&Change::LinkMaster { place: place.clone(), link: link_name.clone(), master });
        }
        if takes(self, "mac")
            && let Some(mac) = link.mac
        {
            self.change(&Change::LinkMac { place: place.clone(), link: link_name.clone(), mac });
        }
        if takes(self, "mtu") {
            self.change(&Change::LinkMtu { place: place.clone(), link: link_name.clone(), mtu: link.mtu });
        }
        if takes(self, "arp") {
            let on = !link.flags.contains(LinkFlags::NOARP);
            self.change(&Change::LinkArp { place: place.clone(), link: link_name.clone(), on });
        }
        if let (LinkDetail::Bridge(_), LinkDetail::Bridge(bridge)) = (&now.detail, &link.detail) {
            self.bridge(name, bridge);
        }
        if let (Some(port), Some(master)) = (&link.port, link.master)
            && let Some(master) = name_of(self.wanted, master)
        {
            self.port(&master, name, port, now.port.is_some() && now.master.is_some());
        }
        if takes(self, "up") {
            self.change(&Change::LinkUp { place, link: link_name, up: link.is_up() });
        }
    }

    fn bridge(&mut self, name: &str, bridge: &Bridge) {
        let number = |it: bool| if it { "1" } else { "0" }.to_owned();
        // The kernel counts in hundredths of a second (`IFLA_BR_AGEING_TIME`).
        let ageing = u64::from(bridge.ageing_seconds) * 100;
        let attributes = [
            ("vlan_filtering", "vlan_filtering", number(bridge.vlan_filtering)),
            ("stp", "stp_state", number(bridge.stp)),
            ("nf_call_iptables", "nf_call_iptables", number(bridge.nf_call_iptables)),
            ("nf_call_ip6tables", "nf_call_ip6tables", number(bridge.nf_call_ip6tables)),
            ("nf_call_arptables", "nf_call_arptables", number(bridge.nf_call_arptables)),
            ("mcast_snooping", "mcast_snooping", number(bridge.multicast_snooping)),
            ("mcast_querier", "mcast_querier", number(bridge.multicast_querier)),
            ("ageing", "ageing_time", ageing.to_string()),
        ];
        for (attribute, word, value) in attributes {
            let parts = ["bridge", name, attribute];
            if self.takes(&Element::new(&Scope::Place(self.place.clone()), parts)) {
                self.run(["ip", "link", "set", "dev", name, "type", "bridge", word, &value]);
            }
        }
    }

    /// A port that is none now gets the rest in the next round.
    fn port(&mut self, bridge: &str, name: &str, port: &BridgePort, is_port: bool) {
        let on = |it: bool| if it { "on" } else { "off" };
        let attributes = [
            ("hairpin", on(port.hairpin)),
            ("isolated", on(port.isolated)),
            ("learning", on(port.learning)),
            ("flood", on(port.flood)),
            ("mcast_flood", on(port.multicast_flood)),
            ("bcast_flood", on(port.broadcast_flood)),
            ("neigh_suppress", on(port.neighbour_suppression)),
            ("locked", on(port.locked)),
            ("guard", on(port.guard)),
            ("state", port.state.word()),
        ];
        for (attribute, value) in attributes {
            let is_wanted = self.takes(&Element::bridge_port(self.place, bridge, name, attribute));
            if is_wanted && is_port {
                self.change(&Change::BridgePort {
                    place: self.place.clone(),
                    port: name.to_owned(),
                    attribute: attribute.to_owned(),
                    value: value.to_owned(),
                });
            }
        }
    }

    fn addresses(&mut self) {
        let (Some(now), Some(wanted)) = (self.now.addresses.known(), self.wanted.addresses.known()) else {
            return;
        };
        for address in now {
            let Some(link) = name_of(self.now, address.link) else { continue };
            let element = Element::address(self.place, &link, &address.address);
            if self.open.contains(&element) {
                let (place, address) = (self.place.clone(), address.address);
                self.change(&Change::AddressRemoved { place, link, address });
                if !wanted.iter().any(|it| it.address == address) {
                    self.takes(&element);
                }
            }
        }
        for address in wanted {
            let Some(link) = name_of(self.wanted, address.link) else { continue };
            let is_there = self.now.link(&link).is_some();
            if is_there && self.takes(&Element::address(self.place, &link, &address.address)) {
                self.add_address(&link, address);
            }
        }
    }

    fn add_address(&mut self, link: &str, address: &Address) {
        let (own, scope) = (address.address.to_string(), address.scope.to_string());
        let broadcast = address.broadcast.map(|it| it.to_string());
        let mut words = vec!["ip", "addr", "add", &own];
        if let Some(broadcast) = &broadcast {
            words.extend(["brd", broadcast]);
        }
        words.extend(["dev", link, "scope", &scope]);
        let flags = [(AddressFlags::NODAD, "nodad"), (AddressFlags::NOPREFIXROUTE, "noprefixroute")];
        words.extend(flags.iter().filter(|(it, _)| address.flags.contains(*it)).map(|(_, word)| *word));
        self.run(words);
    }
}

/// Is an element one of these kinds of an interface?
fn is_of(element: &Element, kinds: &[&str], link: &str) -> bool {
    matches!(element.parts().as_slice(), [kind, name, ..] if kinds.contains(&kind.as_str()) && name == link)
}

/// The words that make a tunnel device of these settings in place of `link`.
pub fn tunnel_words(net: &NetNs, link: &Link, vxlan: &Vxlan) -> Vec<String> {
    let mut words =
        ["ip", "link", "add", &link.name, "mtu", &link.mtu.to_string()].map(str::to_owned).to_vec();
    let mut with = |word: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|it| [word.to_owned(), it]));
    };
    with("address", link.mac.map(|it| it.to_string()));
    with("type", Some("vxlan".to_owned()));
    with("id", Some(vxlan.vni.to_string()));
    with("dstport", Some(vxlan.port.to_string()));
    with("local", vxlan.local.map(|it| it.to_string()));
    with("remote", vxlan.remote.map(|it| it.to_string()));
    with("dev", vxlan.lower.and_then(|it| name_of(net, it)));
    with("ttl", (vxlan.ttl != 0).then(|| vxlan.ttl.to_string()));
    with("df", (vxlan.df != "unset").then(|| vxlan.df.clone()));
    words.push(if vxlan.learning { "learning" } else { "nolearning" }.to_owned());
    words.extend(vxlan.external.then(|| "external".to_owned()));
    words
}
