//! Causes, the search among them, and the proof.
//!
//! Read [`diagnose`] first, then [`Cause`] (what one root-cause kind is) and [`Finding`] (a cause at definite
//! elements, with its evidence and its repair).
//!
//! What is deliberately absent: I/O, clocks, and knowledge of what a test injected. A cause looks at facts; what
//! proves it is that with its repair in the model the broken promises are kept, no other breaks, and nothing
//! forbidden opens.

mod case;
mod cause;
pub mod causes;
mod crossed;
pub mod drift;
mod finding;
mod hypothesis;
mod intent;
mod look_alikes;
pub mod plan;
mod probing;
mod rules;
mod search;
mod seen;

pub use case::Case;
pub use cause::{Cause, Code, Evidence, Suspect, Suspects};
pub use crossed::{flow_of, question_of};
pub use finding::{Diagnosis, Finding, Kind, Proof, RuledOut, UnknownFact, Verdict, Violation};
pub use intent::{Aspect, Basis, Deviation};
pub use probing::{mesh, names, probes};
pub use rules::{Does, ForeignRule};
pub use search::{diagnose, diagnose_promises, prove};
