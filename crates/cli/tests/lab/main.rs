//! The lab by its own command, with real packets.
//!
//! Needs to be root, or a user who may make user namespaces; as root, everything is tried as uid 65534 too. The
//! programs of Debian's iproute2, nftables, iptables and util-linux are needed.
//!
//! ```text
//! cargo test -p hopwise-cli --test lab
//! ```

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod canonical;
mod cases;
mod controllers;
mod diagnosis;
mod exec;
mod faults;
mod harness;
mod life;
mod probes;
mod readme;
mod repairs;
mod seeds;
mod trials;
mod truths;
