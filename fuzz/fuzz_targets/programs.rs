//! Any bytes as the choices that make a valid program: `cargo +nightly fuzz run programs`.
#![no_main]

#[path = "../programs.rs"]
mod programs;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(wasm) = programs::program(bytes) {
        ww_cell::fuzz::program(&wasm);
    }
});
