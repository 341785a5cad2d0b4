#![no_main]
//! See `hopwise_fuzz::kube_proxy_config`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::kube_proxy_config(data));
