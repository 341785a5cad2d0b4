//! The API server as a source of facts.
//!
//! Read [`ApiServer::connect`] first, then [`ApiServer::read`]. Objects are read as the API server prints them, by the
//! same reader as files of `kubectl get -o json` ([`hopwise_collect::kubectl`]).
//!
//! What may not be read is a fact that was not collected, with the right that is missing; everything else goes on.
//! Requests are `GET`s of lists and of logs, bounded in time and size ([`Limits`]). What is deliberately absent: Secrets,
//! which no request names, and judgement.
//!
//! Connecting starts threads. Whatever must happen in a process of one thread, as entering a user namespace, comes before.

mod certificate;
mod error;
mod kubeconfig;
mod limits;
mod list;
mod logs;
mod node_pod;
mod proxy;
mod read;
mod request;
mod restart;
mod server;

pub use error::{ApiError, Said};
pub use kubeconfig::Environment;
pub use limits::Limits;
pub use node_pod::{NodeLine, NodePodError, NodePodOptions, NodePods};
pub use proxy::Proxies;
pub use restart::RestartError;
pub use server::{Access, ApiServer};

/// How far reading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many lists were read.
    pub n_done: usize,
    /// How many there are.
    pub n_all: usize,
    /// What was read last.
    pub what: &'static str,
}
