//! Any bytes as the choices of what a guest says: `cargo +nightly fuzz run guest`.
#![no_main]

#[path = "../speech.rs"]
mod speech;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_rpc::fuzz::guest(&speech::conversation(bytes)));
