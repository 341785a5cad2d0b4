//! Files, directories, modules and processes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, at, counted, hash};
use crate::{Element, File, FileContent, Node, Observed, Place, Pod, Process};

pub(super) fn of_node(facts: &mut Facts<'_>, place: &Place, node: &Node) {
    match &node.kernel {
        Observed::Known(release) => facts.add(at(place, ["kernel"]), release.clone()),
        Observed::Absent => {}
        Observed::NotCollected(reason) => facts.not_collected(at(place, ["kernel"]), reason),
    }
    for module in facts.items(|| at(place, ["module"]), &node.modules) {
        facts.add(at(place, ["module", module]), "there".to_owned());
    }
    files(facts, place, &node.files);
    for (path, names) in &node.directories {
        let whole = || at(place, std::iter::once("directory").chain(parts(path)));
        for name in facts.items(whole, names) {
            let parts = std::iter::once("directory").chain(parts(path)).chain([name.as_str()]);
            facts.add(at(place, parts), "there".to_owned());
        }
    }
    processes(facts, place, &node.processes);
}

pub(super) fn of_pod(facts: &mut Facts<'_>, place: &Place, pod: &Pod) {
    facts.add(at(place, ["node"]), pod.node.to_string());
    files(facts, place, &pod.files);
    processes(facts, place, &pod.processes);
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|it| !it.is_empty())
}

fn files(facts: &mut Facts<'_>, place: &Place, files: &BTreeMap<String, Observed<File>>) {
    for (path, file) in files {
        let element = Element::file(place, path);
        match file {
            Observed::Known(file) => {
                facts.add(element, file_text(file));
                if let Some(modified) = file.modified {
                    let parts = std::iter::once("modified").chain(parts(path));
                    facts.add_passing(at(place, parts), modified.to_string());
                }
            }
            Observed::Absent => {}
            Observed::NotCollected(reason) => facts.not_collected(element, reason),
        }
    }
}

fn file_text(file: &File) -> String {
    let bytes = file.content.bytes();
    let mut words = Vec::new();
    if let FileContent::Text(text) = &file.content {
        words.push(counted(text.lines().count(), "line"));
    }
    words.push(counted(bytes.len(), "byte"));
    words.push(format!("mode {:o}", file.mode));
    words.push(format!("sha256 {}", hash(bytes)));
    words.extend(file.link_target.iter().map(|it| format!("a link to {it}")));
    if file.n_redacted > 0 {
        words.push(format!("{} cut out", counted(file.n_redacted as usize, "secret")));
    }
    words.join(", ")
}

/// Programs that run; how many processes each has, and their numbers, change by themselves.
fn processes(facts: &mut Facts<'_>, place: &Place, processes: &Observed<Vec<Process>>) {
    let mut programs: BTreeMap<&str, (BTreeSet<u32>, BTreeSet<&str>)> = BTreeMap::new();
    for process in facts.items(|| at(place, ["process"]), processes) {
        let (pids, states) = programs.entry(&process.program).or_default();
        pids.insert(process.pid);
        states.insert(&process.state);
    }
    for (program, (pids, states)) in programs {
        let text = if states.iter().all(|it| *it == "Z") {
            "ended, and not collected by its parent"
        } else if states.iter().all(|it| matches!(*it, "T" | "t" | "Z")) {
            "stopped"
        } else {
            "running"
        };
        facts.add(Element::process(place, program), text.to_owned());
        let pids = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        facts.add_passing(at(place, ["process", program, "pid"]), pids);
    }
}
