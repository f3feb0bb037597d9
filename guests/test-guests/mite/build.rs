//! Fits the program into the small class of cells, with as much stack as it needs and no more.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Its tests are programs of the machine that builds it.
    if std::env::var("CARGO_CFG_TARGET_FAMILY").as_deref() == Ok("wasm") {
        println!("cargo::rustc-link-arg-bins=--initial-memory=1048576");
        println!("cargo::rustc-link-arg-bins=-zstack-size=16384");
    }
}
