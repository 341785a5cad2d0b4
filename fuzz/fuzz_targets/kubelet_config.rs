#![no_main]
//! See `hopwise_fuzz::kubelet_config`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::kubelet_config(data));
