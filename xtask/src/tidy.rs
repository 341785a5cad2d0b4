//! What is not in order: causes, their pages, layers, sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Result;
use hopwise_diagnose::{Cause, causes};
use hopwise_testkit::{Page, SECTIONS, pages};

use crate::{layers, sources};

const CAUSES: &str = "crates/diagnose/src/causes";

/// Everything that is not in order, one line each.
pub fn findings(root: &Path) -> Result<Vec<String>> {
    let mut found = registry(root)?;
    let mut by_name: BTreeMap<String, Page> = BTreeMap::new();
    for page in pages(root, CAUSES)? {
        match page {
            Ok(page) => drop(by_name.insert(page.title.clone(), page)),
            Err(error) => found.push(error.to_string()),
        }
    }
    for cause in causes::all() {
        match by_name.get(cause.name) {
            Some(page) => found.extend(of_page(cause, page)),
            None => found.push(format!("{CAUSES}: no page is called `# {}`", cause.name)),
        }
    }
    found.extend(layers::findings(root)?);
    found.extend(sources::findings(root)?);
    Ok(found)
}

/// Files, pages and registered causes must be the same, each in the folder of its group, codes in order and once.
fn registry(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let (mut sources, mut manuals) = (BTreeSet::new(), BTreeSet::new());
    for group in fs::read_dir(root.join(CAUSES))? {
        let group = group?;
        if !group.path().is_dir() {
            continue;
        }
        let folder = group.file_name().to_string_lossy().into_owned();
        for file in fs::read_dir(group.path())? {
            let path = file?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match path.extension().and_then(|it| it.to_str()) {
                Some("rs") if stem != "mod" => drop(sources.insert(format!("{folder}/{stem}"))),
                Some("md") => drop(manuals.insert(format!("{folder}/{stem}"))),
                _ => {}
            }
        }
    }
    let registered: BTreeSet<String> =
        causes::all().map(|it| format!("{}/{}", causes::group(it.code), it.name.replace('-', "_"))).collect();
    for name in sources.difference(&registered) {
        found.push(format!("{CAUSES}/{name}.rs: no line in its group's mod.rs registers it"));
    }
    for name in registered.difference(&sources) {
        found.push(format!("{CAUSES}/{name}.rs: expected here by its name and code, not found"));
    }
    for name in registered.symmetric_difference(&manuals) {
        found.push(format!("{CAUSES}/{name}.md: a page without a cause, or the reverse"));
    }
    let codes: Vec<u16> = causes::all().map(|it| it.code.0).collect();
    if !codes.is_sorted_by(|a, b| a < b) {
        found.push(format!("{CAUSES}: codes are not in order, or one is there twice: {codes:?}"));
    }
    Ok(found)
}

fn of_page(cause: &Cause, page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    let path = page.path.display();
    let titles: Vec<&str> = page.sections.iter().map(|it| it.title.as_str()).collect();
    if titles != SECTIONS {
        found.push(format!(
            "{path}: expected the sections {}, found {}",
            SECTIONS.join(", "),
            titles.join(", ")
        ));
    }
    for section in page.sections.iter().filter(|it| it.text.is_empty()) {
        found.push(format!("{path}:{}: `{}` says nothing", section.line, section.title));
    }
    found.extend(look_alikes(page));
    let code = cause.code.to_string();
    let is_own = |case: &hopwise_testkit::Case| case.expected.iter().any(|(_, it)| it.code == code);
    let is_other = |case: &hopwise_testkit::Case| {
        !case.expected.is_empty() && !is_own(case) && case.scenario.forget.is_empty()
    };
    let is_silent = |case: &hopwise_testkit::Case| !case.scenario.forget.is_empty() && !is_own(case);
    for (has, what) in [
        (page.cases.iter().any(is_own), "finds it"),
        (page.cases.iter().any(is_other), "looks alike and yields another code"),
        (page.cases.iter().any(is_silent), "has the deciding fact unread and does not accuse it"),
    ] {
        if !has {
            found.push(format!("{path}: no case {what}"));
        }
    }
    for case in &page.cases {
        for (line, expected) in &case.expected {
            if causes::find(&expected.code).is_none() {
                found.push(format!("{path}:{line}: no cause has the code {}", expected.code));
            }
        }
    }
    found
}

/// Items that begin with a name in code must name a cause.
fn look_alikes(page: &Page) -> Vec<String> {
    let Some(section) = page.section("Look-alikes") else { return Vec::new() };
    let mut found = Vec::new();
    for (at, line) in section.text.lines().enumerate() {
        let Some((names, _)) = line.strip_prefix("- `").and_then(|it| it.split_once(':')) else { continue };
        for name in names.split('`').step_by(2).filter(|it| !it.is_empty()) {
            if causes::find(name).is_none() {
                let line = section.line + 1 + at;
                found.push(format!("{}:{line}: `{name}` is no cause", page.path.display()));
            }
        }
    }
    found
}
