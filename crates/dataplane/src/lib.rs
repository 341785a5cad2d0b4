//! The data plane of a cluster as its kernels run it: the tracer, the contract, and what a change would do.
//!
//! Read [`Network`] first (built from a snapshot), then [`trace`] and [`Trace`] (one flow, hop by hop), then
//! [`contract`] (what Kubernetes promises) and [`verify`] (which promises are kept).
//!
//! What is deliberately absent: I/O, clocks and randomness; where the kernel throws dice, every outcome is
//! followed. Nothing here fails on bad state: what is not understood is an [`Assumption`], and a flow that
//! depends on one is [`Disposition::Unknown`].

mod around;
mod contract;
mod duties;
mod meant;
mod model;
mod names;
mod packet;
mod permission;
mod standing;
mod trace;
mod tracer;
mod verify;
mod walk;

pub use contract::{Check, Contract, Promise, PromiseKind, contract};
pub use duties::{CNI_CONFIGURATIONS, CNI_PLUGINS, Duty, NoPodNetwork, kube_proxy_asks_nobody};
pub use meant::{Amiss, Meant, SelectorBasis, has_endpoints, meant};
pub use model::{
    Network,
    losses::{Loss, Lost, losses},
};
pub use names::{Resolution, resolve};
pub use packet::{FlowProtocol, IcmpError, Tuple};
pub use trace::{
    Assumption, Blocker, BlockerKind, Disposition, FilterDrop, Flow, Hop, Recipient, Rejection, Size, Stage,
    Trace, Translation, Unknown,
};
pub use tracer::{Expectation, State, Traces, all_blockers, trace};
pub use verify::{Denied, Verification, Verified, check, verify};
