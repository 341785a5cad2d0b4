#![no_main]
//! See `hopwise_fuzz::hop_document`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::hop_document(data));
