//! Which base chains see a packet, and in which order.

use crate::{BaseChain, Chain, Family, Hook, Kind, Missing, Origin, Ruleset, Source, Table};

/// What kind of packet passes a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// IPv4, also bridged with `br_netfilter`.
    Ip4,
    /// IPv6, likewise.
    Ip6,
    /// ARP, likewise.
    Arp,
    /// A frame inside a bridge.
    Bridge,
    /// A frame at a device.
    Netdev,
}

/// A base chain of a hook.
#[derive(Clone, Copy, Debug)]
pub struct HookEntry<'r> {
    /// Its table.
    pub table: &'r Table,
    /// The chain.
    pub chain: &'r Chain,
    /// What kind of decisions it makes.
    pub kind: Kind,
    /// Where among everything that hangs at the hook the kernel runs it. For [`Kind::Nat`] this is not what
    /// the chain says: see [`Ruleset::hooks`].
    pub priority: i32,
    /// Is its order against a neighbour of equal priority a guess?
    pub is_tied: bool,
    /// Is it not known whether the chain hangs at this device? Then [`Ruleset::run`] asks
    /// [`crate::Surroundings::unknown`] first.
    pub is_device_unknown: bool,
    /// Which kind of packet it is asked for.
    pub layer: Layer,
    /// The hook.
    pub hook: Hook,
    pub(crate) table_at: usize,
    pub(crate) chain_at: usize,
}

impl HookEntry<'_> {
    fn base(&self) -> Option<&BaseChain> {
        self.chain.base.as_ref()
    }
}

/// Where the kernel runs destination translation (`NF_IP_PRI_NAT_DST`).
const NAT_DESTINATION: i32 = -100;
/// Where the kernel runs source translation (`NF_IP_PRI_NAT_SRC`).
const NAT_SOURCE: i32 = 100;

impl Ruleset {
    /// The base chains of a hook that see packets of this kind, in the order in which the kernel runs them.
    /// `device` is the device that the packet comes from or goes to; only hooks that belong to devices look
    /// at it.
    ///
    /// Lower priorities run first; of equal ones the chain that was registered later
    /// (`nf_hook_entries_grow`, net/netfilter/core.c). Nobody lists when that was: here, among chains of
    /// nf_tables, the one with the higher table handle, then the higher chain handle, is taken for the later;
    /// chains of the xtables back end, which is set up once and then kept, for the earliest.
    /// [`HookEntry::is_tied`] says where this is a guess.
    ///
    /// All chains of [`Kind::Nat`] hang at one place of the hook, whatever their own priority says: at -100
    /// for prerouting and output, at 100 for input and postrouting (`nf_nat_register_fn`,
    /// net/netfilter/nf_nat_core.c). There they run in the order of their own priorities, only for packets
    /// without a connection entry that translation was decided for, and up to the first that translates.
    pub fn hooks(&self, seen_by: Layer, hook: Hook, device: Option<&str>) -> Vec<HookEntry<'_>> {
        let mut entries: Vec<HookEntry<'_>> = Vec::new();
        for (table_at, table) in self.tables.iter().enumerate() {
            if table.dormant || !serves(table.family, seen_by, hook) {
                continue;
            }
            for (chain_at, chain) in table.chains.iter().enumerate() {
                let Some(base) = &chain.base else { continue };
                if base.hook != hook || !sees_device(base, seen_by, device) {
                    continue;
                }
                entries.push(HookEntry {
                    table,
                    chain,
                    kind: base.kind,
                    priority: effective_priority(base),
                    is_tied: false,
                    is_device_unknown: seen_by == Layer::Netdev && base.devices.is_empty(),
                    layer: seen_by,
                    hook,
                    table_at,
                    chain_at,
                });
            }
        }
        entries.sort_by_key(order);
        mark_ties(&mut entries);
        entries
    }

    /// The base chains of a hook that belongs to devices whose devices the listing does not say: whose packets
    /// they see is not known, and [`Self::hooks`] leaves them out.
    pub fn without_devices(&self, hook: Hook) -> impl Iterator<Item = (&Table, &Chain)> {
        let tables =
            self.tables.iter().filter(move |it| !it.dormant && serves(it.family, Layer::Netdev, hook));
        tables.flat_map(move |table| {
            let is_unsaid = move |it: &&Chain| {
                it.base.as_ref().is_some_and(|base| base.hook == hook && base.devices.is_empty())
            };
            table.chains.iter().filter(is_unsaid).map(move |chain| (table, chain))
        })
    }

    /// What was not read and may hold base chains of this hook: with any of these, "no rule drops it" is not
    /// known.
    pub fn missing_at(&self, layer: Layer, hook: Hook) -> impl Iterator<Item = &Missing> {
        let has_legacy = !matches!(hook, Hook::Ingress | Hook::Egress);
        self.missing.iter().filter(move |it| match it.source {
            Source::Nft => true,
            Source::IptablesLegacy => layer == Layer::Ip4 && has_legacy,
            Source::Ip6tablesLegacy => layer == Layer::Ip6 && has_legacy,
            Source::ArptablesLegacy => {
                layer == Layer::Arp && matches!(hook, Hook::Input | Hook::Output | Hook::Forward)
            }
            // Their rules are in the nft listing as well, and their sets are asked rule by rule.
            Source::IptablesNft | Source::Ip6tablesNft | Source::Ipset => false,
        })
    }
}

/// Does a table of this family see packets of this kind at this hook?
fn serves(family: Family, layer: Layer, hook: Hook) -> bool {
    match (family, layer) {
        (Family::Ip, Layer::Ip4)
        | (Family::Ip6, Layer::Ip6)
        | (Family::Arp, Layer::Arp)
        | (Family::Bridge, Layer::Bridge)
        | (Family::Netdev, Layer::Netdev) => true,
        (Family::Inet, Layer::Ip4 | Layer::Ip6) => hook != Hook::Ingress,
        // The ingress hook of inet tables hangs at the device.
        (Family::Inet, Layer::Netdev) => hook == Hook::Ingress,
        _ => false,
    }
}

fn sees_device(base: &BaseChain, layer: Layer, device: Option<&str>) -> bool {
    if layer != Layer::Netdev {
        return true;
    }
    let Some(device) = device else { return false };
    base.devices.is_empty()
        || base.devices.iter().any(|it| match it.strip_suffix('*') {
            Some(beginning) => device.starts_with(beginning),
            None => it == device,
        })
}

fn effective_priority(base: &BaseChain) -> i32 {
    match (base.kind, base.hook) {
        (Kind::Nat, Hook::Prerouting | Hook::Output) => NAT_DESTINATION,
        (Kind::Nat, Hook::Input | Hook::Postrouting) => NAT_SOURCE,
        _ => base.priority,
    }
}

/// What entries are sorted by: see [`Ruleset::hooks`].
fn order(entry: &HookEntry<'_>) -> (i32, bool, i32, bool, std::cmp::Reverse<(u64, u64)>) {
    let own = entry.base().map_or(0, |it| it.priority);
    let is_nat = entry.kind == Kind::Nat;
    let handles = (entry.table.handle.unwrap_or(0), entry.chain.handle.unwrap_or(0));
    (entry.priority, is_nat, own, is_legacy(entry.table), std::cmp::Reverse(handles))
}

fn is_legacy(table: &Table) -> bool {
    matches!(table.origin, Origin::IptablesLegacy | Origin::ArptablesLegacy)
}

fn mark_ties(entries: &mut [HookEntry<'_>]) {
    for at in 1..entries.len() {
        let (left, right) = (&entries[at - 1], &entries[at]);
        let is_equal = left.priority == right.priority
            && left.kind.eq(&Kind::Nat) == right.kind.eq(&Kind::Nat)
            && left.base().map(|it| it.priority) == right.base().map(|it| it.priority);
        // Chains of one table are registered in the order of their handles.
        let is_known = left.table_at == right.table_at;
        let is_beside_nat =
            left.priority == right.priority && (left.kind == Kind::Nat) != (right.kind == Kind::Nat);
        if (is_equal && !is_known) || is_beside_nat {
            entries[at - 1].is_tied = true;
            entries[at].is_tied = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Policy, iptables};

    fn chain(name: &str, kind: Kind, hook: Hook, priority: i32) -> Chain {
        let policy = Policy::Accept;
        let base = BaseChain { kind, hook, priority, policy, devices: Vec::new(), counters: None };
        Chain::new(name, Some(base))
    }

    fn table(family: Family, name: &str, handle: u64, chains: Vec<Chain>) -> Table {
        let mut table = Table::new(Origin::Nft, family, name);
        table.handle = Some(handle);
        for (at, mut chain) in chains.into_iter().enumerate() {
            chain.handle = Some(at as u64 + 1);
            table.chains.insert(chain);
        }
        table
    }

    fn names(ruleset: &Ruleset, layer: Layer, hook: Hook) -> Vec<String> {
        let entries = ruleset.hooks(layer, hook, Some("eth0"));
        let tie = |it: &HookEntry<'_>| if it.is_tied { "?" } else { "" };
        entries.iter().map(|it| format!("{} {}{}", it.table.name, it.priority, tie(it))).collect()
    }

    #[test]
    fn legacy_and_nft_run_side_by_side_by_priority() {
        let text = "*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT
*mangle\n:PREROUTING ACCEPT [0:0]\nCOMMIT
*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT
";
        let (mut tables, _) = iptables::parse(text, Source::IptablesLegacy);
        let hook = Hook::Prerouting;
        tables.push(table(Family::Ip, "early", 1, vec![chain("c", Kind::Filter, hook, -200)]));
        tables.push(table(Family::Inet, "late", 2, vec![chain("c", Kind::Filter, hook, -50)]));
        tables.push(table(Family::Ip6, "six", 3, vec![chain("c", Kind::Filter, hook, 0)]));
        let ruleset = Ruleset { tables, ..Ruleset::default() };
        assert_eq!(
            names(&ruleset, Layer::Ip4, hook),
            ["raw -300", "early -200", "mangle -150", "nat -100", "late -50"]
        );
        assert_eq!(names(&ruleset, Layer::Ip6, hook), ["late -50", "six 0"]);
        assert_eq!(names(&ruleset, Layer::Arp, hook), Vec::<String>::new());
    }

    #[test]
    fn of_equal_priorities_the_later_table_runs_first() {
        let hook = Hook::Forward;
        let later = || chain("c", Kind::Filter, hook, 0);
        let tables = vec![
            table(Family::Ip, "old", 1, vec![later()]),
            table(Family::Inet, "new", 7, vec![chain("a", Kind::Filter, hook, 0), later()]),
        ];
        let ruleset = Ruleset { tables, ..Ruleset::default() };
        let entries = ruleset.hooks(Layer::Ip4, hook, None);
        let found: Vec<(&str, &str, bool)> =
            entries.iter().map(|it| (it.table.name.as_str(), it.chain.name.as_str(), it.is_tied)).collect();
        assert_eq!(found, [("new", "c", false), ("new", "a", true), ("old", "c", true)]);
    }

    #[test]
    fn translation_runs_at_its_own_place_whatever_its_chains_say() {
        let hook = Hook::Prerouting;
        let tables = vec![
            table(Family::Ip, "nat-first", 1, vec![chain("c", Kind::Nat, hook, -300)]),
            table(Family::Ip, "filter", 2, vec![chain("c", Kind::Filter, hook, -110)]),
            table(Family::Ip, "nat-later", 3, vec![chain("c", Kind::Nat, hook, 50)]),
        ];
        let ruleset = Ruleset { tables, ..Ruleset::default() };
        assert_eq!(names(&ruleset, Layer::Ip4, hook), ["filter -110", "nat-first -100", "nat-later -100"]);
    }

    #[test]
    fn dormant_tables_and_foreign_devices_see_nothing() {
        let mut dormant = table(Family::Ip, "off", 1, vec![chain("c", Kind::Filter, Hook::Input, 0)]);
        dormant.dormant = true;
        let mut ingress = chain("c", Kind::Filter, Hook::Ingress, 0);
        ingress.base.as_mut().unwrap().devices = vec!["eth1".to_owned(), "veth*".to_owned()];
        let tables = vec![dormant, table(Family::Inet, "dev", 2, vec![ingress])];
        let ruleset = Ruleset { tables, ..Ruleset::default() };
        assert!(ruleset.hooks(Layer::Ip4, Hook::Input, None).is_empty());
        assert_eq!(ruleset.without_devices(Hook::Ingress).count(), 0);
        let at = |device| ruleset.hooks(Layer::Netdev, Hook::Ingress, device).len();
        assert_eq!([at(None), at(Some("eth0")), at(Some("eth1")), at(Some("veth3a"))], [0, 0, 1, 1]);
        assert!(ruleset.hooks(Layer::Ip4, Hook::Ingress, Some("eth1")).is_empty());
    }

    #[test]
    fn what_was_not_read_counts_where_it_could_speak() {
        let missing = |source| Missing { source, reason: hopwise_snapshot::Reason::TimedOut };
        let ruleset = Ruleset {
            missing: vec![missing(Source::Nft), missing(Source::IptablesLegacy), missing(Source::Ipset)],
            ..Ruleset::default()
        };
        let sources = |layer, hook| {
            ruleset.missing_at(layer, hook).map(|it| it.source.tool()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(sources(Layer::Ip4, Hook::Forward), "nft iptables-legacy");
        assert_eq!(sources(Layer::Ip6, Hook::Forward), "nft");
        assert_eq!(sources(Layer::Netdev, Hook::Ingress), "nft");
    }
}
