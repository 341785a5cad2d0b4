//! Facts against what the tools of the same kernel print.
fn main() {}
