#![no_main]
//! See `hopwise_fuzz::hop`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::hop(data));
