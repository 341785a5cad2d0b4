//! Agents on nodes and pods that are namespaces of this kernel.
//!
//! Needs rights over network namespaces of its own and must not have any over the machine's: `script/test kernel`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod doing;
mod endings;
mod harness;
mod reading;
mod sending;
