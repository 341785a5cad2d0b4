//! Rules on the way of broken flows that no controller of the cluster wrote.

use std::collections::BTreeMap;

use hopwise_change::{Change, backend, rule_position, rule_text};
use hopwise_controllers::{Family, Ruleset, kube_proxy::TABLE};
use hopwise_dataplane::{Hop, Stage};
use hopwise_repair::{Action, Repair, Risk};
use hopwise_snapshot::{Element, NodeName, Place, Snapshot};

use crate::intent::{
    nftables::{Listed, Wanted, kind_of, listed, word},
    rules::expected,
};

/// What a rule does to the packets that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Does {
    /// Drops, rejects, accepts, or leads past other rules.
    Filter,
    /// Translates, or keeps from being translated or tracked.
    Translate,
    /// Marks.
    Mark,
}

/// A rule that no controller of the cluster wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignRule {
    /// Which.
    pub element: Element,
    /// Where.
    pub place: Place,
    /// The rule as its tool prints it.
    pub text: String,
    /// What it does.
    pub does: Does,
    /// Who may have written it, as far as names tell.
    pub owner: &'static str,
    /// The command that shows it.
    pub source: String,
    /// What takes it away.
    pub repair: Repair,
}

/// What the controllers would have written, by node and family.
pub(crate) struct Owned {
    rules: BTreeMap<(NodeName, &'static str), Ruleset>,
    tables: BTreeMap<(NodeName, &'static str), ProxyTable>,
}

/// Table `kube-proxy` of nftables in one family on a node.
struct ProxyTable {
    expected: Listed,
    actual: Listed,
}

impl Owned {
    pub(crate) fn new(snapshot: &Snapshot) -> Self {
        let (mut rules, mut tables) = (BTreeMap::new(), BTreeMap::new());
        let wanted = Wanted::new(snapshot);
        for (name, node) in &snapshot.nodes {
            let Some(node) = node.known() else { continue };
            if let Some(wanted) = &wanted {
                let mut actual = listed(node);
                for family in Family::ALL {
                    if let Some(actual) = actual.remove(word(family))
                        && let Some(expected) = wanted.table(name, family)
                    {
                        tables.insert((name.clone(), word(family)), ProxyTable { expected, actual });
                    }
                }
            }
            for family in Family::ALL {
                if let Some(all) = expected(snapshot, name, family) {
                    rules.insert((name.clone(), backend(&node.net, family)), all);
                }
            }
        }
        Self { rules, tables }
    }

    fn has(&self, place: &Place, tool: &str, table: &str, chain: &str, rule: &str) -> bool {
        let Some(node) = place.as_node() else { return false };
        let mut all = self.rules.iter().filter(|((name, it), _)| name == node && *it == tool);
        let chain = all.next().and_then(|(_, it)| it.chain(table, chain));
        chain.is_some_and(|it| it.rules.iter().any(|own| own == rule))
    }

    /// The rule that a hop was decided by, if no controller wrote it.
    pub(crate) fn foreign(&self, snapshot: &Snapshot, hop: &Hop) -> Option<ForeignRule> {
        if !matches!(hop.stage, Stage::Filter | Stage::Match | Stage::Translate) {
            return None;
        }
        let (element, place) = (hop.element.as_ref()?, hop.place.as_ref()?);
        let parts = element.parts();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["nft", family, table, chain, "handle", handle] => {
                self.nft_rule(snapshot, hop, element, place, (family, table, chain, handle))
            }
            [tool, table, chain, position] => {
                let position: usize = position.parse().ok()?;
                let net = snapshot.net(place)?;
                let rule = rule_text(&net.netfilter, tool, table, chain, position)?;
                if self.has(place, tool, table, chain, &rule) || is_of_cni(chain, &rule) {
                    return None;
                }
                let change = Change::IptablesRuleDeleted {
                    place: place.clone(),
                    tool: tool.to_owned(),
                    table: table.to_owned(),
                    chain: chain.to_owned(),
                    rule: rule.clone(),
                };
                let verify = format!("{tool} -t {table} -S {chain}");
                Some(ForeignRule {
                    element: element.clone(),
                    place: place.clone(),
                    does: does_in(table, &rule),
                    owner: owner(chain, &rule),
                    text: format!("-A {chain} {rule}"),
                    source: verify.clone(),
                    repair: Repair::one(Action::change(change, snapshot, Risk::Disruptive, verify)),
                })
            }
            _ => None,
        }
    }

    /// The same under the name that the rule has in another snapshot, where rules before it may not be deleted yet.
    pub(crate) fn named_as_in(mut rule: ForeignRule, snapshot: &Snapshot) -> ForeignRule {
        let changes = rule.repair.changes();
        if let [Change::IptablesRuleDeleted { place, tool, table, chain, rule: text }] = &*changes
            && let Some(net) = snapshot.net(place)
            && let Some(position) = rule_position(&net.netfilter, tool, table, chain, text)
        {
            rule.element = Element::iptables_rule(place, tool, table, chain, position);
        }
        rule
    }

    /// Did kube-proxy write a rule of its table? None where nobody knows.
    fn is_of_kube_proxy(&self, place: &Place, family: &str, chain: &str, handle: u64) -> Option<bool> {
        let node = place.as_node()?;
        let mut of_node = self.tables.iter().filter(|((name, it), _)| name == node && *it == family);
        let ProxyTable { expected, actual } = of_node.next()?.1;
        Some(expected.has(chain, actual.rule(chain, handle)?))
    }

    fn nft_rule(
        &self,
        snapshot: &Snapshot,
        hop: &Hop,
        element: &Element,
        place: &Place,
        (family, table, chain, handle): (&str, &str, &str, &str),
    ) -> Option<ForeignRule> {
        let handle = handle.parse().ok()?;
        if table == TABLE && self.is_of_kube_proxy(place, family, chain, handle) != Some(false) {
            return None;
        }
        let change = Change::NftRuleDeleted {
            place: place.clone(),
            family: family.to_owned(),
            table: table.to_owned(),
            chain: chain.to_owned(),
            handle,
        };
        let verify = format!("nft -a list chain {family} {table} {chain}");
        let head = format!("{family} {table} {chain} ");
        let text = hop.note.strip_prefix(&head).unwrap_or(&hop.note).to_owned();
        Some(ForeignRule {
            element: element.clone(),
            place: place.clone(),
            does: if table == TABLE { does_in(kind_of(chain), &text) } else { does(&text) },
            owner: owner(table, &text),
            text,
            source: verify.clone(),
            repair: Repair::one(Action::change(change, snapshot, Risk::Disruptive, verify)),
        })
    }
}

/// Rules of the CNI plugins' own chains.
fn is_of_cni(chain: &str, rule: &str) -> bool {
    chain.starts_with("CNI-") || rule.contains("-j CNI-")
}

/// What a rule does, by its table and by itself: whatever ends a packet's way through the table nat keeps it from
/// being translated.
pub(crate) fn does_in(table: &str, rule: &str) -> Does {
    let does = does(rule);
    if table == "nat" && does == Does::Filter { Does::Translate } else { does }
}

/// What a rule does, by the last words of iptables and the statements of nft.
fn does(rule: &str) -> Does {
    let has = |words: &[&str]| words.iter().any(|it| rule.contains(it));
    let translating = [
        "-j DNAT",
        "-j SNAT",
        "-j MASQUERADE",
        "-j REDIRECT",
        "-j NETMAP",
        "-j NOTRACK",
        "-j CT ",
        "-j TPROXY",
        "dnat ",
        "snat ",
        "masquerade",
        "redirect",
        "notrack",
        "tproxy",
    ];
    if has(&translating) {
        Does::Translate
    } else if has(&["-j MARK", "-j CONNMARK", "mark set"]) {
        Does::Mark
    } else {
        Does::Filter
    }
}

/// Who may have written a rule, by the names of its chain or table.
fn owner(chain: &str, rule: &str) -> &'static str {
    let all = [
        ("DOCKER", "Docker"),
        ("ufw", "ufw"),
        ("firewalld", "firewalld"),
        ("cali", "Calico"),
        ("CILIUM", "Cilium"),
        ("KUBE-ROUTER", "kube-router"),
        ("f2b", "fail2ban"),
    ];
    let named = all.iter().find(|(mark, _)| chain.contains(mark) || rule.contains(mark));
    named.map_or("no tool that Hopwise knows", |(_, owner)| owner)
}
