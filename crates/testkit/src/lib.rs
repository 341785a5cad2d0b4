//! Healthy base clusters, and the cases of the manual's pages.
//!
//! Read [`Page`] first: the page of a cause with its [`Case`]s. A case says in words what is broken in which base
//! cluster ([`base`]) and what is to be found. The words ([`WORDS`]) are read once, into changes
//! ([`hopwise_change::Change`]); these are applied to the base's snapshot in the case tier, and run as commands in a
//! lab's namespaces in the lab tier.
//!
//! What is deliberately absent: any judgement of what is found, and any running of commands. This crate is for tests
//! alone.

mod bases;
mod case;
mod forget;
mod lab;
mod names;
mod object_words;
mod page;
mod route_words;
mod rule_words;
mod samples;
mod underlay;
mod volatile;
mod words;

pub use bases::{BASES, base, base_path, workspace};
pub use case::{Case, CaseError, Expected, Scenario};
pub use lab::{lab_commands, tentative};
pub use page::{Page, PageError, SECTIONS, Section, pages};
pub use samples::{SAMPLES, sample};
pub use underlay::Fault;
pub use volatile::differences;
pub use words::{OBJECT_WORDS, WORDS, WordSpec, after};
