//! What rules ask of the rest of the kernel.

use std::net::IpAddr;

use hopwise_snapshot::{Observed, RouteKind};

use crate::{RuleRef, View};

/// The rest of the kernel, as far as rules ask for it, and the decisions that no state settles.
///
/// Whoever traces a packet implements it over a snapshot. A question that the snapshot cannot answer is
/// answered [`Observed::NotCollected`], and the rule that asked becomes a matter for
/// [`Surroundings::unknown`].
pub trait Surroundings {
    /// What kind of address `address` is to this host, with `limit` as far as that device is concerned
    /// (`-m addrtype`, `fib daddr type`).
    ///
    /// IPv4: the type of its entry in the table `local`, [`RouteKind::Unicast`] where there is none or where
    /// the entry is another device's (`inet_dev_addr_type`, net/ipv4/fib_frontend.c). The addresses that are
    /// broadcast or multicast by themselves are not asked for. IPv6: local or anycast by its route, without
    /// `limit`; with it, local if the device holds it (`ipv6_chk_addr`); else the route's rejection
    /// ([`RouteKind::Unreachable`], [`RouteKind::Blackhole`], [`RouteKind::Prohibit`]); else
    /// [`RouteKind::Unicast`] (`match_lookup_rt6`, net/netfilter/xt_addrtype.c). [`Observed::Absent`]: there
    /// is no route at all.
    fn address_kind(&self, address: IpAddr, limit: Option<&str>) -> Observed<RouteKind>;

    /// Would an answer to the packet leave by the device that it came in by (`-m rpfilter`,
    /// net/ipv4/netfilter/ipt_rpfilter.c)?
    fn reverse_path(&self, view: &View<'_>, flags: ReversePath) -> Observed<bool>;

    /// By which device a lookup ends (`fib daddr oif`, `fib saddr . iif oif`; `nft_fib4_eval`,
    /// net/ipv4/netfilter/nft_fib_ipv4.c). [`Observed::Absent`] where there is no route, where it is local,
    /// or where it does not use the device asked for.
    fn route_output(&self, query: &RouteQuery<'_>) -> Observed<RouteDevice>;

    /// The local socket that the packet belongs to (`-m socket`, `socket` of nft).
    /// [`Observed::Absent`]: there is none.
    fn socket(&self, view: &View<'_>) -> Observed<FoundSocket> {
        let _ = view;
        Observed::default()
    }

    /// The socket that listens at an address and port of this host, or would take the packet that is sent
    /// there (`TPROXY`, `tproxy` of nft). No address means the input device's, no port the packet's own.
    /// [`Observed::Absent`]: nobody listens.
    fn listener(&self, view: &View<'_>, address: Option<IpAddr>, port: Option<u16>) -> Observed<FoundSocket> {
        let _ = (view, address, port);
        Observed::default()
    }

    /// The route that the packet itself was given (`rt` of nft, `-m realm`, `-m policy --dir out`).
    /// [`Observed::Absent`]: it has none yet.
    fn route(&self, view: &View<'_>) -> Observed<PacketRoute> {
        let _ = view;
        Observed::default()
    }

    /// One of several outcomes that chance or a hash decides, each with its probability (they sum to 1).
    /// The answer is an index into `weights`; a larger one is taken for the last.
    ///
    /// For a match that holds by chance the outcomes are [it holds, it does not].
    fn choose(&mut self, weights: &[f64], rule: RuleRef) -> usize;

    /// Whether to follow a rule as matching, when nothing settles it. `why` names what is not known.
    ///
    /// Asked at most once for each group of matches of a rule, and only if everything that is known of them
    /// holds. For a target that is not understood, "no" means to go on with the next rule and "yes" too: it
    /// is asked so that whoever traces can note it.
    fn unknown(&mut self, rule: RuleRef, why: &str) -> bool;
}

/// The flags of a reverse path check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReversePath {
    /// Is any device good enough (`--loose`)?
    pub loose: bool,
    /// Does the packet's mark take part in the lookup (`--validmark`)?
    pub with_mark: bool,
    /// Are local source addresses fine (`--accept-local`)?
    pub accept_local: bool,
}

/// A lookup in the routing tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteQuery<'q> {
    /// The address to look up as destination.
    pub destination: IpAddr,
    /// The address at the other end, as source.
    pub source: IpAddr,
    /// The mark to look up with; none takes no part.
    pub mark: Option<u32>,
    /// The device that the route must use.
    pub through: Option<&'q str>,
    /// Type of service.
    pub tos: u8,
}

/// Where a lookup ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteDevice {
    /// The device's name.
    pub name: String,
    /// Its index, where it is known.
    pub index: Option<u32>,
}

/// A socket that a packet was found to belong to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundSocket {
    /// Does it take packets for addresses that are not local (`IP_TRANSPARENT`)?
    pub transparent: bool,
    /// Is it bound to any address?
    pub wildcard: bool,
    /// Its mark.
    pub mark: u32,
}

/// A packet's own route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRoute {
    /// The next hop, or the destination where that is on the link.
    pub next_hop: IpAddr,
    /// The realms of the route (`dst->tclassid`): source in the upper half, destination in the lower.
    pub class_id: u32,
    /// The largest segment that fits its path, in bytes.
    pub tcp_mss: u16,
    /// Does it lead through an IPsec transform?
    pub is_transformed: bool,
}
