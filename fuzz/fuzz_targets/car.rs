//! Any bytes as CAR files: `cargo +nightly fuzz run car`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_image::fuzz::car(bytes));
