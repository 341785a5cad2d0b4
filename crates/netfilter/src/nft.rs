//! The language of nft.

use crate::{
    run::{Answer, Flow, Stage},
    scene::Scene,
    ternary::Ternary,
};

/// A set or map.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {}

/// A stateful object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {}

/// A flowtable.
#[derive(Clone, Debug, PartialEq)]
pub struct Flowtable {}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {}

impl Relation {
    pub(crate) fn answer(&self, _scene: &Scene<'_>) -> Answer {
        Answer::Settled(Ternary::unknown("not yet"))
    }
}

impl Statement {
    pub(crate) fn leads_to<'s>(&'s self, _all: &mut Vec<&'s str>) {}

    pub(crate) fn is_inert(&self) -> bool {
        false
    }

    pub(crate) fn apply<'r>(&'r self, _stage: &mut Stage<'r, '_, '_>) -> Flow<'r> {
        Flow::Next
    }
}
