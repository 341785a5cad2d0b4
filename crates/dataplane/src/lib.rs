//! The tracer, the contract, and what a hypothetical repair would change.
