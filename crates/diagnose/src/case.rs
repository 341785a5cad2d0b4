//! What a cause looks at.

use std::collections::{BTreeMap, BTreeSet};

use hopwise_dataplane::{Blocker, Promise};
use hopwise_snapshot::{Element, Node, NodeName, Observed, Place, PodName, Snapshot, SysctlKey, Sysctls};

use crate::{
    cause::Evidence,
    intent::{Aspect, Deviation},
    rules::ForeignRule,
};

/// A cluster that something may be wrong with.
pub struct Case<'a> {
    /// The facts.
    pub snapshot: &'a Snapshot,
    /// What stops promised flows, each once, with how many it stops.
    pub blockers: BTreeMap<Blocker, usize>,
    /// The promises that are broken, each with what stops it.
    pub broken: Vec<(&'a Promise, &'a BTreeSet<Blocker>)>,
    /// How many flows policies forbid.
    pub n_forbidden: usize,
    /// How many of those arrive, or would if anybody listened.
    pub n_open: usize,
    /// Where facts are not as the API's objects, the controllers, the kernel's defaults or the twin nodes say.
    pub deviations: &'a [Deviation],
    /// Rules on the way of broken flows that no controller of the cluster wrote.
    pub foreign_rules: &'a [ForeignRule],
}

impl<'a> Case<'a> {
    /// The nodes that were read.
    pub fn nodes(&self) -> impl Iterator<Item = (&'a NodeName, &'a Node)> {
        self.snapshot.nodes.iter().filter_map(|(name, node)| Some((name, node.known()?)))
    }

    /// Does the cluster run pods with a network of their own on this node? Only such a node must forward.
    pub fn hosts_pods(&self, node: &NodeName) -> bool {
        let pods = self.snapshot.cluster.pods.known().into_iter().flatten();
        let mut here = pods.filter(|it| it.spec.node_name.as_deref() == Some(node.as_str()));
        here.any(|it| !it.spec.host_network && it.is_running())
    }

    /// The last thing that went wrong with a pod, by its events.
    pub fn last_warning(&self, pod: &PodName) -> Option<String> {
        let events = self.snapshot.cluster.events.known().into_iter().flatten();
        let own = events.filter(|it| {
            let about = &it.involved_object;
            it.is_warning()
                && about.kind == "Pod"
                && about.namespace == pod.namespace
                && about.name == pod.name
        });
        let last = own.max_by_key(|it| it.last_seen())?;
        Some(format!("{}: {}", last.reason, last.message.trim()))
    }

    /// The last line that a pod's containers wrote and that sounds like a complaint, of the one that ended first.
    pub fn last_error(&self, pod: &PodName) -> Option<String> {
        let logs = self.snapshot.cluster.logs.known().into_iter().flatten().filter(|it| it.pod == *pod);
        let mut logs: Vec<_> = logs.collect();
        logs.sort_by_key(|it| !it.is_previous);
        let lines = logs.into_iter().filter_map(|it| it.lines.known()).flat_map(|it| it.iter().rev());
        let complains = |text: &str| {
            let text = text.to_lowercase();
            ["error", "fatal", "fail", "refused", "timeout", "loop", "cannot", "unable", "denied"]
                .iter()
                .any(|it| text.contains(it))
        };
        let mut texts = lines.map(|it| it.text.trim());
        texts.find(|it| complains(it)).map(|it| format!("log: {it}"))
    }

    /// The deviations of one kind.
    pub fn deviating(&self, aspect: Aspect) -> impl Iterator<Item = &'a Deviation> {
        self.deviations.iter().filter(move |it| it.aspect == aspect)
    }

    /// The deviation at an element.
    pub fn deviation_at(&self, element: &Element) -> Option<&'a Deviation> {
        self.deviations.iter().find(|it| it.element == *element)
    }

    /// The values of a switch on the other nodes, for one line of evidence: `cp 1, w1 1`.
    pub fn on_other_nodes(&self, node: &NodeName, key: &SysctlKey) -> String {
        let others = self.nodes().filter(|(name, _)| *name != node);
        let values = others.filter_map(|(name, it)| {
            let sysctls: &Sysctls = it.net.sysctls.known()?;
            Some(format!("{name} {}", sysctls.get(key).known()?))
        });
        values.collect::<Vec<_>>().join(", ")
    }
}

/// Evidence that a kernel switch has a value.
pub(crate) fn switch_evidence(place: &Place, key: &SysctlKey, observed: &str, expected: &str) -> Evidence {
    Evidence {
        element: Element::sysctl(place, key),
        observed: observed.to_owned(),
        expected: expected.to_owned(),
        source: format!("/proc/sys/{}", key.path()),
    }
}

/// Why a file no longer says something, by comparison with the other nodes: `its file is gone: … on cp and w1,
/// not on w2`.
pub(crate) fn missing_file(case: &Case<'_>, node: &NodeName, path: &str) -> Option<String> {
    let has = |it: &Node| matches!(it.files.get(path), Some(Observed::Known(_)));
    let own = case.nodes().find(|(name, _)| *name == node)?.1;
    if has(own) || !matches!(own.files.get(path), Some(Observed::Absent)) {
        return None;
    }
    let with: Vec<String> =
        case.nodes().filter(|(_, it)| has(it)).map(|(name, _)| name.to_string()).collect();
    (!with.is_empty()).then(|| format!("its file is gone: {path} on {}, not on {node}", listed(&with)))
}

/// Names as a person lists them: `a, b and c`.
pub(crate) fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
