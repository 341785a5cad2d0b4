#![no_main]
//! See `hopwise_fuzz::wire`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::wire(data));
