#![no_main]
//! See `hopwise_fuzz::redact`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::redact(data));
