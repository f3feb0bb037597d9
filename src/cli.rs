//! The command line: parse, dispatch, exit code.

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

pub mod code;
mod keygen;
mod run;
mod send;
mod signals;

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_LOG: &str = "ww=info";

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
    Send(send::Args),
    Keygen(keygen::Args),
}

/// Why a verb ended before its work was done.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, error: &dyn std::error::Error) -> Self {
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
}

/// Runs the command with the arguments of this process and returns its exit code.
pub fn main(runtime: &Runtime) -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // What cannot be printed cannot be told in another way either.
            let _ = error.print();
            return if error.use_stderr() { code::USAGE } else { code::OK };
        }
    };
    start_log();
    let done = match cli.verb {
        Verb::Run(args) => runtime.block_on(run::run(args, runtime.handle())),
        Verb::Send(args) => runtime.block_on(send::send(args, runtime.handle())),
        Verb::Keygen(args) => keygen::keygen(&args),
    };
    match done {
        Ok(code) => code,
        Err(Failure { code, message }) => {
            eprintln!("ww: {message}");
            code
        }
    }
}

/// Logs go to stderr: stdout belongs to the guest.
fn start_log() {
    let (filter, invalid) = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(DEFAULT_LOG), Some(error)),
        },
        _ => (EnvFilter::new(DEFAULT_LOG), None),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    if let Some(error) = invalid {
        tracing::warn!(%error, "RUST_LOG is not valid: logging {DEFAULT_LOG}");
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
