//! Where a condition is asked.

use crate::{Hook, Layer, Ruleset, Surroundings, Table, View};

/// Everything that a condition may look at.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'s> {
    pub(crate) view: &'s View<'s>,
    /// Which kind of packet the hook sees.
    pub(crate) layer: Layer,
    pub(crate) hook: Hook,
    pub(crate) table: &'s Table,
    pub(crate) ruleset: &'s Ruleset,
    pub(crate) around: &'s dyn Surroundings,
}
