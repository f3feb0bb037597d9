//! An interactive cell: a prompt for the capabilities of its node.
//!
//! It reads commands from standard input, typed or piped, and writes answers to standard output. An error
//! of one command is shown, and the next one is read; the end of the input ends the shell.

mod command;
mod peer;
mod session;

use std::io::{self, Write};

use ww_guest::{
    capnp,
    futures::{StreamExt, io::AsyncBufReadExt, io::BufReader},
    rpc, stream,
};

use command::Command;
use session::Session;

ww_guest::cell! { main: run }

const PROMPT: &str = "ww> ";

/// What the RPC library puts in front of errors of the other side.
const REMOTE: &str = "remote exception: ";

fn run() -> Result<(), capnp::Error> {
    let code = rpc::run(|host| async move {
        let session = Session::new(host);
        // Awaited, not read: the node's messages are handled while nobody types.
        let mut lines = BufReader::new(stream::stdin()).lines();
        println!("This is a cell. Type `help` for what it can do.");
        loop {
            print!("{PROMPT}");
            io::stdout().flush()?;
            let Some(line) = lines.next().await else {
                println!();
                return Ok::<_, capnp::Error>(0);
            };
            match Command::parse(&line?) {
                Ok(None) => {}
                Ok(Some(Command::Exit(code))) => return Ok(code),
                Ok(Some(command)) => {
                    if let Err(error) = session.obey(command).await {
                        println!("error: {}", explain(&error));
                    }
                }
                Err(error) => println!("error: {error}"),
            }
        }
    })?;
    match code {
        0 => Ok(()),
        code => ww_guest::exit(code),
    }
}

/// An error for a person. The kind is left out where it says no more than that there was an error.
fn explain(error: &capnp::Error) -> String {
    match error.kind {
        capnp::ErrorKind::Failed => error.extra.strip_prefix(REMOTE).unwrap_or(&error.extra).to_owned(),
        _ => error.to_string(),
    }
}
