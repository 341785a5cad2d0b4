//! Routing tables and policy rules: which route a packet takes.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use hopwise_snapshot::{
    IfIndex, NextHop, Observed, Reason, Route, RouteKind, RoutingRule, RuleAction, tables,
};
use ipnet::IpNet;

/// What a lookup is asked about (`struct flowi4`, `struct flowi6`).
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    /// The destination.
    pub(crate) destination: IpAddr,
    /// The source; none while a local socket has not chosen one.
    pub(crate) source: Option<IpAddr>,
    /// The interface that the packet came in by; `lo` for what is made here.
    pub(crate) input: &'a str,
    /// The interface that it must leave by.
    pub(crate) output: Option<IfIndex>,
    /// The name of [`Question::output`].
    pub(crate) output_name: Option<&'a str>,
    /// The firewall mark.
    pub(crate) mark: u32,
    /// Type of service.
    pub(crate) tos: u8,
    /// IP protocol number, source port, destination port; zero where unknown.
    pub(crate) transport: (u8, u16, u16),
}

/// Why a lookup found no way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum NoWay {
    /// No rule and no route matches, or a rule says unreachable (`ENETUNREACH`).
    NetUnreachable,
    /// A route says unreachable (`EHOSTUNREACH`).
    HostUnreachable,
    /// A route or rule says prohibit (`EACCES`).
    Prohibited,
    /// A route or rule says blackhole (`EINVAL`): dropped silently.
    Blackhole,
}

/// What decided a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Decider {
    /// A route, by its index in [`Fib::routes`].
    Route(usize),
    /// A policy rule, by its index in [`Fib::rules`].
    Rule(usize),
    /// Nothing matched.
    Nothing,
}

/// The answer of a lookup.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A route matched.
    Found {
        /// Its index in [`Fib::routes`].
        route: usize,
        /// The rule that led to its table, by its index in [`Fib::rules`].
        rule: usize,
        /// The next hops that may be taken, with their weights.
        hops: Vec<(usize, u16)>,
    },
    /// There is no way.
    NoWay {
        /// Why.
        error: NoWay,
        /// What says so.
        by: Decider,
    },
    /// It cannot be told.
    Unknown {
        /// What is missing: `routes`, `rule`.
        what: &'static str,
        /// Why it is missing, or what of it is not modelled.
        why: String,
        /// The rule that is not understood, by its index in [`Fib::rules`].
        rule: Option<usize>,
    },
}

impl Answer {
    /// Do packets go the same way by another answer?
    fn leads_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Found { route, hops, .. }, Self::Found { route: of_other, hops: other_hops, .. }) => {
                (route, hops) == (of_other, other_hops)
            }
            (Self::NoWay { error, .. }, Self::NoWay { error: of_other, .. }) => error == of_other,
            (Self::Unknown { .. }, Self::Unknown { .. }) => true,
            _ => false,
        }
    }
}

/// The routing state of one family in one network namespace.
#[derive(Clone, Debug)]
pub(crate) struct Fib {
    /// All routes of the family, as dumped.
    pub(crate) routes: Vec<Route>,
    /// All rules of the family, by priority.
    pub(crate) rules: Vec<RoutingRule>,
    missing_routes: Option<Reason>,
    missing_rules: Option<Reason>,
    tables: BTreeMap<u32, Table>,
    is_ipv6: bool,
    /// The same with the kernel's own rules, where one of them is gone and no other is there.
    ///
    /// The kernel looks at rules of IPv6 only once one was added; deleting does not count
    /// (`fib6_has_custom_rules`, net/ipv6/fib6_rules.c), and nothing shows whether one ever was.
    with_default_rules: Option<Box<Self>>,
}

/// One table: for each prefix length that occurs, the routes by network.
#[derive(Clone, Debug, Default)]
struct Table {
    by_length: BTreeMap<u8, HashMap<IpNet, Vec<usize>>>,
}

impl Fib {
    /// The routing state of one family.
    pub(crate) fn new(
        routes: &Observed<Vec<Route>>,
        rules: &Observed<Vec<RoutingRule>>,
        is_ipv6: bool,
    ) -> Self {
        let of_family = |it: &&Route| matches!(it.destination, IpNet::V6(_)) == is_ipv6;
        let (routes, missing_routes) = match routes {
            Observed::Known(all) => (all.iter().filter(of_family).cloned().collect(), None),
            Observed::Absent => (Vec::new(), None),
            Observed::NotCollected(reason) => (Vec::new(), Some(reason.clone())),
        };
        let (mut rules, missing_rules): (Vec<RoutingRule>, _) = match rules {
            Observed::Known(all) => (all.iter().filter(|it| it.is_ipv6 == is_ipv6).cloned().collect(), None),
            Observed::Absent => (Vec::new(), None),
            Observed::NotCollected(reason) => (Vec::new(), Some(reason.clone())),
        };
        rules.sort_by_key(|it| it.priority);
        let mut fib = Self {
            routes,
            rules,
            missing_routes,
            missing_rules,
            tables: BTreeMap::new(),
            is_ipv6,
            with_default_rules: None,
        };
        fib.index();
        if is_ipv6 && fib.rules.len() < 2 && fib.rules.iter().all(|it| is_default_rule(it, is_ipv6)) {
            let default = |priority, table| RoutingRule::new(is_ipv6, priority, RuleAction::Lookup(table));
            let rules = vec![default(0, tables::LOCAL), default(32766, tables::MAIN)];
            fib.with_default_rules = Some(Box::new(Self { rules, ..fib.clone() }));
        }
        fib
    }

    #[expect(clippy::iter_over_hash_type, reason = "each network of a table is sorted by itself")]
    fn index(&mut self) {
        for (at, route) in self.routes.iter().enumerate() {
            let table = self.tables.entry(route.table).or_default();
            let lengths = table.by_length.entry(route.destination.prefix_len()).or_default();
            lengths.entry(route.destination.trunc()).or_default().push(at);
        }
        for table in self.tables.values_mut() {
            for networks in table.by_length.values_mut() {
                // Order inside a network does not depend on the map's.
                for routes in networks.values_mut() {
                    routes.sort_by_key(|at| {
                        let route = &self.routes[*at];
                        // Higher TOS first, then the lower metric (`fib_find_alias`, net/ipv4/fib_trie.c).
                        (std::cmp::Reverse(route.tos), route.metric)
                    });
                }
            }
        }
    }

    /// Is there a rule beside the kernel's own three?
    pub(crate) fn has_custom_rules(&self) -> bool {
        self.rules.iter().any(|it| !is_default_rule(it, self.is_ipv6))
            || self.rules.len() < if self.is_ipv6 { 2 } else { 3 }
    }

    /// Is there a route of type local that the kernel did not write?
    pub(crate) fn has_custom_local_routes(&self) -> bool {
        self.routes
            .iter()
            .any(|it| it.kind == RouteKind::Local && (it.table != tables::LOCAL || it.protocol != 2))
    }

    /// The kind and interface of the best entry for an address in the kernel's own table.
    pub(crate) fn in_local_table(&self, address: IpAddr) -> Observed<(RouteKind, Option<IfIndex>)> {
        if let Some(reason) = &self.missing_routes {
            return Observed::NotCollected(reason.clone());
        }
        let Some(table) = self.tables.get(&tables::LOCAL) else { return Observed::Absent };
        for (&length, networks) in table.by_length.iter().rev() {
            let Ok(network) = IpNet::new(address, length) else { continue };
            if let Some(at) = networks.get(&network.trunc()).and_then(|it| it.first()) {
                let route = &self.routes[*at];
                return Observed::Known((route.kind, route.next_hops.first().and_then(|it| it.link)));
            }
        }
        Observed::Absent
    }

    /// The way of a packet.
    ///
    /// `ignores_linkdown` tells whether routes over an interface without carrier are passed over.
    /// Source: `fib_rules_lookup`, `fib4_rule_action`, `fib_table_lookup` (Linux 6.18).
    pub(crate) fn look_up(
        &self,
        question: &Question<'_>,
        ignores_linkdown: &dyn Fn(IfIndex) -> bool,
    ) -> Answer {
        if let Some(reason) = &self.missing_rules {
            return Answer::Unknown { what: "rule", why: reason.to_string(), rule: None };
        }
        if let Some(reason) = &self.missing_routes {
            return Answer::Unknown { what: "route", why: reason.to_string(), rule: None };
        }
        let answer = self.look_up_by_rules(question, ignores_linkdown);
        let Some(with_default_rules) = &self.with_default_rules else { return answer };
        if answer.leads_as(&with_default_rules.look_up_by_rules(question, ignores_linkdown)) {
            return answer;
        }
        let why = "whether rules were ever added here: until then the kernel does as if none were deleted";
        Answer::Unknown { what: "rule", why: why.to_owned(), rule: None }
    }

    fn look_up_by_rules(
        &self,
        question: &Question<'_>,
        ignores_linkdown: &dyn Fn(IfIndex) -> bool,
    ) -> Answer {
        let mut skip_to = 0;
        for (at, rule) in self.rules.iter().enumerate() {
            if rule.priority < skip_to || !rule_matches(rule, question) {
                continue;
            }
            if let Some(what) = rule.not_modelled.first() {
                return Answer::Unknown { what: "rule", why: format!("selector `{what}`"), rule: Some(at) };
            }
            let error = match rule.action {
                RuleAction::Lookup(table) => {
                    match self.look_up_table(table, question, ignores_linkdown, at) {
                        Some(answer) => return answer,
                        None => continue,
                    }
                }
                RuleAction::Goto(priority) => {
                    skip_to = priority;
                    continue;
                }
                RuleAction::Nop => continue,
                RuleAction::Blackhole => NoWay::Blackhole,
                RuleAction::Unreachable => NoWay::NetUnreachable,
                RuleAction::Prohibit => NoWay::Prohibited,
                RuleAction::Other(number) => {
                    return Answer::Unknown { what: "rule", why: format!("action {number}"), rule: Some(at) };
                }
            };
            return Answer::NoWay { error, by: Decider::Rule(at) };
        }
        Answer::NoWay { error: NoWay::NetUnreachable, by: Decider::Nothing }
    }

    /// `None` means: no match in this table, go on with the next rule.
    fn look_up_table(
        &self,
        table: u32,
        question: &Question<'_>,
        ignores_linkdown: &dyn Fn(IfIndex) -> bool,
        rule: usize,
    ) -> Option<Answer> {
        let lengths = &self.tables.get(&table)?.by_length;
        for (&length, networks) in lengths.iter().rev() {
            let Ok(network) = IpNet::new(question.destination, length) else { continue };
            let Some(candidates) = networks.get(&network.trunc()) else { continue };
            for &at in candidates {
                let route = &self.routes[at];
                if route.tos != 0 && route.tos != question.tos & 0x1c {
                    continue;
                }
                if let Some(source) = route.source
                    && !question.source.is_some_and(|it| source.contains(&it))
                {
                    continue;
                }
                let error = match route.kind {
                    RouteKind::Throw => return None,
                    RouteKind::Blackhole => Some(NoWay::Blackhole),
                    // IPv6 answers "no route" here as well (`ip6_pkt_discard`, net/ipv6/route.c).
                    RouteKind::Unreachable if self.is_ipv6 => Some(NoWay::NetUnreachable),
                    RouteKind::Unreachable => Some(NoWay::HostUnreachable),
                    RouteKind::Prohibit => Some(NoWay::Prohibited),
                    RouteKind::Other(number) => {
                        let why = format!("route of type {number}");
                        return Some(Answer::Unknown { what: "route", why, rule: None });
                    }
                    _ => None,
                };
                if let Some(error) = error {
                    return Some(Answer::NoWay { error, by: Decider::Route(at) });
                }
                if route.encapsulation.is_some() && route.kind == RouteKind::Unicast {
                    let why =
                        format!("encapsulation `{}`", route.encapsulation.as_deref().unwrap_or_default());
                    return Some(Answer::Unknown { what: "route", why, rule: None });
                }
                let hops = usable_hops(route, question, ignores_linkdown);
                if hops.is_empty() {
                    continue;
                }
                if self.rules[rule].suppress_prefix_length.is_some_and(|it| u32::from(length) <= it) {
                    return None;
                }
                return Some(Answer::Found { route: at, rule, hops });
            }
        }
        None
    }
}

/// The next hops of a route that this packet may take (`fib_table_lookup`: dead ones, ones without carrier
/// where those are ignored, and ones on another interface than the one asked for are passed over).
fn usable_hops(
    route: &Route,
    question: &Question<'_>,
    ignores_linkdown: &dyn Fn(IfIndex) -> bool,
) -> Vec<(usize, u16)> {
    let usable = |hop: &NextHop| {
        !(hop.dead || hop.linkdown && hop.link.is_some_and(ignores_linkdown))
            && question.output.is_none_or(|it| hop.link == Some(it))
    };
    let all = route.next_hops.iter().enumerate().filter(|(_, hop)| usable(hop));
    all.map(|(at, hop)| (at, hop.weight.max(1))).collect()
}

fn is_default_rule(rule: &RoutingRule, is_ipv6: bool) -> bool {
    let expected = match rule.priority {
        0 => tables::LOCAL,
        32766 => tables::MAIN,
        32767 if !is_ipv6 => tables::DEFAULT,
        _ => return false,
    };
    rule.action == RuleAction::Lookup(expected)
        && !rule.inverted
        && !rule.l3mdev
        && rule.tos == 0
        && rule.not_modelled.is_empty()
        && (rule.source.is_none()
            && rule.destination.is_none()
            && rule.input.is_none()
            && rule.output.is_none())
        && (rule.mark.is_none() && rule.ip_protocol.is_none() && rule.users.is_none())
        && (rule.source_ports.is_none() && rule.destination_ports.is_none())
        && rule.suppress_prefix_length.is_none()
}

/// `fib_rule_match`, `fib4_rule_match` (Linux 6.18).
fn rule_matches(rule: &RoutingRule, question: &Question<'_>) -> bool {
    let within =
        |range: Option<(u16, u16)>, port: u16| range.is_none_or(|(low, high)| (low..=high).contains(&port));
    let (protocol, source_port, destination_port) = question.transport;
    let matches = rule.input.as_deref().is_none_or(|it| it == question.input)
        && rule.output.as_deref().is_none_or(|it| question.output_name == Some(it))
        && rule.mark.is_none_or(|(value, mask)| (value ^ question.mark) & mask == 0)
        && rule.source.is_none_or(|it| question.source.is_some_and(|source| it.contains(&source)))
        && rule.destination.is_none_or(|it| it.contains(&question.destination))
        && (rule.tos == 0 || rule.tos == question.tos)
        && rule.ip_protocol.is_none_or(|it| it == protocol)
        && within(rule.source_ports, source_port)
        && within(rule.destination_ports, destination_port)
        // Users are those of a socket; the tracer's sockets belong to root.
        && rule.users.is_none_or(|(low, high)| question.input == "lo" && (low..=high).contains(&0))
        && !rule.l3mdev;
    matches != rule.inverted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, table: u32, link: u32, metric: u32) -> Route {
        Route {
            table,
            kind: RouteKind::Unicast,
            destination: destination.parse().unwrap(),
            source: None,
            tos: 0,
            metric,
            protocol: 3,
            scope: 0,
            preferred_source: None,
            next_hops: vec![NextHop { link: Some(IfIndex(link)), weight: 1, ..NextHop::default() }],
            next_hop_object: None,
            mtu: None,
            mtu_locked: false,
            encapsulation: None,
        }
    }

    fn rule(priority: u32, action: RuleAction) -> RoutingRule {
        RoutingRule::new(false, priority, action)
    }

    fn default_rules() -> Vec<RoutingRule> {
        [(0, tables::LOCAL), (32766, tables::MAIN), (32767, tables::DEFAULT)]
            .map(|(priority, table)| rule(priority, RuleAction::Lookup(table)))
            .to_vec()
    }

    fn ask(fib: &Fib, destination: &str, mark: u32) -> String {
        let question = Question {
            destination: destination.parse().unwrap(),
            source: Some("10.0.0.1".parse().unwrap()),
            input: "lo",
            output: None,
            output_name: None,
            mark,
            tos: 0,
            transport: (0, 0, 0),
        };
        match fib.look_up(&question, &|_| false) {
            Answer::Found { route, .. } => fib.routes[route].next_hops[0].link.unwrap().to_string(),
            Answer::NoWay { error, by } => format!("{error:?} by {by:?}"),
            Answer::Unknown { what, .. } => format!("unknown {what}"),
        }
    }

    fn fib(routes: Vec<Route>, rules: Vec<RoutingRule>) -> Fib {
        Fib::new(&Observed::Known(routes), &Observed::Known(rules), false)
    }

    #[test]
    fn the_longest_prefix_wins_and_then_the_lowest_metric() {
        let fib = fib(
            vec![
                route("0.0.0.0/0", 254, 1, 0),
                route("10.1.0.0/16", 254, 2, 50),
                route("10.1.0.0/16", 254, 3, 7),
                route("10.1.2.0/24", 254, 4, 900),
            ],
            default_rules(),
        );
        assert_eq!(ask(&fib, "10.1.2.3", 0), "if4");
        assert_eq!(ask(&fib, "10.1.9.3", 0), "if3");
        assert_eq!(ask(&fib, "8.8.8.8", 0), "if1");
    }

    #[test]
    fn a_throw_route_ends_the_table_and_not_the_lookup() {
        let mut throw = route("10.1.0.0/16", 100, 9, 0);
        throw.kind = RouteKind::Throw;
        let mut rules = default_rules();
        rules.push(rule(50, RuleAction::Lookup(100)));
        let fib = fib(vec![throw, route("0.0.0.0/0", 100, 5, 0), route("0.0.0.0/0", 254, 1, 0)], rules);
        assert_eq!(ask(&fib, "10.1.2.3", 0), "if1");
        assert_eq!(ask(&fib, "10.2.2.3", 0), "if5");
        assert!(fib.has_custom_rules());
    }

    #[test]
    fn a_mark_chooses_a_table_and_a_rule_can_refuse() {
        let mut by_mark = rule(50, RuleAction::Prohibit);
        by_mark.mark = Some((0x10, 0xf0));
        let mut rules = default_rules();
        rules.push(by_mark);
        let fib = fib(vec![route("0.0.0.0/0", 254, 1, 0)], rules);
        assert_eq!(ask(&fib, "10.1.2.3", 0), "if1");
        assert_eq!(ask(&fib, "10.1.2.3", 0x1f), "Prohibited by Rule(1)");
    }

    #[test]
    fn suppression_passes_over_short_prefixes() {
        let mut suppressing = rule(50, RuleAction::Lookup(254));
        suppressing.suppress_prefix_length = Some(0);
        let rules = vec![suppressing, rule(60, RuleAction::Lookup(100))];
        let routes = vec![
            route("0.0.0.0/0", 254, 1, 0),
            route("10.1.0.0/16", 254, 2, 0),
            route("0.0.0.0/0", 100, 3, 0),
        ];
        let fib = fib(routes, rules);
        assert_eq!(ask(&fib, "10.1.2.3", 0), "if2");
        assert_eq!(ask(&fib, "8.8.8.8", 0), "if3");
    }

    #[test]
    fn unread_routes_are_unknown_and_no_routes_are_unreachable() {
        let unread =
            Fib::new(&Observed::NotCollected(Reason::TimedOut), &Observed::Known(default_rules()), false);
        assert_eq!(ask(&unread, "10.1.2.3", 0), "unknown route");
        assert_eq!(ask(&fib(Vec::new(), default_rules()), "10.1.2.3", 0), "NetUnreachable by Nothing");
    }

    #[test]
    fn a_rule_that_is_not_understood_makes_the_answer_unknown() {
        let mut odd = rule(10, RuleAction::Lookup(254));
        odd.not_modelled.push("tun_id".to_owned());
        let mut rules = default_rules();
        rules.push(odd);
        assert_eq!(ask(&fib(vec![route("0.0.0.0/0", 254, 1, 0)], rules), "10.1.2.3", 0), "unknown rule");
    }
}
