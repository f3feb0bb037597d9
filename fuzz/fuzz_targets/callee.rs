//! Any bytes as the choices of what another node that answers this one says: `cargo +nightly fuzz run callee`.
#![no_main]

#[path = "../speech.rs"]
mod speech;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_rpc::fuzz::callee(&speech::conversation(bytes)));
