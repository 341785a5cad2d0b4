//! The kernel edge: namespaces, netlink, processes.
#![expect(unsafe_code, reason = "this is the one crate that may; every use says why it is sound")]

pub mod mount;
pub mod namespace;
pub mod process;
pub mod socket;
