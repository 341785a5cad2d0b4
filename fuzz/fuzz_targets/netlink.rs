#![no_main]
//! See `hopwise_fuzz::netlink`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::netlink(data));
