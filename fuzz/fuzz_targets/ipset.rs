#![no_main]
//! See `hopwise_fuzz::ipset`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::ipset(data));
