//! What the commands print, byte by byte, on snapshots of a lab: healthy, and with three faults.
//!
//! Where a change of the output is meant, `INSTA_UPDATE=always cargo test -p hopwise-cli --test output` writes the
//! expectations anew; their diff is then what users will see.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod demo;
mod documents;
mod handbook;
mod harness;
mod image;
mod live;
mod manual;
mod texts;
