//! What is done with the sources, as functions that tests call too.
//!
//! [`manual`] generates documents, [`tidy`] says what is not in order. What is deliberately absent: anything that a
//! user of Hopwise needs.

pub mod bases;
pub mod cluster;
mod layers;
pub mod manual;
pub mod new_cause;
mod sources;
pub mod tidy;
pub mod tiers;
