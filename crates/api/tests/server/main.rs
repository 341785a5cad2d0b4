//! The API server as a source, against one that says what a test wants it to say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exec;
mod fake;
mod node_pods;
mod objects;
mod refusals;
mod restart;
mod rights;
mod trust;
