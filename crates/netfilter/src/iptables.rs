//! The texts of `iptables-save`, `ip6tables-save` and `arptables-save`.

mod arptables;
mod emit;
mod parse;
pub(crate) mod words;

pub use arptables::{emit as emit_arp, parse as parse_arp};
pub use emit::emit;
pub use parse::parse;

use crate::{BaseChain, Family, Hook, Kind, Policy};

/// Where the kernel hangs a built-in chain of iptables: table, chain, kind and priority
/// (`NF_IP_PRI_*`, include/uapi/linux/netfilter_ipv4.h; `xtables_ipv4`, iptables/nft.c).
const BUILT_IN: [(&str, &str, Hook, Kind, i32); 18] = [
    ("raw", "PREROUTING", Hook::Prerouting, Kind::Filter, -300),
    ("raw", "OUTPUT", Hook::Output, Kind::Filter, -300),
    ("mangle", "PREROUTING", Hook::Prerouting, Kind::Filter, -150),
    ("mangle", "INPUT", Hook::Input, Kind::Filter, -150),
    ("mangle", "FORWARD", Hook::Forward, Kind::Filter, -150),
    // Routes anew what it changed, in both back ends.
    ("mangle", "OUTPUT", Hook::Output, Kind::Route, -150),
    ("mangle", "POSTROUTING", Hook::Postrouting, Kind::Filter, -150),
    ("nat", "PREROUTING", Hook::Prerouting, Kind::Nat, -100),
    ("nat", "INPUT", Hook::Input, Kind::Nat, 100),
    ("nat", "OUTPUT", Hook::Output, Kind::Nat, -100),
    ("nat", "POSTROUTING", Hook::Postrouting, Kind::Nat, 100),
    ("filter", "INPUT", Hook::Input, Kind::Filter, 0),
    ("filter", "FORWARD", Hook::Forward, Kind::Filter, 0),
    ("filter", "OUTPUT", Hook::Output, Kind::Filter, 0),
    ("security", "INPUT", Hook::Input, Kind::Filter, 50),
    ("security", "FORWARD", Hook::Forward, Kind::Filter, 50),
    ("security", "OUTPUT", Hook::Output, Kind::Filter, 50),
    ("broute", "BROUTING", Hook::Prerouting, Kind::Filter, -1),
];

/// The place of a built-in chain; none for a name that iptables builds nothing in by.
pub(crate) fn built_in(family: Family, table: &str, chain: &str, policy: Policy) -> Option<BaseChain> {
    let (.., hook, kind, priority) = BUILT_IN
        .iter()
        .find(|(its_table, its_chain, ..)| *its_table == table && *its_chain == chain)
        .filter(|(its_table, ..)| family != Family::Arp || *its_table == "filter")?;
    Some(BaseChain {
        kind: *kind,
        hook: *hook,
        priority: *priority,
        policy,
        devices: Vec::new(),
        counters: None,
    })
}
