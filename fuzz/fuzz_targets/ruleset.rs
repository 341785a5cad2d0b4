#![no_main]
//! See `hopwise_fuzz::ruleset`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::ruleset(data));
