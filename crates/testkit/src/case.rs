//! A case: what is broken in which base, and what is to be found.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use hopwise_change::Change;
use hopwise_snapshot::{Element, Snapshot};
use serde::Deserialize;
use toml::Spanned;

use crate::{
    bases::BASES,
    forget::forget,
    names,
    page::PageError,
    underlay::{Fault, observe},
    words,
};

/// A case of a page.
#[derive(Clone, Debug)]
pub struct Case {
    /// The page.
    pub path: PathBuf,
    /// The line of its heading, from 1.
    pub line: usize,
    /// Its heading.
    pub heading: String,
    /// What is said of it; empty where the heading says it all.
    pub sentence: String,
    /// What is broken.
    pub scenario: Scenario,
    /// What is to be found, each with its line.
    pub expected: Vec<(usize, Expected)>,
}

/// What is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The base clusters on which the case is tried.
    pub bases: Vec<String>,
    /// What is done, in order: the line and `PLACE: WORDS`.
    pub inject: Vec<(usize, String)>,
    /// What nobody reads: the line and `PLACE: KIND`.
    pub forget: Vec<(usize, String)>,
    /// What gets lost between the nodes: the line and the words of a [`Fault`]. Probes are sent then.
    pub underlay: Vec<(usize, String)>,
    /// Why the case cannot be had in a lab.
    pub not_in_lab: Option<String>,
}

/// A finding by its code and the element that it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expected {
    /// `HW1001`.
    pub code: String,
    /// The element, in which `{pod/NS/NAME}` and `{vtep NODE}` stand for names that a base has given.
    pub element: String,
}

/// Why a case cannot be made of a base.
pub type CaseError = PageError;

/// The block `scenario` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    base: Spanned<toml::Value>,
    #[serde(default)]
    inject: Vec<Spanned<String>>,
    #[serde(default)]
    forget: Vec<Spanned<String>>,
    #[serde(default)]
    underlay: Vec<Spanned<String>>,
    lab: Option<Spanned<String>>,
}

impl Case {
    /// The cases in lines of a page, from the line number `first` (from 0) on.
    pub(crate) fn parse_all(path: &Path, lines: &[&str], first: usize) -> Result<Vec<Self>, PageError> {
        let error = |line: usize, what: String| PageError { path: path.to_owned(), line, what };
        let mut starts = Vec::new();
        let mut is_inside = false;
        for (at, line) in lines.iter().enumerate().skip(first) {
            if line.starts_with("```") {
                is_inside = !is_inside;
            } else if !is_inside && line.starts_with("### ") {
                starts.push(at);
            }
            if starts.is_empty() && !line.trim().is_empty() {
                return Err(error(at + 1, "expected a case (`### What it is about`)".to_owned()));
            }
        }
        if is_inside {
            return Err(error(lines.len(), "a block that begins with ``` has no end".to_owned()));
        }
        let mut cases = Vec::new();
        for (number, start) in starts.iter().enumerate() {
            let end = starts.get(number + 1).copied().unwrap_or(lines.len());
            cases.push(Self::parse(path, lines, *start, end)?);
        }
        Ok(cases)
    }

    fn parse(path: &Path, lines: &[&str], start: usize, end: usize) -> Result<Self, PageError> {
        let error = |line: usize, what: String| PageError { path: path.to_owned(), line, what };
        let mut sentence = String::new();
        let (mut scenario, mut expected) = (None, None);
        let mut at = start + 1;
        while at < end {
            let line = lines[at];
            let Some(kind) = line.strip_prefix("```") else {
                if !line.trim().is_empty() && scenario.is_some() {
                    return Err(error(
                        at + 1,
                        "expected the sentence of a case before its blocks".to_owned(),
                    ));
                }
                sentence.push_str(line);
                sentence.push('\n');
                at += 1;
                continue;
            };
            let close = (at + 1..end).find(|it| lines[*it] == "```");
            let close = close.ok_or_else(|| error(at + 1, format!("the block `{kind}` has no end")))?;
            let body = &lines[at + 1..close];
            match kind {
                "scenario" if scenario.is_none() => {
                    scenario = Some(Scenario::parse(body, at + 2).map_err(|(line, what)| error(line, what))?);
                }
                "expect" if expected.is_none() => {
                    expected = Some(expectations(body, at + 2).map_err(|(line, what)| error(line, what))?);
                }
                other => {
                    let what = format!("expected one block `scenario` and one `expect`, found `{other}`");
                    return Err(error(at + 1, what));
                }
            }
            at = close + 1;
        }
        let missing = |what: &str| error(start + 1, format!("this case has no block `{what}`"));
        Ok(Self {
            path: path.to_owned(),
            line: start + 1,
            heading: lines[start].trim_start_matches("### ").trim().to_owned(),
            sentence: sentence.trim().to_owned(),
            scenario: scenario.ok_or_else(|| missing("scenario"))?,
            expected: expected.ok_or_else(|| missing("expect"))?,
        })
    }

    /// Where the case stands, for messages.
    pub fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }

    /// The changes that its words mean for a base, in order, and the base with them made and with what nobody reads
    /// forgotten.
    pub fn made(&self, base: &Snapshot) -> Result<(Vec<Change>, Snapshot), CaseError> {
        let mut snapshot = base.clone();
        let mut all = Vec::new();
        for (line, text) in &self.scenario.inject {
            all.extend(words::make(&mut snapshot, text).map_err(|what| self.error(*line, what))?);
        }
        self.forget_in(&mut snapshot)?;
        let faults = self.faults_in(&snapshot)?;
        if !faults.is_empty() {
            observe(&mut snapshot, &faults);
        }
        Ok((all, snapshot))
    }

    /// What gets lost between the nodes of a base.
    pub fn faults_in(&self, base: &Snapshot) -> Result<Vec<Fault>, CaseError> {
        let all = self.scenario.underlay.iter();
        all.map(|(line, text)| Fault::parse(base, text).map_err(|what| self.error(*line, what))).collect()
    }

    /// Forgets what nobody reads in this case.
    pub fn forget_in(&self, snapshot: &mut Snapshot) -> Result<(), CaseError> {
        for (line, text) in &self.scenario.forget {
            forget(snapshot, text).map_err(|what| self.error(*line, what))?;
        }
        Ok(())
    }

    /// What is to be found in a base: codes and the elements that they name.
    pub fn expected_in(&self, base: &Snapshot) -> Result<BTreeSet<(String, Element)>, CaseError> {
        let mut all = BTreeSet::new();
        for (line, expected) in &self.expected {
            let text = names::filled(base, &expected.element).map_err(|what| self.error(*line, what))?;
            let element = text.parse().map_err(|what| self.error(*line, what))?;
            all.insert((expected.code.clone(), element));
        }
        Ok(all)
    }

    fn error(&self, line: usize, what: String) -> CaseError {
        CaseError { path: self.path.clone(), line, what }
    }
}

impl Scenario {
    /// Reads a block whose first line has the number `first`; on failure the line and what is wrong.
    fn parse(body: &[&str], first: usize) -> Result<Self, (usize, String)> {
        let text = body.join("\n");
        let line_of = |at: usize| first + text[..at.min(text.len())].matches('\n').count();
        let written: Written = toml::from_str(&text)
            .map_err(|error| (line_of(error.span().map_or(0, |it| it.start)), error.message().to_owned()))?;
        let list = |all: Vec<Spanned<String>>| -> Vec<(usize, String)> {
            all.into_iter().map(|it| (line_of(it.span().start), it.into_inner())).collect()
        };
        let at_base = line_of(written.base.span().start);
        let bases = match written.base.into_inner() {
            toml::Value::String(one) => vec![one],
            toml::Value::Array(all) => {
                let names = all.iter().map(|it| it.as_str().map(str::to_owned));
                names.collect::<Option<_>>().unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let is_base = |it: &String| BASES.contains(&it.as_str());
        if bases.is_empty() || !bases.iter().all(is_base) {
            return Err((
                at_base,
                format!("expected one base or a list of them, out of {}", BASES.join(", ")),
            ));
        }
        let not_in_lab = match written.lab {
            None => None,
            Some(text) => {
                let line = line_of(text.span().start);
                let reason = text.get_ref().strip_prefix("no: ").filter(|it| !it.trim().is_empty());
                Some(reason.ok_or((line, "expected lab = \"no: REASON\"".to_owned()))?.to_owned())
            }
        };
        Ok(Self {
            bases,
            inject: list(written.inject),
            forget: list(written.forget),
            underlay: list(written.underlay),
            not_in_lab,
        })
    }
}

fn expectations(body: &[&str], first: usize) -> Result<Vec<(usize, Expected)>, (usize, String)> {
    let mut all = Vec::new();
    for (at, line) in body.iter().enumerate().filter(|(_, it)| !it.trim().is_empty()) {
        let is_code = |it: &str| {
            it.strip_prefix("HW").is_some_and(|it| it.len() == 4 && it.chars().all(|it| it.is_ascii_digit()))
        };
        match line.split_once(' ') {
            Some((code, element)) if is_code(code) && !element.trim().is_empty() => {
                let expected = Expected { code: code.to_owned(), element: element.trim().to_owned() };
                all.push((first + at, expected));
            }
            _ => return Err((first + at, format!("expected `HWnnnn ELEMENT`, found `{line}`"))),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Page;

    fn page(cases: &str) -> Result<Page, PageError> {
        Page::parse(Path::new("a.md"), &format!("# a\n\n## Cases\n{cases}"))
    }

    fn said(cases: &str) -> String {
        page(cases).unwrap_err().to_string()
    }

    const GOOD: &str = "
### It is off
Two
lines.

```scenario
base   = [\"vxlan\", \"dual-stack\"]
inject = [
  \"w1: sysctl a=0\",
  \"w2: rm /x\",
]
forget = [\"w2: files\"]
lab = \"no: nobody has it\"
```
```expect
HW1001 node/w1/link/{pod/a/b}/up
```
";

    #[test]
    fn a_case_has_words_with_their_lines() {
        let page = page(GOOD).unwrap();
        let case = &page.cases[0];
        assert_eq!(
            (case.line, case.heading.as_str(), case.sentence.as_str()),
            (5, "It is off", "Two\nlines.")
        );
        assert_eq!(case.scenario.bases, ["vxlan", "dual-stack"]);
        assert_eq!(case.scenario.inject, [(12, "w1: sysctl a=0".to_owned()), (13, "w2: rm /x".to_owned())]);
        assert_eq!(case.scenario.forget, [(15, "w2: files".to_owned())]);
        assert_eq!(case.scenario.not_in_lab.as_deref(), Some("nobody has it"));
        let element = "node/w1/link/{pod/a/b}/up".to_owned();
        assert_eq!(case.expected, [(19, Expected { code: "HW1001".to_owned(), element })]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        assert_eq!(said("text\n"), "a.md:4: expected a case (`### What it is about`)");
        assert_eq!(
            said("### A\n```scenario\nbase = \"vxlan\"\n```\n"),
            "a.md:4: this case has no block `expect`"
        );
        assert_eq!(
            said("### A\n```scenario\nbase = \"calico\"\n```\n"),
            "a.md:6: expected one base or a list of them, out of vxlan, dual-stack"
        );
        assert_eq!(
            said("### A\n```scenario\nbase = \"vxlan\"\nlab = \"no\"\n```\n"),
            "a.md:7: expected lab = \"no: REASON\""
        );
        assert_eq!(
            said("### A\n```expect\nHW1 x\n```\n"),
            "a.md:6: expected `HWnnnn ELEMENT`, found `HW1 x`"
        );
        assert_eq!(
            said("### A\n```expected\n```\n"),
            "a.md:5: expected one block `scenario` and one `expect`, found `expected`"
        );
        assert!(said("### A\n```scenario\nbase = \"vxlan\"\nbroken = 1\n```\n").starts_with("a.md:7: "));
        assert_eq!(said("### A\n```scenario\n"), "a.md:5: a block that begins with ``` has no end");
    }
}
