//! Any bytes as `etc/ww.toml`: `cargo +nightly fuzz run manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_image::fuzz::manifest(bytes));
