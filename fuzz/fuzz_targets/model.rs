#![no_main]
//! See `hopwise_fuzz::model`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::model(data));
