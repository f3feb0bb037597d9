//! Writes the generated Rust of every schema into `capnp/src`, or into the directory given as argument.

use std::path::Path;

/// The schema files, each of which becomes one module.
const SCHEMAS: [&str; 5] = ["admin", "cell", "grant", "peer", "supervision"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = std::env::args_os().nth(1).map_or_else(|| root.join("src"), Into::into);
    generate(root, &out)
}

/// Compiles the schemas in `root` to Rust files in `out`.
pub(crate) fn generate(root: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut compile = capnpc_embedded::CompileCommand::new();
    for schema in SCHEMAS {
        compile.file(root.join(format!("{schema}.capnp")));
    }
    let request = compile.src_prefix(root).compile()?;
    capnpc::codegen::CodeGenerationCommand::new().output_directory(out).run(&request[..])?;
    Ok(())
}
