#![no_main]
//! See `hopwise_fuzz::nft`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::nft(data));
