//! Reads a snapshot's texts into one ruleset.

use hopwise_snapshot::{Netfilter, Observed};

use crate::{Missing, Remark, Ruleset, Source, Table, Weight, ipset, iptables};

impl Ruleset {
    /// Reads everything that a snapshot has of the packet filter. Never fails: what was not understood is
    /// in [`Ruleset::remarks`], what was not read in [`Ruleset::missing`].
    pub fn parse(facts: &Netfilter) -> Self {
        let mut all = Self::default();
        for (source, text) in [
            (Source::IptablesNft, &facts.iptables_nft.ipv4),
            (Source::Ip6tablesNft, &facts.iptables_nft.ipv6),
            (Source::IptablesLegacy, &facts.iptables_legacy.ipv4),
            (Source::Ip6tablesLegacy, &facts.iptables_legacy.ipv6),
        ] {
            all.take(source, text, |text| iptables::parse(text, source));
        }
        all.take(Source::ArptablesLegacy, &facts.arptables_legacy, iptables::parse_arp);
        if let Some((sets, remarks)) = all.read(Source::Ipset, &facts.ipsets, ipset::parse) {
            all.ipsets = sets;
            all.note(Source::Ipset, remarks);
        }
        all
    }

    fn take(
        &mut self,
        source: Source,
        text: &Observed<String>,
        parse: impl FnOnce(&str) -> (Vec<Table>, Vec<Remark>),
    ) {
        if let Some((tables, remarks)) = self.read(source, text, parse) {
            self.tables.extend(tables);
            self.note(source, remarks);
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

    /// Keeps remarks. Text that was lost makes its source one that was not collected.
    fn note(&mut self, source: Source, remarks: Vec<Remark>) {
        if let Some(lost) = remarks.iter().find(|it| it.weight == Weight::Lost) {
            let reason = hopwise_snapshot::Reason::Failed(format!("its text was not understood: {lost}"));
            self.missing.push(Missing { source, reason });
        }
        self.remarks.extend(remarks);
    }
}
