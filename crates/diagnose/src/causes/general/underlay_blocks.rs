//! `HW9017`: packets get lost between nodes, and no node's state says why.

use hopwise_dataplane::{Blocker, BlockerKind, Lost};
use hopwise_repair::{Action, Repair};

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
    crossed,
};

pub(super) static CAUSE: Cause = Cause {
    code: Code(9017),
    name: "underlay-blocks",
    summary: "packets get lost between nodes: what lies between them drops them",
    manual: include_str!("underlay_blocks.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    report_losses(case, suspects, &CAUSE, |it| matches!(it, Lost::All | Lost::Large(_)));
}

/// Reports what packets showed to be lost between nodes, of the kinds that are a cause's.
pub(crate) fn report_losses(
    case: &Case<'_>,
    suspects: &mut Suspects,
    cause: &'static Cause,
    is_own: impl Fn(Lost) -> bool,
) {
    for blocker in case.blockers.keys() {
        let BlockerKind::Lost { what, .. } = blocker.kind else { continue };
        if is_own(what) {
            suspects
                .report(cause, blocker.element.clone())
                .says(sentence(blocker, what))
                .because(evidence(case, blocker))
                .repaired_by(Repair { actions: told(what) });
        }
    }
}

/// Who loses what: `From w1 to w2 UDP 8472 gets lost between the nodes, …`.
fn sentence(blocker: &Blocker, what: Lost) -> String {
    let parts = blocker.element.parts();
    let scope = parts.first().map_or("", String::as_str);
    let way = match (scope.split_once('>'), scope) {
        (_, "all") => "Between all nodes".to_owned(),
        (Some((from, "")), _) => format!("From {from} to every other node"),
        (Some(("", to)), _) => format!("From every other node to {to}"),
        (Some((from, to)), _) => format!("From {from} to {to}, and not the other way,"),
        (None, scope) => match &blocker.kind {
            BlockerKind::Lost { from, to, .. } if [from.as_str(), to.as_str()].contains(&scope) => {
                format!("Between {scope} and every other node")
            }
            BlockerKind::Lost { from, to, .. } => format!("Between {} and {}", from.min(to), from.max(to)),
            _ => String::new(),
        },
    };
    format!("{way} {what} {} lost on the way: no node drops it.", what.verb())
}

/// What was seen of the packets that crossed where this one is lost.
fn evidence(case: &Case<'_>, blocker: &Blocker) -> Vec<Evidence> {
    let all = crossed::of_element(case.snapshot, &blocker.element);
    let seen = all.into_iter().map(|(observed, expected)| Evidence {
        element: blocker.element.clone(),
        observed,
        expected,
        source: "packets watched on both nodes".to_owned(),
    });
    seen.collect()
}

/// What a person can do: none of it is a node's state.
fn told(what: Lost) -> Vec<Action> {
    let open = "in the security group or firewall between them";
    let first = match what {
        Lost::UdpPort(port) => format!("open UDP {port} between the nodes {open}"),
        Lost::Udp => format!("open UDP between the nodes {open}, the tunnel's port at least"),
        Lost::All => {
            format!("let the nodes reach each other: look for a rule {open}, a missing route, a cable")
        }
        Lost::Large(size) => {
            format!(
                "let packets of {size} bytes pass between the nodes, or give pods and tunnel a smaller MTU"
            )
        }
    };
    let direct = "or, where the nodes share a subnet, route pods directly and do without the tunnel (flannel: host-gw)";
    let is_tunnel = matches!(what, Lost::UdpPort(_) | Lost::Udp);
    let all = [Some(first), is_tunnel.then(|| direct.to_owned())];
    all.into_iter().flatten().map(|it| Action::told(None, it, "hopwise probe mesh")).collect()
}
