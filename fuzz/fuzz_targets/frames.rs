//! Any bytes as calls: `cargo +nightly fuzz run frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_net::fuzz::frames(bytes));
