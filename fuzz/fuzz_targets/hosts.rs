#![no_main]
//! See `hopwise_fuzz::hosts`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::hosts(data));
