//! A repair step by step: what runs where, what makes it last, what takes it back, how it is seen to work.

use hopwise_repair::{Action, Repair};

use super::page::Page;
use crate::plural::count;

/// Where a step begins.
const AT: usize = 11;
/// Where labels of a step begin.
const LABEL: usize = 13;
/// Where their texts begin.
const TEXT: usize = 21;
/// How many lines of a file's change are shown.
const N_LINES: usize = 12;

/// The first `n_shown` steps of a repair.
pub(super) fn plan(page: &mut Page, repair: &Repair, n_shown: usize) {
    let n_steps = repair.actions.len();
    for (at, action) in repair.actions.iter().take(n_shown).enumerate() {
        let place = action.place.as_ref().map_or_else(|| "by hand".to_owned(), ToString::to_string);
        let head = format!("step {} of {n_steps}   {place}   risk {}", at + 1, action.risk.class());
        page.line(AT, &head);
        step(page, action);
    }
    if n_steps > n_shown {
        page.line(AT, &format!("and {} more; --verbose shows them", count(n_steps - n_shown, "step")));
    }
}

fn step(page: &mut Page, action: &Action) {
    lines(page, "run", &action.run);
    if let Some(persist) = &action.persist {
        page.field(LABEL, "write", TEXT, &persist.path);
        changed_lines(page, &persist.diff());
        if let Some(line) = &persist.overruled_by {
            page.field(
                LABEL,
                "but",
                TEXT,
                &format!("{line} is read later and says otherwise: change that line"),
            );
        }
    }
    if action.inverse.is_empty() {
        let is_done = !action.changes.is_empty() || action.persist.is_some();
        let text = if is_done { "hopwise undo sets back what it changes" } else { "nothing takes it back" };
        page.field(LABEL, "undo", TEXT, text);
    }
    lines(page, "undo", &action.inverse);
    if !action.verify.is_empty() {
        page.field(LABEL, "check", TEXT, &action.verify);
    }
}

/// The lines of a unified diff that change, without what every one of them begins with.
fn changed_lines(page: &mut Page, diff: &str) {
    let is_header = |it: &&str| ["--- ", "+++ ", "@@ "].iter().any(|word| it.starts_with(word));
    // The header is the first two lines; further ones are lines of the file.
    let changed: Vec<&str> =
        diff.lines().enumerate().filter(|(at, it)| *at >= 2 || !is_header(it)).map(|(_, it)| it).collect();
    let changed: Vec<&str> = changed.into_iter().filter(|it| it.starts_with(['+', '-'])).collect();
    for line in changed.iter().take(N_LINES) {
        page.verbatim(TEXT, line);
    }
    if changed.len() > N_LINES {
        page.line(TEXT, &format!("and {}", count(changed.len() - N_LINES, "line")));
    }
}

fn lines(page: &mut Page, label: &str, lines: &[String]) {
    for (at, line) in lines.iter().enumerate() {
        page.field(LABEL, if at == 0 { label } else { "" }, TEXT, line);
    }
}
