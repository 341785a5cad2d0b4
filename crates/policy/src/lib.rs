//! NetworkPolicy: which flows are forbidden.
