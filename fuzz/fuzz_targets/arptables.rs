#![no_main]
//! See `hopwise_fuzz::arptables`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::arptables(data));
