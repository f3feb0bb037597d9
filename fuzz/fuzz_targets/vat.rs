//! Any bytes as a client of the control socket: `cargo +nightly fuzz run vat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_rpc::fuzz::client(bytes));
