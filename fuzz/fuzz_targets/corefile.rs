#![no_main]
//! See `hopwise_fuzz::corefile`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::corefile(data));
