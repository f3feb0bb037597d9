//! Fits the program into the small class of cells, with as much stack as it needs and no more.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=--initial-memory=1048576");
    println!("cargo::rustc-link-arg-bins=-zstack-size=16384");
}
