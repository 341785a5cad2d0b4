//! Every case of every page of the manual, on its bases' snapshots; and the bases themselves, which are healthy.
//!
//! `HOPWISE_CASES=TEXT cargo test -p hopwise-testkit --test cases` tries only the cases whose `PAGE:LINE` or heading
//! has that text in it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use hopwise_diagnose::{Diagnosis, diagnose};
use hopwise_snapshot::{Element, Snapshot};
use hopwise_testkit::{BASES, Case, Page, base, pages, workspace};

const PAGES: &str = "crates/diagnose/src/causes";

/// All pages; what cannot be read fails the test with page, line and what was expected.
fn all_pages() -> Vec<Page> {
    let (good, bad): (Vec<_>, Vec<_>) =
        pages(&workspace(), PAGES).unwrap().into_iter().partition(Result::is_ok);
    let bad: Vec<String> = bad.into_iter().map(|it| it.unwrap_err().to_string()).collect();
    assert!(bad.is_empty(), "pages that cannot be read:\n{}", bad.join("\n"));
    good.into_iter().map(Result::unwrap).collect()
}

fn bases() -> BTreeMap<&'static str, Snapshot> {
    BASES.into_iter().map(|name| (name, base(name).unwrap())).collect()
}

/// What a diagnosis names, as a page expects it.
fn named(diagnosis: &Diagnosis) -> BTreeSet<(String, Element)> {
    let findings = diagnosis.findings.iter();
    findings.map(|it| (it.cause.code.to_string(), it.elements[0].clone())).collect()
}

/// What is wrong with a case on a base, one line each.
fn mismatches(case: &Case, base_name: &str, base: &Snapshot) -> Vec<String> {
    let told = |what: String| format!("{} ({base_name}) {}: {what}", case.place(), case.heading);
    let (expected, snapshot) = match (case.expected_in(base), case.made(base)) {
        (Ok(expected), Ok((_, snapshot))) => (expected, snapshot),
        (Err(error), _) | (_, Err(error)) => return vec![error.to_string()],
    };
    let found = named(&diagnose(&snapshot));
    let missing = expected.difference(&found).map(|(code, at)| told(format!("not found: {code} {at}")));
    let extra = found.difference(&expected).map(|(code, at)| told(format!("found too: {code} {at}")));
    missing.chain(extra).collect()
}

#[test]
fn every_case_finds_what_its_page_says() {
    let (pages, bases) = (all_pages(), bases());
    let only = std::env::var("HOPWISE_CASES").unwrap_or_default();
    let all: Vec<(&Case, &str)> = pages
        .iter()
        .flat_map(|page| &page.cases)
        .flat_map(|case| case.scenario.bases.iter().map(move |base| (case, base.as_str())))
        .collect();
    let is_wanted = |case: &Case| case.place().contains(&only) || case.heading.contains(&only);
    let tried: Vec<&(&Case, &str)> = all.iter().filter(|(case, _)| is_wanted(case)).collect();
    let (next, wrong, slowest) =
        (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new((0.0, String::new())));
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((case, base)) = tried.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    let found = mismatches(case, base, &bases[base]);
                    let took = begin.elapsed().as_secs_f64();
                    let mut slowest = slowest.lock().unwrap();
                    if took > slowest.0 {
                        *slowest = (took, case.place());
                    }
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    wrong.sort();
    let (took, place) = slowest.into_inner().unwrap();
    eprintln!(
        "{} of {} cases tried in {:.1} s; the slowest took {took:.1} s: {place}",
        tried.len(),
        all.len(),
        begin.elapsed().as_secs_f64()
    );
    assert!(!tried.is_empty(), "no case has `{only}` in its place or heading");
    assert!(wrong.is_empty(), "{} mismatches:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn nothing_is_found_in_a_healthy_base() {
    for (name, base) in bases() {
        let diagnosis = diagnose(&base);
        assert_eq!(named(&diagnosis), BTreeSet::new(), "{name}");
        assert_eq!(diagnosis.verdict().word(), "healthy", "{name}");
        assert!(diagnosis.n_promised > 1000, "{name}: {}", diagnosis.n_promised);
    }
}
