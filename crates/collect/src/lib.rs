//! Sources of snapshots: a machine's kernel and files, `kubectl` output, bundles of command output.
//!
//! Read [`net_ns`] first (one network namespace), then [`collect`] (nodes with their pods). Everything that
//! was asked for and not got is a value, [`hopwise_snapshot::Observed::NotCollected`] with its reason.
//!
//! What is deliberately absent: judgement, and changes. Nothing here writes to a node: tables are dumped,
//! files opened for reading, and the programs that are started only print. A program is started for packet
//! filters and IP sets alone, and only where the kernel says that there are some. Secrets are cut out of
//! files before they leave the node (see [`redact`]).
//!
//! | what | needs |
//! |---|---|
//! | another network namespace | `CAP_SYS_ADMIN` over it |
//! | packet filters, IP sets, IPsec policies | `CAP_NET_ADMIN` in it |
//! | tracked connections one by one, tables of iptables-legacy | root of it (files of mode 0440) |
//! | processes, holders of sockets | `CAP_SYS_PTRACE` over them |
//! | programs of the node in place of one's own | `CAP_SYS_CHROOT` |
//! | everything else | nothing |

mod error;
mod files;
pub mod kubectl;
mod limits;
mod modules;
mod net_ns;
mod node;
mod processes;
mod reason;
pub mod redact;
pub mod samples;

pub use error::{Position, SourceError};
pub use limits::Limits;
#[cfg(fuzzing)]
pub use net_ns::fuzzing;
pub use net_ns::net_ns;
pub use node::{Collected, NodeAccess, PodAccess, Progress, collect, node, pod};
