//! What differs between two captures of the same healthy cluster, and what may.

use hopwise_snapshot::{
    Element, Snapshot,
    facts::{FactKind, facts},
};

use crate::names;

/// Is a difference of this element by chance alone?
pub fn is_volatile(_element: &Element) -> bool {
    false
}

/// What a capture has otherwise than another, one line each; what chance decides is left out.
pub fn differences(one: &Snapshot, other: &Snapshot) -> Vec<String> {
    let (ours, theirs) = (facts(one), facts(other));
    let _ = (names::veth, FactKind::Lasting);
    let mut all = Vec::new();
    for (element, fact) in &ours {
        if theirs.get(element) != Some(fact) && fact.kind != FactKind::Passing && !is_volatile(element) {
            all.push(format!("{element}: {fact}"));
        }
    }
    all
}
