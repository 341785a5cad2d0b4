//! Reads a snapshot's texts into one ruleset.

use hopwise_snapshot::{Netfilter, Observed, Reason};

use crate::{Chain, Missing, Remark, RuleName, Ruleset, Source, Table, Weight, ipset, iptables, nft};

impl Ruleset {
    /// Reads everything that a snapshot has of the packet filter. Never fails: what was not understood is
    /// in [`Ruleset::remarks`], what was not read in [`Ruleset::missing`].
    ///
    /// Tables that iptables-nft wrote are taken from its own words, with hooks, priorities and handles from
    /// nft's listing, which shows the modules of iptables by name only. Where its words are missing, or say
    /// that it cannot show a table, nft's listing stands for itself.
    pub fn parse(facts: &Netfilter) -> Self {
        let mut all = Self::default();
        all.take(Source::Nft, &facts.nft, nft::parse);
        for (source, text) in [
            (Source::IptablesNft, &facts.iptables_nft.ipv4),
            (Source::Ip6tablesNft, &facts.iptables_nft.ipv6),
        ] {
            if let Some((tables, remarks)) = all.read(source, text, |text| iptables::parse(text, source))
                && all.note(source, remarks)
            {
                for table in tables {
                    all.merge(source, table, matches!(facts.nft, Observed::Known(_)));
                }
            }
        }
        for (source, text) in [
            (Source::IptablesLegacy, &facts.iptables_legacy.ipv4),
            (Source::Ip6tablesLegacy, &facts.iptables_legacy.ipv6),
        ] {
            all.take(source, text, |text| iptables::parse(text, source));
        }
        all.take(Source::ArptablesLegacy, &facts.arptables_legacy, iptables::parse_arp);
        if let Some((sets, remarks)) = all.read(Source::Ipset, &facts.ipsets, ipset::parse)
            && all.note(Source::Ipset, remarks)
        {
            all.ipsets = sets;
        }
        all
    }

    fn take(
        &mut self,
        source: Source,
        text: &Observed<String>,
        parse: impl FnOnce(&str) -> (Vec<Table>, Vec<Remark>),
    ) {
        if let Some((tables, remarks)) = self.read(source, text, parse)
            && self.note(source, remarks)
        {
            self.tables.extend(tables);
        }
    }

    /// What a text says; none where it was not collected, or where there is nothing.
    fn read<T>(
        &mut self,
        source: Source,
        text: &Observed<String>,
        parse: impl FnOnce(&str) -> T,
    ) -> Option<T> {
        match text {
            Observed::Known(text) => Some(parse(text)),
            Observed::Absent => None,
            Observed::NotCollected(reason) => {
                self.missing.push(Missing { source, reason: reason.clone() });
                None
            }
        }
    }

    /// Keeps remarks. Text that was lost makes its source one that was not collected: a policy of DROP without the
    /// rules that accept is worse than nothing. Is the source whole?
    fn note(&mut self, source: Source, remarks: Vec<Remark>) -> bool {
        let lost = remarks.iter().find(|it| it.weight == Weight::Lost);
        let is_whole = lost.is_none();
        if let Some(lost) = lost {
            let reason = Reason::Failed(format!("its text was not understood: {lost}"));
            self.missing.push(Missing { source, reason });
        }
        self.remarks.extend(remarks);
        is_whole
    }

    /// Puts a table in the words of iptables-nft in the place of the one that nft lists.
    fn merge(&mut self, source: Source, mut table: Table, is_listed: bool) {
        let place = self.tables.iter().position(|it| it.family == table.family && it.name == table.name);
        let Some(place) = place else {
            // The tool shows built-in chains that the kernel does not have; without rules they are nothing.
            if !is_listed || table.chains.iter().any(|it| !it.rules.is_empty()) {
                if is_listed {
                    self.differs(source, &table.name, "", "a table that nft lists too");
                }
                self.tables.push(table);
            }
            return;
        };
        let listed = std::mem::replace(
            &mut self.tables[place],
            Table::new(table.origin, table.family, table.name.clone()),
        );
        table.handle = listed.handle;
        table.dormant = listed.dormant;
        table.flags = listed.flags;
        table.comment = listed.comment;
        table.sets = listed.sets;
        table.objects = listed.objects;
        table.flowtables = listed.flowtables;
        table.chains.retain(|it| listed.chains.get(&it.name).is_some() || !it.rules.is_empty());
        for chain in &mut table.chains {
            match listed.chains.get(&chain.name) {
                Some(other) => {
                    if !pair(chain, other) {
                        self.differs(source, &table.name, &chain.name, "as many rules as nft lists");
                    }
                }
                None => self.differs(source, &table.name, &chain.name, "a chain that nft lists too"),
            }
        }
        for chain in &listed.chains {
            if table.chains.get(&chain.name).is_none() {
                self.differs(source, &table.name, &chain.name, "a chain that nft lists");
                table.chains.insert(chain.clone());
            }
        }
        self.tables[place] = table;
    }

    /// Notes that the two listings of a table are not of the same moment.
    fn differs(&mut self, source: Source, table: &str, chain: &str, expected: &str) {
        self.remarks.push(Remark {
            source,
            weight: Weight::Note,
            line: 0,
            column: 0,
            path: String::new(),
            expected: expected.to_owned(),
            found: if chain.is_empty() { table.to_owned() } else { format!("{table} {chain}") },
            rule: (!chain.is_empty()).then(|| RuleName {
                table: table.to_owned(),
                chain: chain.to_owned(),
                position: 0,
            }),
        });
    }
}

/// Gives a chain what only nft knows of it. False where the two do not have the same rules.
fn pair(chain: &mut Chain, listed: &Chain) -> bool {
    chain.handle = listed.handle;
    chain.base = match (chain.base.take(), &listed.base) {
        (own, Some(base)) => {
            let mut base = base.clone();
            if let Some(own) = own {
                base.policy = own.policy;
                base.counters = own.counters;
            }
            Some(base)
        }
        // nft lists the chain without a hook: packets do not enter it.
        (_, None) => None,
    };
    if chain.rules.len() != listed.rules.len() {
        return false;
    }
    for (rule, other) in chain.rules.iter_mut().zip(&listed.rules) {
        rule.handle = other.handle;
    }
    true
}
