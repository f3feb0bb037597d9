//! `ww completions`: scripts for shells.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Failure, code};

/// Print a script that lets a shell complete the command line
///
/// In bash: source <(ww completions bash). In zsh and fish, put the output where the shell looks for completions.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell
    shell: Shell,
}

pub(super) fn completions(args: &Args) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ww", &mut script);
    super::print(&String::from_utf8_lossy(&script))?;
    Ok(code::OK)
}
