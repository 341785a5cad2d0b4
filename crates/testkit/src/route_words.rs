//! Words about routes and routing policy rules.

use hopwise_change::{Change, RouteSpec};
use hopwise_snapshot::{RouteKind, RoutingRule, RuleAction, tables};
use ipnet::IpNet;

use crate::words::{Scene, parsed, table, unfit};

/// `route-add [KIND] DESTINATION [via IP] [dev LINK] [table T] [metric N]`.
pub(crate) fn add(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let kinds = [
        ("blackhole", RouteKind::Blackhole),
        ("unreachable", RouteKind::Unreachable),
        ("prohibit", RouteKind::Prohibit),
        ("throw", RouteKind::Throw),
    ];
    let (kind, rest) = match words.split_first() {
        Some((first, rest)) => match kinds.iter().find(|(name, _)| name == first) {
            Some((_, kind)) => (*kind, rest),
            None => (RouteKind::Unicast, words),
        },
        None => return unfit(),
    };
    let [to, options @ ..] = rest else { return unfit() };
    let mut route = RouteSpec { kind, ..RouteSpec::unicast(destination(to, false)?, None, "") };
    route.link = None;
    if kind != RouteKind::Unicast {
        route.scope = 0;
    }
    for pair in options.chunks(2) {
        match pair {
            ["via", ip] => {
                route.via = Some(parsed(ip, "an address")?);
                route.scope = 0;
            }
            ["dev", link] => route.link = Some(scene.link(link)?),
            ["table", name] => route.table = table(name)?,
            ["metric", number] => route.metric = parsed(number, "a metric")?,
            _ => return unfit(),
        }
    }
    if kind == RouteKind::Unicast && route.link.is_none() {
        return Err("a route that leads somewhere needs `dev LINK`".to_owned());
    }
    Ok(vec![Change::RouteReplaced { place: scene.place.clone(), route }])
}

/// `route-del DESTINATION [table T]`: the route of the lowest metric.
pub(crate) fn del(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let (to, name) = match words {
        [to] => (to, "main"),
        [to, "table", name] => (to, *name),
        _ => return unfit(),
    };
    let (destination, number) = (destination(to, *to == "default6")?, table(name)?);
    let routes = scene.net.routes.known().into_iter().flatten();
    let found = routes.filter(|it| it.table == number && it.destination == destination);
    let Some(route) = found.min_by_key(|it| it.metric) else {
        return Err(format!("{} has no route {to} in table {}", scene.place, tables::name(number)));
    };
    let metric = route.metric;
    Ok(vec![Change::RouteRemoved { place: scene.place.clone(), table: number, destination, metric }])
}

fn destination(word: &str, is_ipv6: bool) -> Result<IpNet, String> {
    let text = match (word, is_ipv6) {
        ("default", false) => "0.0.0.0/0",
        ("default6", _) => "::/0",
        _ => word,
    };
    parsed(text, "a network, `default` or `default6`")
}

/// `rule-add [-6] pref N [not] [from NET] [to NET] [fwmark V/M] ACTION`.
pub(crate) fn rule_add(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let (is_ipv6, rest) = family(words);
    let ["pref", priority, rest @ ..] = rest else { return unfit() };
    let (inverted, mut rest) = match rest {
        ["not", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let rule = RoutingRule::new(is_ipv6, parsed(priority, "a priority")?, RuleAction::Nop);
    let mut rule = RoutingRule { inverted, ..rule };
    loop {
        rest = match rest {
            ["from", net, rest @ ..] => {
                rule.source = Some(parsed(net, "a network")?);
                rest
            }
            ["to", net, rest @ ..] => {
                rule.destination = Some(parsed(net, "a network")?);
                rest
            }
            ["fwmark", mark, rest @ ..] => {
                rule.mark = Some(self::mark(mark)?);
                rest
            }
            _ => break,
        };
    }
    rule.action = match rest {
        ["lookup", name] => RuleAction::Lookup(table(name)?),
        ["blackhole"] => RuleAction::Blackhole,
        ["unreachable"] => RuleAction::Unreachable,
        ["prohibit"] => RuleAction::Prohibit,
        _ => return unfit(),
    };
    Ok(vec![Change::RuleAdded { place: scene.place.clone(), rule: Box::new(rule) }])
}

/// `rule-del [-6] pref N`.
pub(crate) fn rule_del(scene: &Scene<'_>, words: &[&str]) -> Result<Vec<Change>, String> {
    let (is_ipv6, rest) = family(words);
    let ["pref", priority] = rest else { return unfit() };
    let priority = parsed(priority, "a priority")?;
    let mut rules = scene.net.rules.known().into_iter().flatten();
    if !rules.any(|it| it.is_ipv6 == is_ipv6 && it.priority == priority) {
        return Err(format!("{} has no rule of priority {priority}", scene.place));
    }
    Ok(vec![Change::RuleRemoved { place: scene.place.clone(), is_ipv6, priority }])
}

fn family<'w, 'a>(words: &'w [&'a str]) -> (bool, &'w [&'a str]) {
    match words {
        ["-6", rest @ ..] => (true, rest),
        rest => (false, rest),
    }
}

fn mark(word: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let (value, mask) = word.split_once('/').unwrap_or((word, "0xffffffff"));
    match (number(value), number(mask)) {
        (Some(value), Some(mask)) => Ok((value, mask)),
        _ => Err(format!("expected VALUE/MASK, found `{word}`")),
    }
}
