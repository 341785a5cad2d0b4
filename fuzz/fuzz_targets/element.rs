#![no_main]
//! See `hopwise_fuzz::element`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::element(data));
