//! `HW1005`: files and runtime disagree, so that the next boot breaks what works now.

use hopwise_repair::{Action, OWNED_SYSCTL_FILE, Repair, boot};
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, SysctlKey};

use crate::{
    case::Case,
    cause::{Cause, Code, Evidence, Suspects},
};

/// Switches that a node with pods needs on.
const NEEDED: [&str; 3] =
    ["net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"];

pub(super) static CAUSE: Cause = Cause {
    code: Code(1005),
    name: "node-sysctl-drift",
    summary: "the node's files say otherwise than its kernel, and win at the next boot",
    manual: include_str!("node_sysctl_drift.md"),
    detect,
};

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for (name, node) in case.nodes().filter(|(name, _)| case.hosts_pods(name)) {
        let Observed::Known(own) = boot::boot(node) else { continue };
        for key in NEEDED.map(SysctlKey::from_dotted) {
            if runtime(node, &key).as_deref() != Some("1") {
                continue;
            }
            match own.decides(&key) {
                Some(line) if line.value == "0" => {
                    let element = Element::file_line(&Place::Node(name.clone()), &line.path, line.line);
                    let observed = format!("{key} = 0 by {}:{}", line.path, line.line);
                    report(case, suspects, name, &key, element, observed, None);
                }
                None if let Some(path) = usual_file(case, name, &key) => {
                    let element = Element::file(&Place::Node(name.clone()), &path);
                    let since = Some(format!("{path} says it on the other nodes, and not on {name}"));
                    report(case, suspects, name, &key, element, format!("no file sets {key}"), since);
                }
                _ => {}
            }
        }
    }
}

fn runtime(node: &Node, key: &SysctlKey) -> Option<String> {
    node.net.sysctls.known()?.get(key).known().map(|it| (*it).to_owned())
}

/// The file that sets a switch on every other node, where there are at least two of them.
fn usual_file(case: &Case<'_>, name: &NodeName, key: &SysctlKey) -> Option<String> {
    let others: Vec<Option<String>> = case
        .nodes()
        .filter(|(other, _)| *other != name)
        .map(|(_, node)| {
            boot::boot(node).known()?.decides(key).filter(|it| it.value == "1").map(|it| it.path.clone())
        })
        .collect();
    if others.len() < 2 {
        return None;
    }
    others.into_iter().collect::<Option<Vec<_>>>()?.into_iter().next()
}

fn report(
    case: &Case<'_>,
    suspects: &mut Suspects,
    name: &NodeName,
    key: &SysctlKey,
    element: Element,
    observed: String,
    since: Option<String>,
) {
    let place = Place::Node(name.clone());
    let evidence = Evidence {
        element: element.clone(),
        observed,
        expected: format!("{key} = 1"),
        source: "sysctl.d".to_owned(),
    };
    let action = Action::sysctl(&place, key, "1", case.snapshot);
    let overruled = action.persist.as_ref().and_then(|it| it.overruled_by.as_ref());
    let unless = overruled.map_or_else(
        || format!("{OWNED_SYSCTL_FILE} says otherwise"),
        |line| format!("{line} is changed, which is read behind {OWNED_SYSCTL_FILE}"),
    );
    suspects
        .report(&CAUSE, element)
        .says(format!("Node {name} has {key} = 1 now, and will not have it after the next boot."))
        .because([evidence])
        .since(since)
        .repaired_by(Repair::one(action))
        .later(format!("the next boot of {name} sets {key} to 0 unless {unless}"));
}
