//! Repairs: what to do about a finding, what it risks, what makes it last, and what takes it back.
//!
//! Read [`Repair`] and [`Action`]. [`boot`] predicts from a node's files which kernel switches it will have
//! after a reboot.
//!
//! What is deliberately absent: doing anything. A repair is computed here, tried on the model by whoever
//! diagnoses, and printed.

mod action;
pub mod boot;
mod persist;
mod risk;

pub use action::{Action, Repair};
pub use persist::{OWNED_SYSCTL_FILE, Persist};
pub use risk::Risk;
