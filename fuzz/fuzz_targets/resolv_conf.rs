#![no_main]
//! See `hopwise_fuzz::resolv_conf`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::resolv_conf(data));
