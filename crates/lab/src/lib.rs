//! Kubernetes clusters in network namespaces, and the truth about them by packets.
//!
//! Read [`up`] and [`Lab`] first: a lab is made by starting a keeper (a process that [`keep`] runs in), and used by
//! opening it. [`layout::Layout`] says what a lab consists of.
//!
//! What is deliberately absent: any judgement. This crate depends on nothing that models a data plane, so that
//! the truth is not computed by what it judges. The rules and routes of nodes come from `hopwise-controllers`, as
//! kube-proxy, flannel and kubelet would write them.

mod control;
mod directory;
mod error;
pub mod fault;
mod keeper;
mod lab;
pub mod layout;
mod member;
mod name;
mod network;
mod objects;
mod programs;
mod random;
pub mod truth;
mod up;
mod user_namespace;

pub use control::Controller;
pub use directory::LabsDirectory;
pub use error::LabError;
pub use keeper::keep;
pub use lab::{Lab, Member, MemberKind};
pub use layout::{Base, Shape};
pub use name::{LabName, LabNameError};
pub use programs::MissingProgram;
pub use up::{KeeperProgram, down, up};
