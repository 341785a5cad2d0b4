//! Facts against what the tools of the same kernel print.
//!
//! Needs rights over network namespaces of its own and must not have any over the machine's:
//!
//! ```text
//! CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="unshare -Urnm" cargo test -p hopwise-collect --test kernel
//! ```

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod filters;
mod harness;
mod nodes;
mod stack;
mod tables;
mod traffic_control;
