#![no_main]
//! See `hopwise_fuzz::packet`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::packet(data));
