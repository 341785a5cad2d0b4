//! Repairs: what to do about a finding, what it risks, what makes it last, and what takes it back.
//!
//! Read [`Repair`] and [`Action`]. [`boot`] predicts from a node's files which kernel switches it will have
//! after a reboot. [`journal`] is the form in which a repair is written down while it is done, and [`undo`] says from
//! that what is to be set back.
//!
//! What is deliberately absent: doing anything. A repair is computed here, tried on the model by whoever
//! diagnoses, and printed or done by the command line.

mod action;
pub mod boot;
pub mod journal;
mod persist;
mod risk;
mod undo;

pub use action::{Action, Repair};
pub use journal::{Entry, Journal, PlannedFinding, PlannedStep};
pub use persist::{OWNED_SYSCTL_FILE, Persist};
pub use risk::Risk;
pub use undo::{Conflict, Recorded, Undo, places, undo};
