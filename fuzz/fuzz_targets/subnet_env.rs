#![no_main]
//! See `hopwise_fuzz::subnet_env`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::subnet_env(data));
