#![no_main]
//! See `hopwise_fuzz::journal`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::journal(data));
