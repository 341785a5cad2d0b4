#![no_main]
//! See `hopwise_fuzz::samples`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::samples(data));
