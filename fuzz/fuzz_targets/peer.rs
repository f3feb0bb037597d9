//! Any bytes as the choices of what a peer that is granted everything says: `cargo +nightly fuzz run peer`.
#![no_main]

#[path = "../speech.rs"]
mod speech;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ww_rpc::fuzz::peer(&speech::conversation(bytes)));
