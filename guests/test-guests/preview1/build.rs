//! Exports the poll of a core module, which a program keeps to itself otherwise.

use std::env;

fn main() {
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg-bins=--export=ww_poll");
    }
}
