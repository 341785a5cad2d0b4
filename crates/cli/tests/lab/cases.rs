//! Every case of the manual in a lab: its words run as commands, and what is diagnosed then.
//!
//! `HOPWISE_CASES=TEXT cargo test -p hopwise-cli --test lab cases` tries only the cases whose `PAGE:LINE` or heading has
//! that text in it.

use std::{
    collections::BTreeSet,
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hopwise_diagnose::diagnose;
use hopwise_snapshot::{Element, Place, Snapshot, hop};
use hopwise_testkit::{
    BASES, Case, Fault, Page, base, differences, lab_commands, pages, tentative, workspace,
};

use crate::harness::{Labs, plain_user, program, users};

const PAGES: &str = "crates/diagnose/src/causes";
/// How many labs there are at once.
const N_LABS: usize = 2;

/// What `hopwise collect` reads of a lab, with these probes.
fn collected(labs: &Labs, lab: &str, probes: &str) -> Snapshot {
    let file = labs.directory.join(format!(".{lab}.hop"));
    let output = labs
        .command(program())
        .args(["collect", "--lab", lab, "--probe", probes, "-o"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "collect {lab}: {}", String::from_utf8_lossy(&output.stderr));
    let snapshot = hop::read(&fs::read(&file).unwrap()).unwrap();
    fs::remove_file(file).unwrap();
    snapshot
}

/// The same, as soon as no address is still being probed for duplicates (RFC 4862 §5.4): about a second after `up`.
fn settled(labs: &Labs, lab: &str) -> Snapshot {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let snapshot = collected(labs, lab, "none");
        match tentative(&snapshot) {
            None => return snapshot,
            Some(it) => assert!(Instant::now() < deadline, "{} is probed for ten seconds", it.address),
        }
    }
}

#[test]
fn a_fresh_lab_is_like_the_committed_base() {
    for (user, name) in users().iter().flat_map(|user| BASES.map(|base| (*user, base))) {
        let labs = Labs::new(user);
        labs.ok(&["up", "tk", "--base", name]);
        let found = differences(&base(name).unwrap(), &settled(&labs, "tk"));
        assert!(
            found.is_empty(),
            "as {user:?}: the base {name} is out of date; `cargo xtask bases` captures it anew. Committed | now:\n{}",
            found.join("\n")
        );
    }
}

#[test]
fn every_case_is_found_in_a_lab_too() {
    let all: Vec<Page> = pages(&workspace(), PAGES).unwrap().into_iter().map(Result::unwrap).collect();
    let only = std::env::var("HOPWISE_CASES").unwrap_or_default();
    let mut tried: Vec<(&Case, &str)> = Vec::new();
    let mut not_here: Vec<String> = Vec::new();
    for case in all.iter().flat_map(|it| &it.cases) {
        if !(case.place().contains(&only) || case.heading.contains(&only)) {
            continue;
        }
        match &case.scenario.not_in_lab {
            Some(reason) => not_here.push(format!("{} {}: {reason}", case.place(), case.heading)),
            None => tried.extend(case.scenario.bases.iter().map(|base| (case, base.as_str()))),
        }
    }
    let (next, wrong, begin) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Instant::now());
    thread::scope(|scope| {
        for number in 0..N_LABS {
            let (next, wrong, tried) = (&next, &wrong, &tried);
            scope.spawn(move || {
                let labs = Labs::new(plain_user());
                while let Some((case, base)) = tried.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = mismatches(&labs, &format!("tk{number}"), case, base);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    eprintln!("{} cases in labs in {:.0} s", tried.len(), begin.elapsed().as_secs_f64());
    eprintln!("{} cases that no lab can show:\n{}", not_here.len(), not_here.join("\n"));
    assert!(!tried.is_empty(), "no case has `{only}` in its place or heading");
    assert!(wrong.is_empty(), "{} mismatches:\n{}", wrong.len(), wrong.join("\n"));
}

/// What is wrong with a case in a fresh lab of a base, one line each.
fn mismatches(labs: &Labs, lab: &str, case: &Case, base: &str) -> Vec<String> {
    labs.ok(&["up", lab, "--base", base]);
    let told = |what: String| format!("{} ({base}) {}: {what}", case.place(), case.heading);
    let found = found(labs, lab, case);
    labs.ok(&["down", lab]);
    match found {
        Err(what) => vec![told(what)],
        Ok((expected, found)) => {
            let missing =
                expected.difference(&found).map(|(code, at)| told(format!("not found: {code} {at}")));
            let extra = found.difference(&expected).map(|(code, at)| told(format!("found too: {code} {at}")));
            missing.chain(extra).collect()
        }
    }
}

type Findings = BTreeSet<(String, Element)>;

/// What a case expects in a lab, and what is found there.
fn found(labs: &Labs, lab: &str, case: &Case) -> Result<(Findings, Findings), String> {
    let mut world = settled(labs, lab);
    let expected = case.expected_in(&world).map_err(|it| it.to_string())?;
    let (changes, _) = case.made(&world).map_err(|it| it.to_string())?;
    for change in &changes {
        for command in lab_commands(change, &world)? {
            let member = match &command.place {
                Some(Place::Node(name)) => name.to_string(),
                Some(pod @ Place::Pod(_)) => pod.to_string(),
                None => return Err(format!("`{command}` has no place")),
            };
            let words: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
            let output = labs.lab(&[&["exec", lab, &member, "--"], words.as_slice()].concat());
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(format!("in {member}, `{command}` said: {said}"));
            }
        }
        change.apply(&mut world).map_err(|it| it.to_string())?;
    }
    for fault in case.faults_in(&world).map_err(|it| it.to_string())? {
        break_underlay(labs, lab, &fault)?;
    }
    let mut world = collected(labs, lab, "auto");
    case.forget_in(&mut world).map_err(|it| it.to_string())?;
    let findings = diagnose(&world).findings;
    Ok((expected, findings.iter().map(|it| (it.cause.code.to_string(), it.elements[0].clone())).collect()))
}

/// Has the bridge between the nodes drop what a fault loses.
fn break_underlay(labs: &Labs, lab: &str, fault: &Fault) -> Result<(), String> {
    let output = labs.lab(&["exec", lab, "fab", "--", "nft", &fault.rules()]);
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("in fab, nft said: {said}")) }
}
