//! Questions that were asked by packets: a line for each.

use super::{
    Layout,
    page::{Page, STRONG},
};
use crate::{
    document::{ProbesDocument, QuestionEntry},
    plural::count,
};

/// Questions and their answers for a person. `none` is said where there was nothing to ask.
pub fn probes(probes: &ProbesDocument, none: &str, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let n = probes.questions.len();
    let n_answered = probes.questions.iter().filter(|it| it.answered > 0).count();
    let head = match n {
        0 => none.to_owned(),
        _ => format!("{n_answered} of {} answered by packets", count(n, "question")),
    };
    page.styled(0, &head, STRONG);
    page.gap();
    for it in &probes.questions {
        page.line(0, &line(it));
    }
    page.done()
}

fn line(it: &QuestionEntry) -> String {
    let is_answered = it.answered > 0;
    let sign = if is_answered { '·' } else { '✗' };
    let way = match (&it.from_node, &it.to_node) {
        (Some(from), Some(to)) => format!("{from} → {to}   "),
        _ => String::new(),
    };
    let size = it.size.map(|it| format!(" of {it} bytes")).unwrap_or_default();
    let name = it.name.as_ref().map(|it| format!("   for {it}")).unwrap_or_default();
    let refused = if it.refused > 0 { format!(", {} refused", it.refused) } else { String::new() };
    let model = match (it.model, is_answered) {
        ("delivered", true) => String::new(),
        ("delivered", false) => "   the model says: delivered".to_owned(),
        (model, _) => format!("   the model says: {model}"),
    };
    format!(
        "{sign} {way}{} of {} answered{refused}   IPv{}: {} → {}{size}{name}{model}",
        it.answered, it.sent, it.family, it.from, it.to
    )
}
