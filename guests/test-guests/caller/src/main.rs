//! Calls its node in every way a cell can.
//!
//! | arguments | what it does and prints |
//! |---|---|
//! | `load PATH` | `N bytes` of a file of the image |
//! | `host METHOD` | one call of `Host` or `Executor`: `ok`, or `error: …`; the list is in `calls.rs` |
//! | `echo N` | echoes a text of N bytes: `ok` |
//! | `echo-at-once N` | N echoes in flight at once: `ok N` |
//! | `remote PEER PATH` | starts a program of the image as a cell on another node and one on its own, links them and waits: `answered N`, `down CODE: REASON`, `code N, linked N`, `call: KIND` |
//! | `echoes` | for each line of its input, a number, so many echoes one after the other, then `done` |
//! | `idle MS` | connects, sleeps, prints `awake` |
//! | `second-connection` | connects a second time, which traps |
//! | `unconnected` | `done`, without ever connecting |
//! | `run PATH ARGS…` | runs a program of the image, hands its output on, ends with its code |
//! | `spawn N PATH ARGS…` | starts N children at once: `started` or `error: …` for each, then `running N`; waits for its input to end |
//! | `orphans PATH ARGS…` | starts two children and returns without waiting |
//! | `drop PATH ARGS…` | starts a child, drops its process at once, prints `dropped`; waits for its input to end |
//! | `wait-twice PATH ARGS…` | waits twice at once and once more afterwards: three codes |
//! | `kill PATH ARGS…` | starts a child, kills it: `code 137` |
//! | `status PATH ARGS…` | waits for a child: `code N`, then the text of its reason |
//! | `stdin TEXT PATH ARGS…` | writes a text to a child, closes, prints what the child replies, then `code N` |
//! | `unclosed-stdin TEXT PATH ARGS…` | the same without closing |
//! | `unread-output PATH ARGS…` | waits for a child without reading its output: `code N` |
//! | `few-bytes N PATH ARGS…` | reads N bytes of a child's output, drops the stream, prints `N bytes`, waits: `code N` if the rest fits the buffer |
//! | `env PATH` | runs a program with the argument `env` and the environment `A=1`, `B=2` |
//! | `bytes HEX` | runs the bytes as a program: `error: …` |
//! | `nothing` | starts itself for each method without any grant: `METHOD: error: …` for each |
//! | `hand-on` | serves a stream, narrows it to `write`, hands it to a child, revokes it: what the child was told each time, then what came |
//! | `hand-on-executor` | narrows an executor, hands it to a child that starts a cell, revokes it: what the child was told each time |
//! | `write-to NAME`, `read-from NAME`, `start-with NAME` | what the children do with the capability that they were handed |
//! | `sleep MS`, `spin`, `exit N` | what a child of the same program does; none of them connects |

mod calls;
mod children;
mod grants;
mod remote;

use std::{
    env, hint,
    io::{self, Write},
    thread,
    time::Duration,
};

use ww_guest::{
    capnp::Error,
    futures::{
        StreamExt,
        future::try_join_all,
        io::{AsyncBufReadExt, BufReader},
    },
    loader,
    rpc::{self, Executor},
    stream, time,
};

ww_guest::cell! { main: run }

fn run() -> Result<(), Error> {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["load", path] => say(&format!("{} bytes", loader::load(path).map_err(Error::failed)?.len())),
        ["unconnected"] => say("done"),
        ["sleep", milliseconds] => {
            thread::sleep(Duration::from_millis(number(milliseconds)?));
            Ok(())
        }
        ["spin"] => loop {
            hint::spin_loop();
        },
        ["exit", code] => ww_guest::exit(number(code)?),
        ["second-connection"] => {
            rpc::run(|_| async { Ok::<_, Error>(()) })?;
            rpc::run(|_| async { say("connected twice") })
        }
        ["host", method] => rpc::run(|host| async move {
            match calls::call(&host, method).await {
                Ok(()) => say("ok"),
                Err(error) => say(&format!("error: {error}")),
            }
        }),
        ["remote", peer, path] => rpc::run(|host| async move { remote::remote(host, peer, path).await }),
        ["echo", bytes] => echo(number(bytes)?, 1),
        ["echo-at-once", times] => echo(16, number(times)?),
        ["echoes"] => echoes(),
        ["idle", milliseconds] => {
            let duration = Duration::from_millis(number(milliseconds)?);
            rpc::run(|_| async move {
                time::sleep(duration).await;
                say("awake")
            })
        }
        [
            command @ ("nothing" | "hand-on" | "hand-on-executor" | "write-to" | "read-from" | "start-with"),
            ref rest @ ..,
        ] => rpc::run(|host| async move { grants::obey(&host, command, rest).await }),
        [command, ref rest @ ..] => {
            let code = rpc::run(|host| async move { children::obey(Executor::of(&host), command, rest).await })?;
            match u8::try_from(code) {
                Ok(0) => Ok(()),
                Ok(code) => ww_guest::exit(code),
                Err(_) => Err(Error::failed(format!("code {code} is out of range"))),
            }
        }
        [] => Err(Error::failed("expected the name of a test".to_owned())),
    }
}

fn echo(bytes: usize, times: usize) -> Result<(), Error> {
    rpc::run(|host| async move {
        let executor = Executor::of(&host);
        let text = "x".repeat(bytes);
        let responses = try_join_all((0..times).map(|_| executor.echo(&text))).await?;
        if responses.iter().any(|response| *response != text) {
            return Err(Error::failed("another text came back".to_owned()));
        }
        say(&if times == 1 { "ok".to_owned() } else { format!("ok {times}") })
    })
}

/// Keeps its connection for as long as there is input.
fn echoes() -> Result<(), Error> {
    rpc::run(|host| async move {
        let executor = Executor::of(&host);
        let mut lines = BufReader::new(stream::stdin()).lines();
        while let Some(line) = lines.next().await {
            for _ in 0..number(&line?)? {
                executor.echo("hello").await?;
            }
            say("done")?;
        }
        Ok(())
    })
}

/// Prints a line at once: tests wait for it.
fn say(line: &str) -> Result<(), Error> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

fn number<N: std::str::FromStr>(argument: &str) -> Result<N, Error> {
    argument.parse().map_err(|_| Error::failed(format!("expected a number that fits, found {argument:?}")))
}
