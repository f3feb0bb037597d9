//! What was measured, with what, and where.

use std::{collections::BTreeMap, fs, path::Path, process::Command, sync::OnceLock};

/// Names and versions.
pub(crate) type Versions = BTreeMap<String, String>;

/// The crates whose versions matter to the figures.
const CRATES: [&str; 6] = ["ww", "wasmtime", "tokio", "actix", "libp2p", "capnp-rpc"];

/// The commit of the working copy, marked if it has changes; `unknown` where git does not say.
pub(crate) fn commit() -> String {
    static COMMIT: OnceLock<String> = OnceLock::new();
    let ask = || said("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    COMMIT.get_or_init(|| ask().unwrap_or_else(|| "unknown".to_owned())).clone()
}

/// The compiler, the crates, and the machine.
pub(crate) fn versions() -> Versions {
    static VERSIONS: OnceLock<Versions> = OnceLock::new();
    VERSIONS
        .get_or_init(|| {
            let mut versions = Versions::new();
            let rust = said("rustc", &["--version"]).unwrap_or_else(|| "unknown".to_owned());
            versions.insert("rustc".to_owned(), rust.trim_start_matches("rustc ").to_owned());
            versions.insert("machine".to_owned(), machine());
            let lock: Option<toml::Table> = toml::from_str(include_str!("../../../Cargo.lock")).ok();
            for package in lock.iter().filter_map(|lock| lock.get("package")?.as_array()).flatten() {
                let text = |key| package.get(key).and_then(toml::Value::as_str).unwrap_or_default().to_owned();
                if CRATES.contains(&text("name").as_str()) {
                    versions.insert(text("name"), text("version"));
                }
            }
            versions
        })
        .clone()
}

/// Processor, cores and system.
fn machine() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split(':').nth(1)?.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let system = said("uname", &["-srm"]).unwrap_or_else(|| std::env::consts::OS.to_owned());
    format!("{cores} cores of {}, {system}", processor.unwrap_or_else(|| "an unknown processor".to_owned()))
}

/// The first line that a program says, if it ends well.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).args(arguments).current_dir(directory).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
