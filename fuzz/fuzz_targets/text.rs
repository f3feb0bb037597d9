//! Any bytes as text of others: `cargo +nightly fuzz run text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_core::fuzz::text(bytes));
