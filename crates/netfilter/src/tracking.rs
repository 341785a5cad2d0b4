//! Whether rules make the kernel track connections.

use crate::{
    Family, Layer, Ruleset, Step,
    nft::{Expression, Statement},
    xt::{Match, Target},
};

impl Ruleset {
    /// Does any rule make the kernel track connections of this layer?
    ///
    /// Tracking costs, so that a network namespace tracks only while something asks for it
    /// (`nf_ct_netns_get`, net/netfilter/nf_conntrack_proto.c): a match on the connection, a change of it,
    /// or a translation, in any rule of the family, whether packets reach it or not. Without any, no packet
    /// has a connection, and all are invalid to rules that do not ask (there are none). Other users of
    /// tracking, as IPVS and Open vSwitch, are not seen here.
    pub fn tracks_connections(&self, layer: Layer) -> bool {
        self.tables.iter().any(|table| {
            let is_of_layer = match table.family {
                Family::Ip => layer == Layer::Ip4,
                Family::Ip6 => layer == Layer::Ip6,
                Family::Inet => matches!(layer, Layer::Ip4 | Layer::Ip6),
                Family::Bridge => layer == Layer::Bridge,
                Family::Arp | Family::Netdev => false,
            };
            is_of_layer && table.chains.iter().any(|it| it.rules.iter().any(|it| it.steps.iter().any(asks)))
        })
    }
}

/// Does a step ask for tracking?
fn asks(step: &Step) -> bool {
    match step {
        Step::Match(condition) => match condition {
            Match::Conntrack(_) | Match::State(_) | Match::Connmark(_) | Match::Helper(_) => true,
            Match::Opaque(it) => {
                matches!(it.name.as_str(), "connbytes" | "connlabel" | "connlimit" | "cluster")
            }
            _ => false,
        },
        Step::Target(target) => match target {
            Target::Connmark(_) | Target::Nat(_) | Target::Netmap(_) | Target::Synproxy(_) => true,
            Target::Ct(it) => !it.notrack,
            Target::Plain { name, .. } => name == "CONNSECMARK",
            _ => false,
        },
        Step::Relation(relation) => asks_within(&relation.left) || asks_within(&relation.right),
        Step::Statement(statement) => match statement {
            Statement::Nat(_) | Statement::CtCount(..) | Statement::Synproxy(_) | Statement::Flow(_) => true,
            Statement::Object(kind, _) => kind.starts_with("ct ") || kind == "synproxy",
            Statement::Mangle { key, value } => asks_within(key) || asks_within(value),
            Statement::VerdictMap { key, .. } => asks_within(key),
            Statement::SetUpdate { element, statements, .. } => {
                asks_within(element) || statements.iter().any(|it| matches!(it, Statement::CtCount(..)))
            }
            // Of modules that are known by name alone.
            Statement::Xt { name, .. } => matches!(
                name.as_str(),
                "conntrack"
                    | "state"
                    | "connmark"
                    | "connlimit"
                    | "CONNMARK"
                    | "SNAT"
                    | "DNAT"
                    | "MASQUERADE"
                    | "REDIRECT"
                    | "NETMAP"
            ),
            _ => false,
        },
    }
}

fn asks_within(expression: &Expression) -> bool {
    matches!(expression, Expression::Ct { .. }) || expression.parts().into_iter().any(asks_within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Source, iptables, nft};

    fn iptables(rule: &str) -> Ruleset {
        let text = format!("*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule}\nCOMMIT\n");
        Ruleset { tables: iptables::parse(&text, Source::IptablesLegacy).0, ..Ruleset::default() }
    }

    #[test]
    fn a_rule_that_asks_for_the_connection_switches_tracking_on() {
        for rule in
            ["-m conntrack --ctstate NEW", "-j CT --zone 1", "-m connmark --mark 0x1", "-j MASQUERADE"]
        {
            let ruleset = iptables(rule);
            assert!(ruleset.tracks_connections(Layer::Ip4), "{rule}");
            assert!(!ruleset.tracks_connections(Layer::Ip6), "{rule}");
        }
        for rule in ["-j CT --notrack", "-j ACCEPT", "-m mark --mark 0x1"] {
            assert!(!iptables(rule).tracks_connections(Layer::Ip4), "{rule}");
        }
    }

    #[test]
    fn so_does_one_of_nft_for_both_families() {
        let text = r#"{"nftables": [
            {"table": {"family": "inet", "name": "t", "handle": 1}},
            {"chain": {"family": "inet", "table": "t", "name": "c", "handle": 1}},
            {"rule": {"family": "inet", "table": "t", "chain": "c", "handle": 2, "expr": [
                {"vmap": {"key": {"concat": [{"ct": {"key": "state"}}, {"meta": {"key": "mark"}}]},
                          "data": {"set": []}}}]}}]}"#;
        let (tables, remarks) = nft::parse(text);
        assert_eq!(remarks, []);
        let ruleset = Ruleset { tables, ..Ruleset::default() };
        assert!(ruleset.tracks_connections(Layer::Ip4) && ruleset.tracks_connections(Layer::Ip6));
        assert!(!ruleset.tracks_connections(Layer::Bridge));
    }
}
