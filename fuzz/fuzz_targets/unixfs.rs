//! Any bytes as nodes of UnixFS: `cargo +nightly fuzz run unixfs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_image::fuzz::unixfs(bytes));
