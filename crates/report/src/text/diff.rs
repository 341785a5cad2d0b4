//! What differs, by element, before and after.

use super::{
    Layout,
    page::{FAINT, Page, STRONG},
};
use crate::{Difference, Differences, Side, plural::count};

/// How many elements that could not be compared are listed.
const N_SHOWN: usize = 5;

/// A comparison for a person.
pub fn diff(differences: &Differences<'_>, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    page.field(0, "before", 8, &side(&differences.before));
    page.field(0, "after", 8, &side(&differences.after));
    page.gap();
    for it in &differences.list {
        one(&mut page, it);
    }
    page.gap();
    let total = match differences.list.len() {
        0 => "nothing differs".to_owned(),
        n => count(n, "difference"),
    };
    page.styled(0, &total, STRONG);
    if differences.n_left_out > 0 {
        let left_out = count(differences.n_left_out, "value");
        page.line(0, &format!("left out: {left_out} of what changes by itself; --all shows them"));
    }
    not_compared(&mut page, &differences.not_compared, layout);
    page.done()
}

fn side(side: &Side<'_>) -> String {
    let node = side.node.as_ref().map(|it| format!("node {it} of ")).unwrap_or_default();
    format!("{node}{} of {}", side.snapshot.source, side.snapshot.taken_at)
}

fn one(page: &mut Page, it: &Difference) {
    let change = match (&it.before, &it.after) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (None, Some(after)) => format!("new: {after}"),
        (Some(before), None) => format!("gone: {before}"),
        (None, None) => return,
    };
    page.line(0, &it.element);
    page.line(4, &change);
    if let Some(diff) = &it.diff {
        page.verbatim(6, diff);
    }
}

fn not_compared(page: &mut Page, elements: &[String], layout: &Layout) {
    if elements.is_empty() {
        return;
    }
    let n_shown = layout.n_shown(elements.len(), N_SHOWN);
    page.styled(0, "not compared, because one side or both were not read there:", FAINT);
    for element in elements.iter().take(n_shown) {
        page.line(2, element);
    }
    if elements.len() > n_shown {
        page.line(2, &format!("and {} more", elements.len() - n_shown));
    }
}
