//! The API server as a source, against one that says what a test wants it to say.

mod fake;
mod objects;
mod refusals;
mod trust;
