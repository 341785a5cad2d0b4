//! Routing decisions: for packets that come in, and for packets that are made here.
//!
//! Sources: `ip_route_input_slow`, `__mkroute_input`, `ip_route_output_key_hash_rcu` (net/ipv4/route.c),
//! `fib_validate_source` (net/ipv4/fib_frontend.c), `ip6_route_input`, `ip6_route_output` (net/ipv6/route.c),
//! Linux 6.18.

use std::net::IpAddr;

use hopwise_snapshot::{Element, IfIndex, Route, RouteKind, SysctlKey, tables};
use ipnet::IpNet;

use super::{Complaining, Skb, Step, Stop, Walker, choices::Fork};
use crate::{
    model::{
        PlaceId,
        fib::{Answer, Decider, NoWay, Question},
        stack::Stack,
    },
    packet::IcmpError,
    trace::{BlockerKind, Stage, Unknown},
};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextHop {
    /// The interface to leave by.
    pub(super) link: IfIndex,
    /// The gateway, or the destination itself.
    pub(super) next: IpAddr,
    /// The MTU that the route sets.
    pub(super) mtu: Option<u32>,
    /// The source address that the route prefers, or the one that would be chosen.
    pub(super) source: Option<IpAddr>,
}

/// What a routing decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputRoute {
    /// The packet is for this host.
    Local {
        /// The source address that goes with it when the packet is made here.
        source: Option<IpAddr>,
    },
    /// The packet goes on.
    Forward(NextHop),
}

/// What the routing decision for a packet made here is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutputQuestion {
    pub(super) destination: IpAddr,
    pub(super) source: Option<IpAddr>,
    pub(super) output: Option<IfIndex>,
    pub(super) mark: u32,
    pub(super) tos: u8,
    pub(super) transport: (u8, u16, u16),
}

impl Walker<'_> {
    /// The way of a packet that came in by `link`.
    pub(super) fn route_input(&mut self, place: PlaceId, link: IfIndex, skb: &Skb) -> Step<InputRoute> {
        let packet = &skb.packet;
        let name = self.link_name(place, link);
        if packet.is_ipv6() {
            return self.route_input6(place, link, &name, skb);
        }
        let martian = |it: &Self, address: IpAddr| {
            let element = Element::link(it.place(place), &name);
            it.stop(place, element, BlockerKind::Martian { link: name.clone(), address })
        };
        if packet.source.is_multicast() || is_broadcast(packet.source) || packet.source.is_unspecified() {
            return Err(martian(self, packet.source));
        }
        let is_on_loopback = self.link(place, link)?.is_loopback();
        for address in [packet.destination, packet.source] {
            if address.is_loopback()
                && !is_on_loopback
                && self.largest(place, &name, "route_localnet")?.0 == 0
            {
                let stop = martian(self, address);
                self.past(stop)?;
            }
        }
        let question = Question {
            destination: packet.destination,
            source: Some(packet.source),
            input: &name,
            output: None,
            output_name: None,
            mark: packet.mark,
            tos: packet.tos,
            transport: (packet.protocol(), packet.ports().0, packet.ports().1),
        };
        let found = match self.look_up(place, &question) {
            Ok(found) => found,
            Err(stop) => return Err(self.tell_sender(place, stop, skb, link)),
        };
        match found.kind {
            RouteKind::Local | RouteKind::Broadcast => {
                self.validate_source(place, link, &name, skb, None).or_else(|it| self.past(it))?;
                Ok(InputRoute::Local { source: None })
            }
            RouteKind::Unicast => {
                let forwarding = SysctlKey::of_link(false, &name, "forwarding");
                if self.switch(place, &forwarding, 0, 1)? == 0 {
                    let stop = self.not_forwarding(place, forwarding);
                    self.past(stop)?;
                }
                let hop = found.hop(packet.destination);
                self.validate_source(place, link, &name, skb, Some(hop.link)).or_else(|it| self.past(it))?;
                Ok(InputRoute::Forward(hop))
            }
            other => {
                let element = found.element;
                Err(self.not_modelled(place, element, format!("routes of type {}", other.word())))
            }
        }
    }

    fn route_input6(&mut self, place: PlaceId, link: IfIndex, name: &str, skb: &Skb) -> Step<InputRoute> {
        let packet = &skb.packet;
        let question = Question {
            destination: packet.destination,
            source: Some(packet.source),
            input: name,
            // A link-local address means one of the interface's own network (`rt6_need_strict`, net/ipv6/route.c).
            output: super::is_link_local(packet.destination).then_some(link),
            output_name: None,
            mark: packet.mark,
            tos: packet.tos,
            transport: (packet.protocol(), packet.ports().0, packet.ports().1),
        };
        let found = match self.look_up(place, &question) {
            Ok(found) => found,
            Err(stop) => return Err(self.tell_sender(place, stop, skb, link)),
        };
        match found.kind {
            RouteKind::Local | RouteKind::Anycast => Ok(InputRoute::Local { source: None }),
            RouteKind::Unicast => {
                // `ip6_forward`: the switch of all interfaces, or since 6.17 the interface's own.
                let all = SysctlKey::of_link(true, "all", "forwarding");
                let force = SysctlKey::of_link(true, name, "force_forwarding");
                if self.switch(place, &all, 0, 1)? == 0 && self.switch(place, &force, 0, 0)? == 0 {
                    let element = Element::sysctl(self.place(place), &all);
                    let kind = BlockerKind::Switch { key: all, wanted: "1".into() };
                    let stop = self.stop(place, element, kind);
                    self.past(stop)?;
                }
                Ok(InputRoute::Forward(found.hop(packet.destination)))
            }
            other => {
                let element = found.element;
                Err(self.not_modelled(place, element, format!("routes of type {}", other.word())))
            }
        }
    }

    /// A packet that is for others meets an interface that does not forward. If the node's switch for all
    /// interfaces is off, that is what is named: it is what turned this one off.
    fn not_forwarding(&mut self, place: PlaceId, of_link: SysctlKey) -> Box<Stop> {
        let global = SysctlKey::from_path("net/ipv4/ip_forward");
        let is_global = self.switch(place, &global, 0, 1).is_ok_and(|it| it == 0);
        let key = if is_global { global } else { of_link };
        let element = Element::sysctl(self.place(place), &key);
        self.note(place, Stage::Switch, Some(element.clone()), || format!("{key} = 0"));
        self.stop(place, element, BlockerKind::Switch { key, wanted: "1".to_owned() })
    }

    /// A router that has no way tells the sender, unless the route says not to (`ip_error`). A host that
    /// does not forward stays silent.
    fn tell_sender(&mut self, place: PlaceId, stop: Box<Stop>, skb: &Skb, link: IfIndex) -> Box<Stop> {
        let Some(error) = stop.no_way() else { return stop };
        let name = self.link_name(place, link);
        let is_ipv6 = skb.packet.is_ipv6();
        let key = SysctlKey::of_link(is_ipv6, if is_ipv6 { "all" } else { &name }, "forwarding");
        let forwards = self.switch(place, &key, 0, 1).is_ok_and(|it| it != 0);
        match error {
            _ if !forwards && !is_ipv6 => stop,
            NoWay::Blackhole => stop,
            NoWay::NetUnreachable => {
                stop.complaining(place, Complaining::Icmp(IcmpError::NetUnreachable), skb)
            }
            NoWay::HostUnreachable => {
                stop.complaining(place, Complaining::Icmp(IcmpError::HostUnreachable), skb)
            }
            NoWay::Prohibited => stop.complaining(place, Complaining::Icmp(IcmpError::Prohibited), skb),
        }
    }

    /// Where the way of a bridged packet would lead if it were made here, if that is back to the bridge.
    pub(super) fn route_back(&mut self, place: PlaceId, bridge: IfIndex, skb: &Skb) -> Step<Option<IpAddr>> {
        let question = OutputQuestion {
            destination: skb.packet.destination,
            source: None,
            output: None,
            mark: 0,
            tos: skb.packet.tos,
            transport: (0, 0, 0),
        };
        Ok(match self.route_output(place, &question)? {
            InputRoute::Forward(hop) if hop.link == bridge => Some(hop.next),
            _ => None,
        })
    }

    /// The way of a packet that is made here.
    pub(super) fn route_output(&mut self, place: PlaceId, question: &OutputQuestion) -> Step<InputRoute> {
        let stack = self.stack(place)?;
        let output_name = question.output.map(|it| stack.link_name(it));
        let found = self.look_up(
            place,
            &Question {
                destination: question.destination,
                source: question.source,
                input: "lo",
                output: question.output,
                output_name: output_name.as_deref(),
                mark: question.mark,
                tos: question.tos,
                transport: question.transport,
            },
        )?;
        match found.kind {
            RouteKind::Local | RouteKind::Anycast => {
                let source = found.preferred.or(Some(question.destination));
                Ok(InputRoute::Local { source })
            }
            RouteKind::Unicast | RouteKind::Broadcast | RouteKind::Multicast => {
                let mut hop = found.hop(question.destination);
                if hop.source.is_none() {
                    hop.source = source_for(stack, &hop, question.destination, found.scope);
                }
                Ok(InputRoute::Forward(hop))
            }
            other => {
                let element = found.element;
                Err(self.not_modelled(place, element, format!("routes of type {}", other.word())))
            }
        }
    }

    /// Looks a destination up, and writes down what was found.
    fn look_up(&mut self, place: PlaceId, question: &Question<'_>) -> Step<Found> {
        let stack = self.stack(place)?;
        let is_ipv6 = question.destination.is_ipv6();
        let fib = stack.fib(is_ipv6);
        let ignores = |link: IfIndex| ignores_linkdown(stack, link, is_ipv6);
        match fib.look_up(question, &ignores) {
            Answer::Found { route, rule, hops } => {
                let chosen = if hops.len() > 1 {
                    let total: f64 = hops.iter().map(|(_, weight)| f64::from(*weight)).sum();
                    let weights: Vec<f64> =
                        hops.iter().map(|(_, weight)| f64::from(*weight) / total).collect();
                    hops[self.choices.decide(Fork::Chance, &weights)].0
                } else {
                    hops[0].0
                };
                let (route, rule) = (&fib.routes[route], &fib.rules[rule]);
                let found = Found::new(stack, route, chosen);
                if !matches!(rule.priority, 0 | 32766 | 32767) {
                    let priority = rule.priority;
                    self.note_by(
                        place,
                        Stage::Route,
                        |it| Element::rule(it, is_ipv6, priority),
                        || format!("policy rule {priority}"),
                    );
                }
                self.note(place, Stage::Route, Some(found.element.clone()), || {
                    describe(stack, route, chosen)
                });
                Ok(found)
            }
            Answer::NoWay { error, by } => Err(self.no_way(place, stack, question.destination, error, by)),
            Answer::Unknown { what, why, rule } => {
                let element = match rule {
                    Some(rule) => Element::rule(&stack.place, is_ipv6, fib.rules[rule].priority),
                    None => Element::ruleset(&stack.place, what),
                };
                self.assume(element.clone(), Unknown::NotModelled(why));
                Err(self.stop(place, element, BlockerKind::Unknown).unknown())
            }
        }
    }

    fn no_way(
        &mut self,
        place: PlaceId,
        stack: &Stack,
        destination: IpAddr,
        error: NoWay,
        by: Decider,
    ) -> Box<Stop> {
        let is_ipv6 = destination.is_ipv6();
        let fib = stack.fib(is_ipv6);
        let (element, kind) = match by {
            Decider::Route(at) => {
                let route = &fib.routes[at];
                let kind = BlockerKind::RouteRefuses { table: route.table, destination: route.destination };
                (route_element(&stack.place, route), kind)
            }
            Decider::Rule(at) => {
                let priority = fib.rules[at].priority;
                (
                    Element::rule(&stack.place, is_ipv6, priority),
                    BlockerKind::RuleRefuses { is_ipv6, priority },
                )
            }
            Decider::Nothing => {
                let whole = IpNet::from(destination);
                (Element::route(&stack.place, tables::MAIN, &whole, 0), BlockerKind::NoRoute { destination })
            }
        };
        self.note(place, Stage::Route, Some(element.clone()), || format!("no way to {destination}"));
        let refusal = match error {
            NoWay::NetUnreachable => IcmpError::NetUnreachable,
            NoWay::HostUnreachable => IcmpError::HostUnreachable,
            NoWay::Prohibited => IcmpError::Prohibited,
            // The sender's own kernel says "invalid argument".
            NoWay::Blackhole => IcmpError::HostUnreachable,
        };
        self.stop(place, element, kind).refused(refusal)
    }

    /// Is the source plausible (`fib_validate_source`)? `output` is the interface that a forwarded packet
    /// leaves by.
    fn validate_source(
        &mut self,
        place: PlaceId,
        link: IfIndex,
        name: &str,
        skb: &Skb,
        output: Option<IfIndex>,
    ) -> Step<()> {
        let stack = self.stack(place)?;
        let source = skb.packet.source;
        let (mode, mode_key) = self.largest(place, name, "rp_filter")?;
        let accepts_local = self.switch(place, &SysctlKey::of_link(false, name, "accept_local"), 0, 0)? != 0;
        let (redirects, _) = self.largest(place, name, "send_redirects")?;
        if mode == 0 && (output != Some(link) || redirects == 0) {
            if accepts_local {
                return Ok(());
            }
            if !stack.fib4.has_custom_local_routes() && !stack.fib4.has_custom_rules() {
                return match stack.holder_of(source) {
                    Some(_) => Err(self.martian_source(place, name, source)),
                    None => Ok(()),
                };
            }
        }
        let vmark = self.largest(place, name, "src_valid_mark")?.0 != 0;
        let question = Question {
            destination: source,
            source: Some(skb.packet.destination),
            input: "lo",
            output: None,
            output_name: None,
            mark: if vmark { skb.packet.mark } else { 0 },
            tos: skb.packet.tos,
            transport: (0, 0, 0),
        };
        let ignores = |link: IfIndex| ignores_linkdown(stack, link, false);
        let refused = |it: &Self| {
            let element = Element::sysctl(it.place(place), &mode_key);
            let kind = BlockerKind::ReversePath { link: name.to_owned(), source };
            it.stop(place, element, kind)
        };
        match stack.fib4.look_up(&question, &ignores) {
            Answer::Unknown { what, why, .. } => {
                self.assume(Element::ruleset(&stack.place, what), Unknown::NotModelled(why));
                Ok(())
            }
            Answer::NoWay { .. } if mode != 0 => Err(refused(self)),
            Answer::NoWay { .. } => Ok(()),
            Answer::Found { route, .. } => {
                let route = &stack.fib4.routes[route];
                if route.kind != RouteKind::Unicast && !(route.kind == RouteKind::Local && accepts_local) {
                    return Err(self.martian_source(place, name, source));
                }
                let uses_link = route.next_hops.iter().any(|it| it.link == Some(link));
                let has_address = stack.addresses_of(link, false).next().is_some();
                match mode {
                    _ if uses_link => Ok(()),
                    1 => Err(refused(self)),
                    0 => Ok(()),
                    _ if !has_address => Err(refused(self)),
                    _ => Ok(()),
                }
            }
        }
    }

    fn martian_source(&self, place: PlaceId, name: &str, address: IpAddr) -> Box<Stop> {
        let holder =
            self.network.stack(place).ok().and_then(|it| it.holder_of(address).map(|a| (it, a.clone())));
        let element = match holder {
            Some((stack, held)) => Element::address(&stack.place, &stack.link_name(held.link), &held.address),
            None => Element::link(self.place(place), name),
        };
        self.stop(place, element, BlockerKind::Martian { link: name.to_owned(), address })
    }
}

impl Stop {
    /// Why there is no way, if that is what stopped the packet.
    fn no_way(&self) -> Option<NoWay> {
        let super::How::Refused(error) = self.how else { return None };
        match (&self.blocker.kind, error) {
            (_, IcmpError::NetUnreachable) => Some(NoWay::NetUnreachable),
            (_, IcmpError::Prohibited) => Some(NoWay::Prohibited),
            (_, IcmpError::HostUnreachable) => Some(NoWay::HostUnreachable),
            _ => None,
        }
    }
}

/// A route that was found.
struct Found {
    kind: RouteKind,
    link: Option<IfIndex>,
    via: Option<IpAddr>,
    mtu: Option<u32>,
    preferred: Option<IpAddr>,
    scope: u8,
    element: Element,
}

impl Found {
    fn new(stack: &Stack, route: &Route, chosen: usize) -> Self {
        let hop = route.next_hops.get(chosen);
        Self {
            kind: route.kind,
            link: hop.and_then(|it| it.link),
            via: hop.and_then(|it| it.via),
            mtu: route.mtu,
            preferred: route.preferred_source,
            scope: route.scope,
            element: route_element(&stack.place, route),
        }
    }

    fn hop(&self, destination: IpAddr) -> NextHop {
        NextHop {
            // A route of type unicast always names an interface; the index 0 belongs to none.
            link: self.link.unwrap_or(IfIndex(0)),
            next: self.via.unwrap_or(destination),
            mtu: self.mtu,
            source: self.preferred,
        }
    }
}

/// The name of a route.
pub(crate) fn route_element(place: &hopwise_snapshot::Place, route: &Route) -> Element {
    Element::route(place, route.table, &route.destination, route.metric)
}

/// The source address of a packet that takes this hop, where the route names none.
fn source_for(stack: &Stack, hop: &NextHop, destination: IpAddr, _scope: u8) -> Option<IpAddr> {
    if destination.is_ipv6() {
        return stack.select_ipv6(hop.link, destination);
    }
    stack.select_ipv4(hop.link, Some(hop.next), 0)
}

/// Only the interface's own switch counts (`ip_ignore_linkdown`, include/linux/inetdevice.h).
fn ignores_linkdown(stack: &Stack, link: IfIndex, is_ipv6: bool) -> bool {
    let key = SysctlKey::of_link(is_ipv6, &stack.link_name(link), "ignore_routes_with_linkdown");
    stack.switch(&key).surely(|it| *it != 0)
}

fn is_broadcast(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(it) if it.is_broadcast())
}

fn describe(stack: &Stack, route: &Route, chosen: usize) -> String {
    let to = if route.kind == RouteKind::Unicast {
        route.destination.to_string()
    } else {
        format!("{} {}", route.kind.word(), route.destination)
    };
    let hop = route.next_hops.get(chosen);
    let via = hop.and_then(|it| it.via).map(|it| format!(" via {it}"));
    let device = hop.and_then(|it| it.link).map(|it| format!(" dev {}", stack.link_name(it)));
    [Some(to), via, device].into_iter().flatten().collect()
}
