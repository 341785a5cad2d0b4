//! What rules of a packet filter ask of the rest of a place's kernel.

use std::{collections::BTreeSet, net::IpAddr};

use hopwise_netfilter::{ReversePath, RouteDevice, RouteQuery, RuleRef, Surroundings, View};
use hopwise_snapshot::{Element, IfIndex, Observed, Place, Reason, RouteKind};

use crate::{
    model::{
        fib::{Answer, Question},
        stack::Stack,
    },
    trace::{Assumption, Unknown},
    walk::{Choices, Fork},
};

/// A place's kernel, as rules ask for it.
pub(crate) struct Around<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) choices: &'a mut Choices,
    pub(crate) assumptions: &'a mut BTreeSet<Assumption>,
    pub(crate) place: &'a Place,
}

impl Around<'_> {
    fn look_up(&self, destination: IpAddr, source: IpAddr, mark: u32, tos: u8) -> Answer {
        let question = Question {
            destination,
            source: Some(source).filter(|it| !it.is_multicast()),
            input: "lo",
            output: None,
            output_name: None,
            mark,
            tos,
            transport: (0, 0, 0),
        };
        self.stack.fib(destination.is_ipv6()).look_up(&question, &|_: IfIndex| false)
    }

    fn element(&self, rule: RuleRef) -> Element {
        self.stack.ruleset.element(rule, self.place).unwrap_or_else(|| Element::place(self.place))
    }
}

impl Surroundings for Around<'_> {
    fn address_kind(&self, address: IpAddr, limit: Option<&str>) -> Observed<RouteKind> {
        if address.is_ipv6() {
            if let Some(link) = limit.and_then(|it| self.stack.link_named(it)) {
                let holds = self.stack.addresses_of(link.index, true).any(|it| it.address.addr() == address);
                if holds {
                    return Observed::Known(RouteKind::Local);
                }
            }
            return match self.look_up(address, address, 0, 0) {
                Answer::Found { route, .. } => {
                    let kind = self.stack.fib6.routes[route].kind;
                    Observed::Known(match kind {
                        RouteKind::Local | RouteKind::Anycast if limit.is_none() => kind,
                        RouteKind::Local | RouteKind::Anycast => RouteKind::Unicast,
                        other => other,
                    })
                }
                Answer::NoWay { .. } => Observed::Absent,
                Answer::Unknown { why, .. } => Observed::NotCollected(Reason::Failed(why)),
            };
        }
        match self.stack.fib4.in_local_table(address) {
            Observed::Known((kind, link)) => {
                let is_other =
                    limit.is_some_and(|it| link.is_none_or(|link| self.stack.link_name(link) != it));
                Observed::Known(if is_other { RouteKind::Unicast } else { kind })
            }
            Observed::Absent => Observed::Known(RouteKind::Unicast),
            Observed::NotCollected(reason) => Observed::NotCollected(reason),
        }
    }

    fn reverse_path(&self, view: &View<'_>, flags: ReversePath) -> Observed<bool> {
        let (Some(header), Some(input)) = (view.header(), &view.input) else { return Observed::Known(true) };
        let mark = if flags.with_mark { view.mark } else { 0 };
        let is_ipv6 = header.source.is_ipv6();
        match self.look_up(header.source, header.destination, mark, header.tos) {
            Answer::Found { route, .. } => {
                let route = &self.stack.fib(is_ipv6).routes[route];
                let is_plausible = match route.kind {
                    RouteKind::Unicast => true,
                    RouteKind::Local => flags.accept_local,
                    _ => false,
                };
                let by_input = route
                    .next_hops
                    .iter()
                    .any(|it| it.link.is_some_and(|link| self.stack.link_name(link) == input.name));
                Observed::Known(is_plausible && (flags.loose || by_input))
            }
            Answer::NoWay { .. } => Observed::Known(false),
            Answer::Unknown { why, .. } => Observed::NotCollected(Reason::Failed(why)),
        }
    }

    fn route_output(&self, query: &RouteQuery<'_>) -> Observed<RouteDevice> {
        let is_ipv6 = query.destination.is_ipv6();
        match self.look_up(query.destination, query.source, query.mark.unwrap_or(0), query.tos) {
            Answer::Found { route, hops, .. } => {
                let route = &self.stack.fib(is_ipv6).routes[route];
                let link = hops.first().and_then(|(hop, _)| route.next_hops.get(*hop)).and_then(|it| it.link);
                let Some(link) = link.filter(|_| route.kind == RouteKind::Unicast) else {
                    return Observed::Absent;
                };
                let name = self.stack.link_name(link);
                if query.through.is_some_and(|it| it != name) {
                    return Observed::Absent;
                }
                Observed::Known(RouteDevice { name, index: Some(link.0) })
            }
            Answer::NoWay { .. } => Observed::Absent,
            Answer::Unknown { why, .. } => Observed::NotCollected(Reason::Failed(why)),
        }
    }

    fn choose(&mut self, weights: &[f64], _rule: RuleRef) -> usize {
        self.choices.decide(Fork::Chance, weights)
    }

    fn unknown(&mut self, rule: RuleRef, why: &str) -> bool {
        let element = self.element(rule);
        let reason = Unknown::NotModelled(why.to_owned());
        self.assumptions.insert(Assumption { element, reason, is_tried: true });
        self.choices.decide(Fork::Unknown, &[1.0, 1.0]) == 0
    }
}
