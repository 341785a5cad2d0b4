//! The kernel edge: namespaces, netlink, processes.
#![expect(unsafe_code, reason = "this is the one crate that may; every use says why it is sound")]

mod errand;
mod in_root;
pub mod mount;
pub mod namespace;
pub mod netlink;
mod netns;
pub mod packet;
pub mod process;
mod program;
pub mod socket;

pub use errand::{Errand, Ran};
pub use in_root::{FileKind, ReadError, Root, RootFile};
pub use netns::NetNs;
pub use program::{Program, ProgramError, ProgramLimits};
