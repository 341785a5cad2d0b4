//! `HW9006`: a route or a routing policy rule is missing, or leads elsewhere.

use hopwise_change::Change;
use hopwise_dataplane::{Blocker, BlockerKind};
use hopwise_repair::{Action, Repair, Risk};

use super::{report_blockers, report_deviation};
use crate::{
    case::Case,
    cause::{Cause, Code, Suspects},
    intent::Aspect,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9006),
    name: "route-wrong",
    summary: "a route or a routing policy rule is missing, or leads packets elsewhere",
    manual: include_str!("route_wrong.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for deviation in case.deviating(Aspect::Route).chain(case.deviating(Aspect::RoutingRule)) {
        report_deviation(suspects, &CAUSE, deviation);
    }
    report_blockers(case, suspects, &CAUSE, |it| repair(case, it));
}

/// What refuses goes.
fn repair(case: &Case<'_>, blocker: &Blocker) -> Option<Repair> {
    let place = blocker.place.clone()?;
    let (change, verify) = match &blocker.kind {
        BlockerKind::RouteRefuses { table, destination } => {
            let routes = case.snapshot.net(&place)?.routes.known()?;
            let route = routes.iter().find(|it| it.table == *table && it.destination == *destination)?;
            let change = Change::RouteRemoved {
                place,
                table: *table,
                destination: *destination,
                metric: route.metric,
            };
            (change, format!("ip route get {}", destination.addr()))
        }
        BlockerKind::RuleRefuses { is_ipv6, priority } => {
            (Change::RuleRemoved { place, is_ipv6: *is_ipv6, priority: *priority }, "ip rule".to_owned())
        }
        _ => return None,
    };
    Some(Repair::one(Action::change(change, case.snapshot, Risk::Additive, verify)))
}
