//! The tracer and the diagnosis against packets.
//!
//! Read [`compare`] first (what the tracer says of every pair of a lab, held against what packets did), then
//! [`Kind`] and [`kinds`] (the changes that somebody could make by hand) and [`try_out`] (a lab is changed, measured
//! and diagnosed).
//!
//! What is deliberately absent: any knowledge of causes. A trial knows which piece of state its command changed, and
//! asks whether the diagnosis names that.

mod campaign;
mod comparison;
mod fault;
mod kills;
mod kinds;
mod laboratory;
mod repairs;
mod tracer;
mod trial;
mod underlay;

pub use campaign::{Faults, Say, Score, TracerScore, tracer};
pub use comparison::{Comparison, Disagreement, compare, not_measured};
pub use fault::{Fault, Kind, Scene};
pub use kills::{Kills, KillsScore};
pub use kinds::all as kinds;
pub use laboratory::{Laboratory, LaboratoryError};
pub use repairs::{RepairTrial, Repairs};
pub use tracer::{compare_under, conditions};
pub use trial::{Judgement, Outcome, Trial, try_out};
pub use underlay::{Underlay, UnderlayScore};
