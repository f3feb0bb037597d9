//! What a cell can do with children.

use std::io;

use ww_guest::{
    capnp::Error,
    futures::{AsyncReadExt, future::join_all, join, try_join},
    loader,
    rpc::{Executor, Process},
    stream,
};

use crate::{number, say};

const NONE: [&str; 0] = [];

/// Does what a command says, and returns the code to end with.
pub(crate) async fn obey(executor: Executor, command: &str, args: &[&str]) -> Result<i32, Error> {
    match (command, args) {
        ("run", [path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            child.stdin().close().await?;
            hand_on(&child).await
        }
        ("env", [path]) => {
            let child = executor.run_bytes(&load(path)?, &["env"], &["A=1", "B=2"]).await?;
            hand_on(&child).await
        }
        ("spawn", [count, path, args @ ..]) => spawn(&executor, number(count)?, &load(path)?, args).await,
        ("orphans", [path, args @ ..]) => {
            // They live until their owner has ended, which is at once.
            let _children = try_join!(start(&executor, path, args), start(&executor, path, args))?;
            done("started 2")
        }
        ("drop", [path, args @ ..]) => {
            drop(start(&executor, path, args).await?);
            say("dropped")?;
            wait_for_input_to_end().await
        }
        ("wait-twice", [path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            let (first, second) = try_join!(child.wait(), child.wait())?;
            done(&format!("{first} {second} {}", child.wait().await?))
        }
        ("kill", [path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            child.kill().await?;
            done(&format!("code {}", child.wait().await?))
        }
        ("status", [path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            let code = child.wait().await?;
            done(&format!("code {code}\n{}", reason(&child).await?))
        }
        ("stdin", [text, path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            converse(&child, text, true).await
        }
        ("unclosed-stdin", [text, path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            converse(&child, text, false).await
        }
        ("unread-output", [path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            done(&format!("code {}", child.wait().await?))
        }
        ("few-bytes", [count, path, args @ ..]) => {
            let child = start(&executor, path, args).await?;
            let data = child.stdout().read(number(count)?).await?;
            say(&format!("{} bytes", data.len()))?;
            done(&format!("code {}", child.wait().await?))
        }
        ("bytes", [hex]) => match executor.run_bytes(&unhex(hex)?, &NONE, &NONE).await {
            Ok(child) => done(&format!("code {}", child.wait().await?)),
            Err(error) => done(&format!("error: {error}")),
        },
        _ => Err(Error::failed(format!("no such test: {command} {args:?}"))),
    }
}

fn load(path: &str) -> Result<Vec<u8>, Error> {
    loader::load(path).map_err(Error::failed)
}

async fn start(executor: &Executor, path: &str, args: &[&str]) -> Result<Process, Error> {
    executor.run_bytes(&load(path)?, args, &NONE).await
}

async fn spawn(executor: &Executor, count: usize, wasm: &[u8], args: &[&str]) -> Result<i32, Error> {
    let started = join_all((0..count).map(|_| executor.run_bytes(wasm, args, &NONE))).await;
    let mut running = Vec::new();
    for child in started {
        match child {
            Ok(child) => {
                say("started")?;
                running.push(child);
            }
            Err(error) => say(&format!("error: {error}"))?,
        }
    }
    say(&format!("running {}", running.len()))?;
    wait_for_input_to_end().await
}

async fn wait_for_input_to_end() -> Result<i32, Error> {
    stream::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(0)
}

async fn hand_on(child: &Process) -> Result<i32, Error> {
    let (stdout, stderr) = (child.stdout(), child.stderr());
    try_join!(stdout.copy_to(io::stdout()), stderr.copy_to(io::stderr()))?;
    child.wait().await
}

async fn converse(child: &Process, text: &str, close: bool) -> Result<i32, Error> {
    let (stdin, stdout) = (child.stdin(), child.stdout());
    let write = async {
        stdin.write_all(text).await?;
        if close { stdin.close().await } else { Ok(()) }
    };
    // The child may end without having read all of it.
    let (written, reply) = join!(write, stdout.read_to_end());
    if let Err(error) = written {
        say(&format!("error: {error}"))?;
    }
    say(&String::from_utf8_lossy(&reply?))?;
    done(&format!("code {}", child.wait().await?))
}

async fn reason(child: &Process) -> Result<String, Error> {
    use ww_guest::cell_capnp::status::state::Which;

    let response = child.client().status_request().send().promise.await?;
    match response.get()?.get_status()?.get_state().which()? {
        Which::Running(()) => Ok("running".to_owned()),
        Which::Ended(reason) => Ok(reason?.get_text()?.to_string()?),
    }
}

fn unhex(hex: &str) -> Result<Vec<u8>, Error> {
    let digits: Option<Vec<_>> = hex.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.ok_or_else(|| Error::failed(format!("expected hexadecimal digits, found {hex:?}")))?;
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | *digit as u8)).collect())
}

fn done(line: &str) -> Result<i32, Error> {
    say(line)?;
    Ok(0)
}
