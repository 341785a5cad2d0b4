#![no_main]
//! See `hopwise_fuzz::flannel_config`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::flannel_config(data));
