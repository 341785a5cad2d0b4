#![no_main]
//! See `hopwise_fuzz::kubectl`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::kubectl(data));
