#![no_main]
//! See `hopwise_fuzz::endpoint`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::endpoint(data));
