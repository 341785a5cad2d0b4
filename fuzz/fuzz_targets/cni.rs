#![no_main]
//! See `hopwise_fuzz::cni`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::cni(data));
