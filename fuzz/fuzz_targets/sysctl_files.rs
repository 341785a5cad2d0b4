#![no_main]
//! See `hopwise_fuzz::sysctl_files`.

libfuzzer_sys::fuzz_target!(|data: &[u8]| hopwise_fuzz::sysctl_files(data));
