//! Short references to rules and policies.

use hopwise_snapshot::{Element, Place};

use crate::{Chain, Origin, Rule, Ruleset, Table};

/// A reference to a rule, or to the policy of a base chain, of one [`Ruleset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    table: u32,
    chain: u32,
    position: u32,
}

impl RuleRef {
    pub(crate) fn rule(table: usize, chain: usize, position: usize) -> Self {
        let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { table: short(table), chain: short(chain), position: short(position) }
    }

    pub(crate) fn policy(table: usize, chain: usize) -> Self {
        Self::rule(table, chain, 0)
    }

    /// Is it a policy?
    pub fn is_policy(self) -> bool {
        self.position == 0
    }

    /// The rule's place in its chain, from 1; none for a policy.
    pub fn position(self) -> Option<usize> {
        (self.position > 0).then_some(self.position as usize)
    }
}

impl Ruleset {
    /// The table that `at` belongs to.
    pub fn table_of(&self, at: RuleRef) -> Option<&Table> {
        self.tables.get(at.table as usize)
    }

    /// The chain that `at` belongs to.
    pub fn chain_of(&self, at: RuleRef) -> Option<&Chain> {
        self.table_of(at)?.chains.at(at.chain as usize)
    }

    /// The rule that `at` refers to; none for a policy.
    pub fn rule(&self, at: RuleRef) -> Option<&Rule> {
        self.chain_of(at)?.rules.get(at.position()? - 1)
    }

    /// The stable name of what `at` refers to, at `place`.
    pub fn element(&self, at: RuleRef, place: &Place) -> Option<Element> {
        let table = self.table_of(at)?;
        let chain = self.chain_of(at)?;
        match at.position() {
            None => Some(table.policy_element(chain, place)),
            Some(position) => Some(table.rule_element(chain, chain.rules.get(position - 1)?, place)),
        }
    }

    /// `at` in one line: the rule as its tool prints it, or the policy.
    pub fn describe(&self, at: RuleRef) -> String {
        let (Some(table), Some(chain)) = (self.table_of(at), self.chain_of(at)) else {
            return "a rule that is gone".to_owned();
        };
        let family = if table.origin == Origin::Nft { table.family.word() } else { table.tool() };
        match self.rule(at) {
            Some(rule) => format!("{family} {} {} {}", table.name, chain.name, rule.text),
            None => format!("{family} {} {} policy", table.name, chain.name),
        }
    }
}

impl Table {
    /// The stable name of a rule of `chain`.
    pub fn rule_element(&self, chain: &Chain, rule: &Rule, place: &Place) -> Element {
        match (self.origin, rule.handle) {
            (Origin::Nft, Some(handle)) => {
                Element::nft_rule(place, self.family.word(), &self.name, &chain.name, handle)
            }
            _ => Element::iptables_rule(place, self.tool(), &self.name, &chain.name, rule.position),
        }
    }

    /// The stable name of the policy of `chain`.
    pub fn policy_element(&self, chain: &Chain, place: &Place) -> Element {
        match self.origin {
            Origin::Nft => Element::nft_policy(place, self.family.word(), &self.name, &chain.name),
            _ => Element::iptables_policy(place, self.tool(), &self.name, &chain.name),
        }
    }

    /// The stable name of `chain` as a whole.
    pub fn chain_element(&self, chain: &Chain, place: &Place) -> Element {
        match self.origin {
            Origin::Nft => Element::nft_chain(place, self.family.word(), &self.name, &chain.name),
            _ => Element::iptables_chain(place, self.tool(), &self.name, &chain.name),
        }
    }

    /// The stable name of one of the table's sets or maps.
    pub fn set_element(&self, set: &str, place: &Place) -> Element {
        Element::nft_set(place, self.family.word(), &self.name, set)
    }
}

impl Ruleset {
    /// References to every policy and rule, chain by chain.
    pub fn references(&self) -> impl Iterator<Item = RuleRef> {
        self.tables.iter().enumerate().flat_map(|(table_at, table)| {
            table.chains.iter().enumerate().flat_map(move |(chain_at, chain)| {
                let policy = chain.base.as_ref().map(|_| RuleRef::policy(table_at, chain_at));
                let rules = (1..=chain.rules.len()).map(move |it| RuleRef::rule(table_at, chain_at, it));
                policy.into_iter().chain(rules)
            })
        })
    }
}
