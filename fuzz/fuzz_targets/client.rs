//! Any bytes as the choices of what a client of the control socket says: `cargo +nightly fuzz run client`.
#![no_main]

#[path = "../speech.rs"]
mod speech;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_rpc::fuzz::client(&speech::conversation(bytes)));
