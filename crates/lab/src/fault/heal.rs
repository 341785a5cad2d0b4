//! Taking all faults back.

use std::collections::BTreeSet;

use hopwise_snapshot::PodName;

use super::{
    checkpoint,
    inject::alone,
    journal::{Journal, Undo},
};
use crate::{Controller, Lab, LabError, MemberKind, control::Request, objects::ObjectStore};

/// Takes back all faults of a lab, the last first, and returns them as they were asked for.
///
/// Switches and files get what they had; members in which commands were run get their networks built anew and all
/// their switches and files as they were. What has ended is started again.
///
/// A process that is not the lab's root must call [`Lab::enter_user_namespace`] before.
pub fn heal(lab: &Lab) -> Result<Vec<String>, LabError> {
    let _only_one = alone(lab)?;
    let journal = Journal::read(lab)?;
    let undo = || journal.entries.iter().rev().flat_map(|it| it.undo.iter().rev());
    let mut rebuilt = BTreeSet::new();
    let mut flannels = BTreeSet::new();
    let mut restarted = BTreeSet::new();
    for it in undo() {
        match it {
            Undo::Rebuild { member } => drop(rebuilt.insert(member.clone())),
            Undo::Flannel { node } => drop(flannels.insert(node.clone())),
            Undo::Restart(pod) => drop(restarted.insert(pod.clone())),
            Undo::Sysctl { .. } | Undo::File { .. } | Undo::Checkpoint { .. } => {}
        }
    }
    // First the interfaces, then their switches.
    for member in in_order(lab, &rebuilt) {
        lab.ask(&Request::Rebuild { member })?;
    }
    for it in undo() {
        match it {
            Undo::Sysctl { member, key, value } => {
                // An interface that somebody else took away has none any more.
                drop(checkpoint::set_switch(lab.member(member)?, key, value));
            }
            Undo::File { member, path, content } => {
                checkpoint::set_file(lab.member(member)?, path, content.as_deref())?;
            }
            Undo::Checkpoint { member } => {
                if let Some(checkpoint) = journal.checkpoints.get(member) {
                    checkpoint.restore(lab.member(member)?)?;
                }
            }
            Undo::Rebuild { .. } | Undo::Flannel { .. } | Undo::Restart(_) => {}
        }
    }
    for node in &lab.layout().nodes {
        lab.ask(&Request::StartPrograms { node: node.name.clone() })?;
    }
    for node in flannels.iter().filter(|it| !rebuilt.contains(*it)) {
        lab.sync(Controller::Flannel, node)?;
    }
    restarted.extend(unready_pods(lab)?);
    for pod in &restarted {
        lab.restart_pod(pod)?;
    }
    Journal::default().write(lab)?;
    Ok(journal.entries.into_iter().map(|it| it.fault).collect())
}

/// Pods whose container has ended.
fn unready_pods(lab: &Lab) -> Result<Vec<PodName>, LabError> {
    let cluster = ObjectStore::new(lab.objects_dir()).cluster()?;
    let pods = lab.layout().pods().map(|(_, it)| &it.name);
    let is_unready = |it: &&PodName| cluster.pod(it).is_some_and(|it| !it.is_ready());
    Ok(pods.filter(is_unready).cloned().collect())
}

/// Those that must be built anew, the underlay first. With a node its pods are, with the underlay all are.
fn in_order(lab: &Lab, members: &BTreeSet<String>) -> Vec<String> {
    let of_kind = |kind| {
        let found = lab.members().iter().filter(move |it| it.kind == kind && members.contains(&it.name));
        found.map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    let fabric = of_kind(MemberKind::Fab);
    if !fabric.is_empty() {
        return fabric;
    }
    let nodes = of_kind(MemberKind::Node);
    let pods = of_kind(MemberKind::Pod).into_iter().filter(|name| {
        let node = name.parse().ok().and_then(|place: hopwise_snapshot::Place| {
            let pod = place.as_pod()?.clone();
            lab.layout().pod(&pod).map(|(node, _)| node.name.clone())
        });
        node.is_none_or(|it| !nodes.contains(&it))
    });
    let pods: Vec<String> = pods.collect();
    [of_kind(MemberKind::Outside), nodes, pods].concat()
}
