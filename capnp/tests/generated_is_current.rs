//! The committed Rust is what the schema compiler makes of the schemas today.

#[allow(dead_code)]
#[path = "../examples/generate.rs"]
mod generator;

use std::path::Path;

#[test]
fn generated_code_is_current() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir()?;
    generator::generate(root, out.path())?;
    for entry in std::fs::read_dir(out.path())? {
        let fresh = entry?.path();
        let name = fresh.file_name().ok_or("a generated file has a name")?;
        let committed = root.join("src").join(name);
        assert!(
            std::fs::read(&fresh)? == std::fs::read(&committed)?,
            "{} is out of date: run `cargo run -p ww-schema --example generate`",
            committed.display()
        );
    }
    Ok(())
}
