//! The model against the kernel: rules are loaded, packets sent, and the counters that grew compared with
//! the rules that the model says a packet passes.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

mod bench;
mod clusters;
mod conditions;
mod connections;
mod firewalls;
mod packets;
mod space;
mod tracer;
mod verdicts;

/// The two back ends of iptables.
const BACK_ENDS: [&str; 2] = ["nft", "legacy"];
