//! A repair step by step: what runs where, what makes it last, what takes it back, how it is seen to work.

use hopwise_repair::{Action, Repair};

use super::page::Page;

/// Where labels of a step begin.
const AT: usize = 13;
/// Where their texts begin.
const TEXT: usize = 23;

pub(super) fn plan(page: &mut Page, repair: &Repair) {
    let n_steps = repair.actions.len();
    for (at, action) in repair.actions.iter().enumerate() {
        let place = action.place.as_ref().map_or_else(|| "by hand".to_owned(), ToString::to_string);
        let head = format!("step {} of {n_steps}   {place}   risk {}", at + 1, action.risk.class());
        page.field(2, if at == 0 { "plan" } else { "" }, 11, &head);
        step(page, action);
    }
}

fn step(page: &mut Page, action: &Action) {
    lines(page, "run", &action.run);
    if let Some(persist) = &action.persist {
        page.field(AT, "persist", TEXT, &persist.path);
        page.verbatim(TEXT, &persist.diff());
    }
    if action.inverse.is_empty() {
        page.field(AT, "inverse", TEXT, "none");
    }
    lines(page, "inverse", &action.inverse);
    if !action.verify.is_empty() {
        page.field(AT, "verify", TEXT, &action.verify);
    }
}

fn lines(page: &mut Page, label: &str, lines: &[String]) {
    for (at, line) in lines.iter().enumerate() {
        page.field(AT, if at == 0 { label } else { "" }, TEXT, line);
    }
}
