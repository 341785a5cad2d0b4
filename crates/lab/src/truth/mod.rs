//! The truth about a lab: who reaches whom, by packets alone.

pub(crate) mod echo_request;
