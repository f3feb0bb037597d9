//! The command line: parse, dispatch, exit code.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    env::VarError,
};

use clap::{Parser, Subcommand};
use serde::Serialize;
use tokio::runtime::Runtime;
use tracing_subscriber::{EnvFilter, util::SubscriberInitExt};
use ww_core::text;

use crate::terminal::{Notices, Output};

mod ask;
pub mod code;
mod completions;
mod connect;
mod doctor;
mod env;
mod id;
mod inspect;
mod keygen;
mod kill;
mod logs;
mod node;
mod peers;
mod place;
mod ps;
mod remote;
mod run;
mod send;
mod signals;
mod spawn;
mod status;
mod system;
mod target;
mod top;
mod tree;
mod usage;
mod wait;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_LOG: &str = "ww=info";

/// Bytes of one message on standard error: an exit reason with its backtrace, and as much again.
const MAX_SAID: usize = 2 * (text::MAX_ERROR + text::MAX_BACKTRACE);

/// Bytes of a failure on standard error: the longest path of a file, and an error about it.
const MAX_FAILURE: usize = 2 * text::MAX_ERROR;

/// An actor runtime for code that you did not write.
///
/// Every actor is a sandboxed WebAssembly program that touches the world only through the capabilities it was
/// handed.
#[derive(Debug, Parser)]
#[command(name = "ww", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Ps(ps::Args),
    Tree(tree::Args),
    Top(top::Args),
    Spawn(spawn::Args),
    Send(send::Args),
    Logs(logs::Args),
    Kill(kill::Args),
    Wait(wait::Args),
    Inspect(inspect::Args),
    Id(id::Args),
    Peers(peers::Args),
    Connect(connect::Args),
    Keygen(keygen::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
}

/// Why a verb ended before its work was done.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// What a node, a peer or a cell said, in one line, after words of this command.
    fn told(code: u8, what: &str, text: impl std::fmt::Display) -> Self {
        Self { code, message: format!("{what}{}", text::line(text, text::MAX_ERROR)) }
    }

    /// An error with its causes. What the system has no more of has a code of its own, whatever it was wanted for.
    fn new(code: u8, error: &(dyn std::error::Error + 'static)) -> Self {
        let code = if system::is_shortage(error) { code::HOST } else { code };
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Self { code, message }
    }

    /// Says it, and returns the exit code.
    fn tell(&self) -> u8 {
        say(&text::lines(&self.message, MAX_FAILURE));
        self.code
    }
}

/// Runs the command with the arguments of this process and returns its exit code.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if usage::is_help(&error) => return told_to_shell(&error),
        Err(error) => return usage::failure(error).tell(),
    };
    start_log();
    match system::runtime().and_then(|runtime| cli.verb.carry_out(runtime)) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

/// Prints help or version.
fn told_to_shell(error: &clap::Error) -> u8 {
    let text = |to: Output| {
        let text = error.render();
        if wants_colour(to) { text.ansi().to_string() } else { text.to_string() }
    };
    if error.use_stderr() {
        Notices.say(text(Output::Stderr).as_bytes());
        return code::USAGE;
    }
    let shown = shown(Output::Stdout.write_all(text(Output::Stdout).as_bytes()));
    shown.map_or_else(|failure| failure.tell(), |()| code::OK)
}

impl Verb {
    fn carry_out(self, runtime: &Runtime) -> Result<u8, Failure> {
        match self {
            Self::Run(args) => runtime.block_on(run::run(args, runtime.handle())),
            Self::Ps(ps::Args { which, json }) => node::ask(runtime, which, async |node| ps::ps(node, json).await),
            Self::Tree(tree::Args { which, json }) => {
                node::ask(runtime, which, async |node| tree::tree(node, json).await)
            }
            Self::Top(args) => top::top(runtime, args),
            Self::Spawn(args) => {
                let (which, program) = args.read()?;
                node::ask(runtime, which, async |node| spawn::spawn(node, program).await)
            }
            Self::Send(args) => send::send(args, runtime),
            Self::Logs(logs::Args { which, follow, cell }) => {
                node::ask(runtime, which, async |node| logs::logs(node, &cell, follow).await)
            }
            Self::Kill(kill::Args { which, cells }) => {
                node::ask(runtime, which, async |node| kill::kill(node, &cells).await)
            }
            Self::Wait(wait::Args { which, cell }) => {
                node::ask(runtime, which, async |node| wait::wait(node, &cell).await)
            }
            Self::Inspect(inspect::Args { which, json, cell }) => {
                node::ask(runtime, which, async |node| inspect::inspect(node, &cell, json).await)
            }
            Self::Id(id::Args { which, json }) => node::ask(runtime, which, async |node| id::id(node, json).await),
            Self::Peers(peers::Args { which, json }) => {
                node::ask(runtime, which, async |node| peers::peers(node, json).await)
            }
            Self::Connect(connect::Args { which, peer }) => {
                node::ask(runtime, which, async |node| connect::connect(node, peer).await)
            }
            Self::Keygen(args) => keygen::keygen(&args),
            Self::Doctor(args) => runtime.block_on(doctor::doctor(&args)),
            Self::Completions(args) => completions::completions(&args),
        }
    }
}

/// Says something on standard error. Text of others in it is escaped; lines after the first one are indented, so that
/// none is taken for another message.
pub fn say(message: &str) {
    let mut text = String::from("ww: ");
    for (index, line) in text::lines(message, MAX_SAID).split('\n').enumerate() {
        if index > 0 {
            text.push_str(if line.starts_with(' ') || line.is_empty() { "\n" } else { "\n  " });
        }
        text.push_str(line);
    }
    text.push('\n');
    Notices.say(text.as_bytes());
}

/// Prints the result of a verb, in which text of others is escaped. A reader that closes the pipe has seen enough.
fn print(text: &str) -> Result<(), Failure> {
    shown(Output::Stdout.write_all(text::lines(text, usize::MAX).as_bytes()))
}

/// What became of a result that was printed.
fn shown(printed: std::io::Result<()>) -> Result<(), Failure> {
    match printed {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(not_written(Output::Stdout, &error)),
        _ => Ok(()),
    }
}

/// The failure of a verb whose output cannot be written.
fn not_written(to: Output, error: &std::io::Error) -> Failure {
    Failure {
        code: code::HOST,
        message: format!("cannot write to {to}: {error}: what was to be written there is lost"),
    }
}

/// Prints the result of a verb, for programs or for people.
fn show<T: Serialize>(result: &T, json: bool, text: impl FnOnce(&T) -> String) -> Result<u8, Failure> {
    let text = if json {
        serde_json::to_string_pretty(result).map_err(|error| Failure::new(code::HOST, &error))? + "\n"
    } else {
        text(result)
    };
    print(&text)?;
    Ok(code::OK)
}

/// Whether this is a terminal that shows colours, and its user wants them: <https://no-color.org>.
fn wants_colour(to: Output) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    to.is_terminal() && !refused && !is_dumb()
}

/// Whether the terminal says that it obeys no sequences.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Logs go to stderr: stdout belongs to the guest.
fn start_log() {
    let (filter, invalid) = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(DEFAULT_LOG), Some(error.to_string())),
        },
        Err(error @ VarError::NotUnicode(_)) => (EnvFilter::new(DEFAULT_LOG), Some(error.to_string())),
        _ => (EnvFilter::new(DEFAULT_LOG), None),
    };
    // A panic of the node may quote what others wrote.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        let shown = backtrace.status() == BacktraceStatus::Captured;
        say(&format!("{panic}{}", if shown { format!("\n{backtrace}") } else { String::new() }));
    }));
    crate::log::subscriber(filter, || Notices, wants_colour(Output::Stderr)).init();
    if let Some(error) = invalid {
        tracing::warn!(error, "RUST_LOG is not valid: logging {DEFAULT_LOG}");
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
