//! NetworkPolicy: which connections are forbidden.
//!
//! [`Policies`] evaluates `networking.k8s.io/v1` NetworkPolicies over the API's objects, exactly as the API defines them;
//! where the API leaves a choice to the network plugin, the choice is named and can be set.
//!
//! Three things decide, each from the API reference or from "Network Policies" in the Kubernetes concepts (1.34):
//!
//! - A pod is isolated in a direction when some policy of its namespace selects it and names that direction. A pod that
//!   is not isolated may talk to everyone.
//! - What an isolated pod may do is the union of all rules of all policies that select it. A connection needs the
//!   permission of both ends; its answers need none.
//! - Policies see packets as the pods see them: behind the translation of Service addresses.
//!
//! What is deliberately absent: what a plugin has written to a node, which may lag behind or be wrong; policies of other
//! kinds (AdminNetworkPolicy, CiliumNetworkPolicy, …).

#![deny(clippy::disallowed_methods)]

mod policies;
mod rule;
mod selector;

pub use policies::{
    Denial, Direction, Exemption, Peer, Permission, Policies, PolicyName, Traffic, Unknown, Verdict, verdict,
};
