//! What has to be measured in a process of its own: this program, called for one part of a row.

use std::{
    collections::BTreeMap,
    env, fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

/// The argument before the name of a part and its own arguments.
pub(crate) const PART: &str = "--part";

/// Figures by their names.
pub(crate) type Figures = BTreeMap<String, f64>;

/// A call of this program for a part.
pub(crate) fn part(name: &str, arguments: &[String]) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args([PART, name]).args(arguments).stdin(Stdio::null());
    Ok(command)
}

/// Measures a part in a process of its own.
pub(crate) fn measure(name: &str, arguments: &[String]) -> Result<Figures> {
    let output = part(name, arguments)?.stderr(Stdio::inherit()).output()?;
    anyhow::ensure!(output.status.success(), "{name} {arguments:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("what {name} {arguments:?} says"))
}

/// Says what was measured, to whoever called.
pub(crate) fn tell(figures: &Figures) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    Ok(())
}

/// Bytes of memory that this process has.
///
/// # Errors
///
/// Where the system is not Linux.
pub(crate) fn resident() -> Result<f64> {
    let text = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find(|line| line.starts_with("Rss:")).context("the size of the process")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib * 1024.0)
}
