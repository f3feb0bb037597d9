//! Any bytes as a program: `cargo +nightly fuzz run binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    ww_cell::fuzz::program(bytes);
});
