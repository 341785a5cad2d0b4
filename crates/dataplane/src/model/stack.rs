//! The network stack of one place, indexed for lookups.

use std::{collections::BTreeMap, net::IpAddr};

use hopwise_netfilter::Ruleset;
use hopwise_snapshot::{
    Address, AddressFlags, Conntrack, FdbEntry, IfIndex, Link, LinkDetail, Mac, Neighbour, NetNs, NodeName,
    Observed, Place, Qdisc, Reason, Socket, SysctlKey, Sysctls, TcFilter, XfrmPolicy,
};

use super::fib::Fib;

/// The network stack of one node or pod.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// Whose stack it is.
    pub(crate) place: Place,
    /// The node that the place is or runs on.
    pub(crate) node: NodeName,
    /// Interfaces.
    pub(crate) links: Observed<BTreeMap<IfIndex, Link>>,
    /// Addresses, in the order in which the kernel looks through them.
    pub(crate) addresses: Observed<Vec<Address>>,
    /// IPv4 routes and rules.
    pub(crate) fib4: Fib,
    /// IPv6 routes and rules.
    pub(crate) fib6: Fib,
    /// Neighbour entries, proxy ones left out.
    pub(crate) neighbours: Observed<BTreeMap<(IfIndex, IpAddr), Neighbour>>,
    /// Addresses that are answered for in a neighbour's stead.
    pub(crate) proxied: Vec<(IfIndex, IpAddr)>,
    /// Forwarding databases.
    pub(crate) fdb: Observed<Vec<FdbEntry>>,
    /// Queueing disciplines.
    pub(crate) qdiscs: Observed<Vec<Qdisc>>,
    /// Traffic control filters.
    pub(crate) tc_filters: Observed<Vec<TcFilter>>,
    /// IPsec policies.
    pub(crate) xfrm_policies: Observed<Vec<XfrmPolicy>>,
    /// Packet filters and translation.
    pub(crate) ruleset: Ruleset,
    /// Connection tracking as a whole.
    pub(crate) conntrack: Conntrack,
    /// Sockets that wait for packets.
    pub(crate) sockets: Observed<Vec<Socket>>,
    /// The namespaces that this one numbers.
    pub(crate) namespaces: Observed<BTreeMap<i32, Place>>,
    sysctls: Observed<Sysctls>,
}

impl Stack {
    /// The stack that the facts describe.
    pub(crate) fn new(place: Place, node: NodeName, facts: &NetNs) -> Self {
        let links = facts.links.clone().map(|all| all.into_iter().map(|it| (it.index, it)).collect());
        let all_neighbours = facts.neighbours.known().map_or(&[][..], Vec::as_slice);
        let proxied = all_neighbours.iter().filter(|it| it.proxy).map(|it| (it.link, it.address)).collect();
        let neighbours = facts.neighbours.clone().map(|all| {
            all.into_iter().filter(|it| !it.proxy).map(|it| ((it.link, it.address), it)).collect()
        });
        Self {
            fib4: Fib::new(&facts.routes, &facts.rules, false),
            fib6: Fib::new(&facts.routes, &facts.rules, true),
            ruleset: Ruleset::parse(&facts.netfilter),
            links,
            addresses: facts.addresses.clone(),
            neighbours,
            proxied,
            fdb: facts.fdb.clone(),
            qdiscs: facts.qdiscs.clone(),
            tc_filters: facts.tc_filters.clone(),
            xfrm_policies: facts.xfrm_policies.clone(),
            conntrack: facts.conntrack.clone(),
            sockets: facts.sockets.clone(),
            namespaces: facts.namespaces.clone(),
            sysctls: facts.sysctls.clone(),
            place,
            node,
        }
    }

    /// The routing state of a family.
    pub(crate) fn fib(&self, is_ipv6: bool) -> &Fib {
        if is_ipv6 { &self.fib6 } else { &self.fib4 }
    }

    /// The interface with this index.
    pub(crate) fn link(&self, index: IfIndex) -> Option<&Link> {
        self.links.known()?.get(&index)
    }

    /// The interface with this name.
    pub(crate) fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.known()?.values().find(|it| it.name == name)
    }

    /// The name of an interface; its number if it is unknown.
    pub(crate) fn link_name(&self, index: IfIndex) -> String {
        self.link(index).map_or_else(|| index.to_string(), |it| it.name.clone())
    }

    /// The loopback interface.
    pub(crate) fn loopback(&self) -> Option<&Link> {
        self.links.known()?.values().find(|it| it.is_loopback())
    }

    /// The ports of a bridge, by index.
    pub(crate) fn ports_of(&self, bridge: IfIndex) -> impl Iterator<Item = &Link> {
        self.links.known().into_iter().flat_map(BTreeMap::values).filter(move |it| it.master == Some(bridge))
    }

    /// The VXLAN device that receives this network on this UDP port in this family.
    pub(crate) fn vxlan_device(&self, vni: u32, port: u16, is_ipv6: bool) -> Option<&Link> {
        self.links.known()?.values().find(|it| match &it.detail {
            LinkDetail::Vxlan(vxlan) => {
                vxlan.vni == vni && vxlan.port == port && it.is_up() && vxlan_is_ipv6(vxlan) == is_ipv6
            }
            _ => false,
        })
    }

    /// Does a VXLAN device receive on this UDP port, whatever its network?
    pub(crate) fn has_vxlan_socket(&self, port: u16, is_ipv6: bool) -> bool {
        self.links.known().into_iter().flat_map(BTreeMap::values).any(|it| match &it.detail {
            LinkDetail::Vxlan(vxlan) => vxlan.port == port && it.is_up() && vxlan_is_ipv6(vxlan) == is_ipv6,
            _ => false,
        })
    }

    /// A switch as a number. Values that are no number are not understood.
    pub(crate) fn switch(&self, key: &SysctlKey) -> Observed<i64> {
        let sysctls = match &self.sysctls {
            Observed::Known(sysctls) => sysctls,
            Observed::Absent => return Observed::Absent,
            Observed::NotCollected(reason) => return Observed::NotCollected(reason.clone()),
        };
        match sysctls.get(key) {
            Observed::Known(text) => match text.trim().parse() {
                Ok(number) => Observed::Known(number),
                Err(_) => Observed::NotCollected(Reason::Failed(format!("`{text}` is not a number"))),
            },
            Observed::Absent => Observed::Absent,
            Observed::NotCollected(reason) => Observed::NotCollected(reason),
        }
    }

    /// The addresses of an interface, first those that are chosen first.
    pub(crate) fn addresses_of(&self, link: IfIndex, is_ipv6: bool) -> impl Iterator<Item = &Address> {
        let all = self.addresses.known().into_iter().flatten();
        all.filter(move |it| it.link == link && it.address.addr().is_ipv6() == is_ipv6)
    }

    /// The interface that holds an address.
    pub(crate) fn holder_of(&self, address: IpAddr) -> Option<&Address> {
        self.addresses.known()?.iter().find(|it| it.address.addr() == address && it.is_usable())
    }

    /// The IPv4 source address for packets that leave by `link` towards `next_hop`.
    ///
    /// Source: `inet_select_addr`, net/ipv4/devinet.c (Linux 6.18).
    pub(crate) fn select_ipv4(&self, link: IfIndex, next_hop: Option<IpAddr>, scope: u8) -> Option<IpAddr> {
        let primary = |it: &&Address| !it.flags.contains(AddressFlags::SECONDARY);
        let own = self.addresses_of(link, false).filter(primary).filter(|it| it.scope <= scope);
        let mut first = None;
        for address in own {
            if next_hop.is_none_or(|it| address.address.contains(&it)) {
                return Some(address.address.addr());
            }
            first = first.or(Some(address.address.addr()));
        }
        if first.is_some() {
            return first;
        }
        let others = self.addresses.known()?.iter().filter(primary).filter(|it| it.address.addr().is_ipv4());
        let usable = others.filter(|it| it.scope != 253 && it.scope <= scope);
        usable.map(|it| it.address.addr()).next()
    }

    /// The IPv6 source address for packets that leave by `link` towards `destination`.
    ///
    /// RFC 6724 §5, rules 2 (scope), 3 (not deprecated), 5 (outgoing interface) and 8 (longest common
    /// prefix), as `ipv6_dev_get_saddr` (net/ipv6/addrconf.c) applies them.
    pub(crate) fn select_ipv6(&self, link: IfIndex, destination: IpAddr) -> Option<IpAddr> {
        let IpAddr::V6(towards) = destination else { return None };
        let is_local = |it: std::net::Ipv6Addr| it.is_unicast_link_local();
        let candidates = self.addresses.known()?.iter().filter_map(|it| match it.address.addr() {
            IpAddr::V6(address) if it.is_usable() && !address.is_loopback() => Some((it, address)),
            _ => None,
        });
        let best = candidates.filter(|(it, address)| !is_local(*address) || it.link == link).max_by_key(
            |(it, address)| {
                let same_scope = is_local(*address) == is_local(towards);
                let preferred = !it.flags.contains(AddressFlags::DEPRECATED);
                let common = (u128::from(*address) ^ u128::from(towards)).leading_zeros();
                (same_scope, preferred, it.link == link, common.min(u32::from(it.address.prefix_len())))
            },
        )?;
        Some(IpAddr::V6(best.1))
    }

    /// Does it answer for others on some interface (`proxy_arp`)?
    pub(crate) fn proxies_for_all(&self) -> bool {
        let Some(sysctls) = self.sysctls.known() else { return true };
        sysctls.values.iter().any(|(key, value)| {
            value.trim() != "0"
                && key.link_and_leaf().is_some_and(|(link, leaf)| leaf == "proxy_arp" && link != "default")
        })
    }

    /// The gateway of the default route by an interface.
    pub(crate) fn gateway(&self, link: IfIndex) -> Option<IpAddr> {
        let defaults = self.fib4.routes.iter().filter(|it| it.destination.prefix_len() == 0);
        let mut hops = defaults.flat_map(|it| &it.next_hops).filter(|it| it.link == Some(link));
        hops.find_map(|it| it.via)
    }

    /// The station of an interface.
    pub(crate) fn mac_of(&self, link: IfIndex) -> Option<Mac> {
        self.link(link)?.mac
    }
}

fn vxlan_is_ipv6(vxlan: &hopwise_snapshot::Vxlan) -> bool {
    vxlan.local.or(vxlan.remote).is_some_and(|it| it.is_ipv6())
}
