#![no_main]
//! See `hopwise_fuzz::page`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::page(data));
