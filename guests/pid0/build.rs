//! Finds the finished `child-echo`, which `pid0` embeds.

use std::path::PathBuf;

fn main() {
    let child = PathBuf::from("../target/wasm32-wasip2/release/child-echo.wasm");
    println!("cargo::rerun-if-changed={}", child.display());
    match child.canonicalize() {
        Ok(child) => println!("cargo::rustc-env=CHILD_ECHO={}", child.display()),
        Err(error) => {
            println!("cargo::error=pid0 embeds guests/target/wasm32-wasip2/release/child-echo.wasm: {error}");
            println!("cargo::error=run `make child-echo` first");
        }
    }
}
