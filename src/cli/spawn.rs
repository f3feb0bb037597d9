//! `ww spawn`: starts a program on a running node.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, stderr, stdin, stdout};
use ww_schema::peer_capnp::{byte_stream, process};

use super::{
    Failure, code,
    node::{Node, call_failure},
    place::Which,
};

/// Bytes that are read or written at once.
const CHUNK: usize = 64 * 1024;

/// Start a program on a running node, with this terminal as its standard streams
///
/// Runs its main once, and exits with its code. The program ends when this command ends.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) which: Which,

    /// Environment variable of the program; repeatable; nothing is inherited
    #[arg(long, value_name = "KEY=VALUE")]
    env: Vec<String>,

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
        let wasm = std::fs::read(&self.file).map_err(|error| Failure {
            code: code::IMAGE,
            message: format!("cannot read the program {}: {error}", self.file.display()),
        })?;
        Ok((self.which, Program { wasm, args: self.args, env: self.env }))
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
    texts(params.init_env(len(&program.env)), &program.env);
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

/// Connects the streams of a process with those of this one, and waits for its end.
async fn run(process: process::Client) -> Result<u8, Failure> {
    let input = process.stdin_request().send().pipeline.get_stream();
    let out = process.stdout_request().send().pipeline.get_stream();
    let err = process.stderr_request().send().pipeline.get_stream();
    let ended = async {
        // All that it wrote comes before its end.
        tokio::try_join!(print(&out, stdout()), print(&err, stderr()))?;
        let ended = process.wait_request().send().promise.await.map_err(|error| call_failure(&error))?;
        Ok(ended.get().map_err(|error| call_failure(&error))?.get_exit_code())
    };
    let typed = async {
        // A program need not read its input.
        if feed(&input).await.is_ok() {
            input.close_request().send().promise.await.map(drop).unwrap_or_default();
        }
        std::future::pending().await
    };
    let code: Result<i32, Failure> = tokio::select! {
        ended = ended => ended,
        never = typed => never,
    };
    Ok(u8::try_from(code?).unwrap_or(u8::MAX))
}

async fn feed(input: &byte_stream::Client) -> Result<(), capnp::Error> {
    let (mut from, mut buffer) = (stdin(), vec![0; CHUNK]);
    loop {
        let read = from.read(&mut buffer).await.map_err(|error| capnp::Error::failed(error.to_string()))?;
        if read == 0 {
            return Ok(());
        }
        let mut request = input.write_request();
        request.get().set_data(&buffer[..read]);
        request.send().promise.await?;
    }
}

async fn print(from: &byte_stream::Client, mut to: impl AsyncWrite + Unpin) -> Result<(), Failure> {
    loop {
        let mut request = from.read_request();
        request.get().set_max_bytes(CHUNK as u32);
        let answer = request.send().promise.await.map_err(|error| call_failure(&error))?;
        let bytes = answer.get().and_then(|answer| answer.get_data()).map_err(|error| call_failure(&error))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let printed = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        printed.await.map_err(|error| Failure::new(code::HOST, &error))?;
    }
}
