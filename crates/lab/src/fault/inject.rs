//! Doing a fault.

use std::fs::File;

use super::{
    Action, Fault, FaultError,
    cause::Step,
    checkpoint::{self, Checkpoint},
    journal::{Entry, Journal, Undo},
};
use crate::{
    Lab, LabError,
    lab::Member,
    network::{Batch, Job, run_all},
    objects::ObjectStore,
};

/// Injects faults into a lab, one after the other. All are looked at before the first is done.
///
/// A process that is not the lab's root must call [`Lab::enter_user_namespace`] before.
pub fn inject(lab: &Lab, faults: &[Fault]) -> Result<(), LabError> {
    let _only_one = alone(lab)?;
    let planned: Vec<(&Fault, Vec<Step>)> =
        faults.iter().map(|it| Ok((it, steps(lab, it)?))).collect::<Result<_, LabError>>()?;
    for (fault, steps) in planned {
        inject_one(lab, fault, &steps)?;
    }
    Ok(())
}

/// Keeps others from injecting and healing at the same time, as long as what it returns is open.
pub(super) fn alone(lab: &Lab) -> Result<File, LabError> {
    let path = lab.objects_dir();
    let directory = File::open(&path).map_err(|source| LabError::Read { path: path.clone(), source })?;
    directory.lock().map_err(|source| LabError::Read { path, source })?;
    Ok(directory)
}

fn steps(lab: &Lab, fault: &Fault) -> Result<Vec<Step>, LabError> {
    match fault {
        Fault::Cause(cause, node) => {
            let cluster = ObjectStore::new(lab.objects_dir()).cluster()?;
            cause.steps(lab.layout(), &cluster, node.as_deref())
        }
        Fault::Primitive { member, action } => {
            let member = lab.member(member)?.name.clone();
            Ok(vec![Step::Act { member, action: action.clone() }])
        }
    }
}

fn inject_one(lab: &Lab, fault: &Fault, steps: &[Step]) -> Result<(), LabError> {
    let mut journal = Journal::read(lab)?;
    journal.entries.push(Entry { fault: fault.to_string(), undo: Vec::new() });
    for step in steps {
        let undo = undo(lab, step, &mut journal)?;
        if let Some(entry) = journal.entries.last_mut() {
            let new: Vec<Undo> = undo.into_iter().filter(|it| !entry.undo.contains(it)).collect();
            entry.undo.extend(new);
        }
        journal.write(lab)?;
        take(lab, step)?;
    }
    Ok(())
}

/// How a step will be taken back, from how things are now.
fn undo(lab: &Lab, step: &Step, journal: &mut Journal) -> Result<Vec<Undo>, LabError> {
    Ok(match step {
        Step::Restart(pod) => vec![Undo::Restart(pod.clone())],
        Step::Flannel { node, .. } => vec![Undo::Flannel { node: node.clone() }],
        Step::Act { member, action } => {
            let at = lab.member(member)?;
            let member = member.clone();
            match action {
                Action::Sysctl { key, .. } => {
                    vec![Undo::Sysctl { member, key: key.clone(), value: checkpoint::switch(at, key)? }]
                }
                Action::Write { path, .. } | Action::Remove { path } => {
                    vec![Undo::File { member, path: path.clone(), content: checkpoint::file(at, path)? }]
                }
                Action::Command(_) => {
                    let mut undo = vec![Undo::Rebuild { member: member.clone() }];
                    if !journal.checkpoints.contains_key(&member) {
                        journal.checkpoints.insert(member.clone(), Checkpoint::of(at)?);
                        undo.insert(0, Undo::Checkpoint { member });
                    }
                    undo
                }
            }
        }
    })
}

fn take(lab: &Lab, step: &Step) -> Result<(), LabError> {
    match step {
        Step::Restart(pod) => lab.restart_pod(pod),
        Step::Flannel { node, ip, bridge } => {
            let pid = lab.member(node)?.pid;
            run_all(&[Job::ip(node, pid, &Batch::from_text(ip))])?;
            run_all(&[Job::bridge(node, pid, &Batch::from_text(bridge))])
        }
        Step::Act { member, action } => {
            let member = lab.member(member)?;
            match action {
                Action::Sysctl { key, value } => checkpoint::set_switch(member, key, value),
                Action::Write { path, text } => checkpoint::set_file(member, path, Some(text.as_bytes())),
                Action::Remove { path } => checkpoint::set_file(member, path, None),
                Action::Command(words) => run(lab, member, words),
            }
        }
    }
}

fn run(lab: &Lab, member: &Member, words: &[String]) -> Result<(), LabError> {
    let failed = |message: String| FaultError::Failed {
        command: words.join(" "),
        member: member.name.clone(),
        message,
    };
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let output = lab.command(member, program)?.args(arguments).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = if said.trim().is_empty() { output.status.to_string() } else { said.trim().to_owned() };
    Err(failed(message).into())
}
