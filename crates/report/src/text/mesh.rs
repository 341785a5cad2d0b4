//! Whether packets pass between nodes: a line for each question.

use super::{
    Layout,
    page::{Page, STRONG},
};
use crate::{document::MeshDocument, plural::count};

/// The questions between nodes for a person.
pub fn mesh(mesh: &MeshDocument, layout: &Layout) -> String {
    let mut page = Page::new(layout);
    let n = mesh.questions.len();
    let n_answered = mesh.questions.iter().filter(|it| it.answered > 0).count();
    let head = match n {
        0 => "no two nodes have pods that should reach each other by what was read".to_owned(),
        _ => format!("{n_answered} of {} between nodes answered by packets", count(n, "question")),
    };
    page.styled(0, &head, STRONG);
    page.gap();
    for it in &mesh.questions {
        let sign = if it.answered > 0 { '·' } else { '✗' };
        let nodes = [&it.from_node, &it.to_node].map(|it| it.as_deref().unwrap_or("?"));
        let size = it.size.map(|it| format!(" of {it} bytes")).unwrap_or_default();
        let refused = if it.refused > 0 { format!(", {} refused", it.refused) } else { String::new() };
        page.line(
            0,
            &format!(
                "{sign} {} → {}   {} of {} answered{refused}   IPv{}: {} → {}{size}",
                nodes[0], nodes[1], it.answered, it.sent, it.family, it.from, it.to
            ),
        );
    }
    page.done()
}
