#![no_main]
//! See `hopwise_fuzz::iptables`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::iptables(data));
