//! `ww spawn`: starts a program on a running node.

use std::{convert::Infallible, path::PathBuf};

use capnp::ErrorKind;
use tokio::{task::spawn_blocking, time::timeout};
use ww_core::{file, text};
use ww_rpc::MAX_PROGRAM;
use ww_schema::{
    cell_capnp::attachment::{self, Errors},
    peer_capnp::{byte_stream, process},
};

use super::{
    Failure, code, env,
    node::{Node, call_failure},
    not_written,
    place::Which,
    say,
};
use crate::{
    config::DEFAULT_DRAIN,
    terminal::{self, Lost, Output},
};

/// Bytes that are read or written at once.
const CHUNK: usize = 64 * 1024;

/// Start a program on a running node, with this terminal as its standard streams
///
/// Runs its main once, and exits with its code, or with 71 in the place of 0 if output was lost. The program ends when this
/// command ends.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Environment variable of the program; repeatable; nothing is inherited
    #[arg(long, value_name = "KEY=VALUE", value_parser = env::variable)]
    env: Vec<(String, String)>,

    /// A WebAssembly component, or a core preview 1 module
    file: PathBuf,

    /// Arguments of the program
    #[arg(last = true)]
    args: Vec<String>,
}

/// What is to be started.
pub(super) struct Program {
    wasm: Vec<u8>,
    args: Vec<String>,
    env: Vec<String>,
}

impl Args {
    /// Which node, and what to start there.
    pub(super) fn read(self) -> Result<(Which, Program), Failure> {
        let wasm = file::read(&self.file, MAX_PROGRAM as u64).map_err(|error| Failure {
            code: code::IMAGE,
            message: format!("cannot read the program {}: {error}", text::name(self.file.display())),
        })?;
        let env = self.env.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        Ok((self.which, Program { wasm, args: self.args, env }))
    }
}

pub(super) async fn spawn(node: Node, program: Program) -> Result<u8, Failure> {
    let executor = node.local.host.executor_request().send().pipeline.get_executor();
    let mut request = executor.run_bytes_request();
    let mut params = request.get();
    params.set_wasm(&program.wasm);
    let texts = |mut list: capnp::text_list::Builder<'_>, texts: &[String]| {
        (0..).zip(texts).for_each(|(index, text)| list.set(index, text.as_str()));
    };
    let len = |texts: &[String]| u32::try_from(texts.len()).unwrap_or(u32::MAX);
    texts(params.reborrow().init_args(len(&program.args)), &program.args);
    texts(params.reborrow().init_env(len(&program.env)), &program.env);
    attach(params.init_attachment());
    // Compiling may take long.
    let started = request.send().promise.await.map_err(|error| start_failure(&error))?;
    let process = started.get().and_then(|started| started.get_process()).map_err(|error| call_failure(&error))?;
    run(process).await
}

fn start_failure(error: &capnp::Error) -> Failure {
    let mut failure = call_failure(error);
    if error.kind != capnp::ErrorKind::Disconnected {
        failure.code = code::START_FAILED;
        failure.message = format!("cannot start the program: {}", failure.message);
    }
    failure
}

/// Says how this command uses the standard streams: all of what the program writes is waited for, and where both outputs
/// lead to the same file or terminal, they are one.
fn attach(mut attachment: attachment::Builder<'_>) {
    let [stdin, stdout, stderr] = terminal::are_terminals();
    attachment.set_stdin_terminal(stdin);
    attachment.set_stdout_terminal(stdout);
    attachment.set_stderr_terminal(stderr);
    attachment.set_errors(if terminal::lead_to_the_same() { Errors::Merged } else { Errors::Held });
}

/// Connects the streams of a process with those of this one, and waits for its end.
async fn run(process: process::Client) -> Result<u8, Failure> {
    let input = process.stdin_request().send().pipeline.get_stream();
    let out = process.stdout_request().send().pipeline.get_stream();
    let err = process.stderr_request().send().pipeline.get_stream();
    let ended = async {
        let code = process.wait_request().send().promise.await.map_err(|error| call_failure(&error))?;
        let code = code.get().map_err(|error| call_failure(&error))?.get_exit_code();
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    };
    // All that it wrote comes before its end. What cannot be written is told at once, and in the code.
    let printed = async {
        let (out, err) = tokio::join!(print(&out, Output::Stdout), print(&err, Output::Stderr));
        Ok::<_, Failure>(out? && err?)
    };
    let done = async {
        let (mut ended, mut printed) = (std::pin::pin!(ended), std::pin::pin!(printed));
        let (code, whole) = tokio::select! {
            whole = &mut printed => {
                let whole = whole?;
                (ended.await?, whole)
            }
            code = &mut ended => {
                let whole = match timeout(DEFAULT_DRAIN, printed).await {
                    Ok(whole) => whole?,
                    Err(_) => {
                        say(&Lost::NotRead(DEFAULT_DRAIN).to_string());
                        false
                    }
                };
                (code?, whole)
            }
        };
        Ok(if code == code::OK && !whole { code::HOST } else { code })
    };
    tokio::select! {
        code = done => code,
        never = feed(&input) => match never {},
    }
}

/// Reads standard input when the program reads. What cannot be read ends the input, and nothing else.
async fn feed(input: &byte_stream::Client) -> Infallible {
    // A program need not read its input, and may have ended: its end is told elsewhere.
    while let Some(wanted) = wanted(input).await {
        let read = spawn_blocking(move || terminal::read(wanted)).await.map_err(std::io::Error::other);
        let read = read.and_then(|read| read).unwrap_or_else(|error| {
            say(&format!("cannot read standard input: {error}"));
            Vec::new()
        });
        if read.is_empty() {
            input.close_request().send().promise.await.map(drop).unwrap_or_default();
            break;
        }
        let mut request = input.write_request();
        request.get().set_data(&read);
        if request.send().promise.await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Waits until the program reads, and returns how many bytes it takes; `None` once it takes no more.
async fn wanted(input: &byte_stream::Client) -> Option<usize> {
    match input.wanted_request().send().promise.await {
        Ok(answer) => usize::try_from(answer.get().ok()?.get_bytes()).ok(),
        // A node that does not know the question is written to unasked.
        Err(error) if error.kind == ErrorKind::Unimplemented => Some(CHUNK),
        Err(_) => None,
    }
}

/// Whether all that a program writes to a stream was written. If not, the program learns that it is closed.
async fn print(from: &byte_stream::Client, to: Output) -> Result<bool, Failure> {
    loop {
        let mut request = from.read_request();
        request.get().set_max_bytes(CHUNK as u32);
        let answer = request.send().promise.await.map_err(|error| call_failure(&error))?;
        let bytes = answer.get().and_then(|answer| answer.get_data()).map_err(|error| call_failure(&error))?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if let Err(error) = to.write(bytes.to_vec().into()).await {
            say(&not_written(to, &error).message);
            from.close_request().send().promise.await.map(drop).unwrap_or_default();
            return Ok(false);
        }
    }
}
