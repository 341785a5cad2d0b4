//! `HW1005`: files and runtime disagree, so that the next boot breaks what works now.

use std::collections::BTreeSet;

use hopwise_repair::{OWNED_SYSCTL_FILE, Repair, boot};
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, SysctlKey};

use crate::{
    case::{Case, listed},
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

/// Switches that one piece of a node's files decides against, or no longer decides.
struct Drift {
    element: Element,
    since: Option<String>,
    /// Each with what the files say.
    keys: Vec<(SysctlKey, String)>,
}

fn detect(case: &Case<'_>, suspects: &mut Suspects) {
    for (name, node) in case.nodes().filter(|(name, _)| case.hosts_pods(name)) {
        let Observed::Known(own) = boot::boot(node) else { continue };
        let place = Place::Node(name.clone());
        let mut drifts: Vec<Drift> = Vec::new();
        for key in NEEDED.map(SysctlKey::from_dotted) {
            if runtime(node, &key).as_deref() != Some("1") {
                continue;
            }
            let (element, since, observed) = match own.decides(&key) {
                Some(line) if line.value == "0" => {
                    let element = Element::file_line(&place, &line.path, line.line);
                    (element, None, format!("{key} = 0 by {}:{}", line.path, line.line))
                }
                None if let Some(path) = usual_file(case, name, &key) => {
                    let since = format!("{path} says it on the other nodes, and not on {name}");
                    (Element::file(&place, &path), Some(since), format!("no file sets {key}"))
                }
                _ => continue,
            };
            match drifts.iter_mut().find(|it| it.element == element) {
                Some(same) => same.keys.push((key, observed)),
                None => drifts.push(Drift { element, since, keys: vec![(key, observed)] }),
            }
        }
        for drift in drifts {
            report(case, suspects, name, drift);
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

fn report(case: &Case<'_>, suspects: &mut Suspects, name: &NodeName, drift: Drift) {
    let place = Place::Node(name.clone());
    let suspect = suspects.report(&CAUSE, drift.element.clone());
    let keys: Vec<String> = drift.keys.iter().map(|(key, _)| key.to_string()).collect();
    let mut unless = BTreeSet::new();
    for (key, observed) in drift.keys {
        let repair = Repair::sysctl(&place, &key, "1", case.snapshot);
        let first = repair.actions.first().and_then(|it| it.persist.as_ref());
        let overruled = first.and_then(|it| it.overruled_by.as_ref());
        unless.insert(overruled.map_or_else(
            || format!("{OWNED_SYSCTL_FILE} says otherwise"),
            |line| format!("{line} is changed, which is read behind {OWNED_SYSCTL_FILE}"),
        ));
        let element = drift.element.clone();
        let expected = format!("{key} = 1");
        suspect.because([Evidence { element, observed, expected, source: "sysctl.d".to_owned() }]);
        suspect.repair.actions.extend(repair.actions);
    }
    let unless: Vec<String> = unless.into_iter().collect();
    let (all, them) = (listed(&keys), if keys.len() == 1 { "it" } else { "them" });
    suspect
        .says(format!("Node {name} has {all} = 1 now, and will not have {them} after the next boot."))
        .since(drift.since)
        .later(format!("the next boot of {name} sets {all} to 0 unless {}", listed(&unless)));
}
