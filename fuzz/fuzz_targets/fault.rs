#![no_main]
//! See `hopwise_fuzz::fault`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::fault(data));
