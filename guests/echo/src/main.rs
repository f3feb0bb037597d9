//! Server and client in one program.
//!
//! Without an argument it answers with what it reads, in every mode: once as a program, per message as a cell. With the
//! address of a cell as its argument, `main` sends there what it reads, and writes the reply as it comes.

use std::{
    env,
    io::{self, copy, stdin, stdout},
};

use ww_guest::{
    capnp::Error,
    futures::{
        AsyncReadExt,
        future::{Either, select},
    },
    rpc::{self, Address, ByteStream, Exchange, Outcome},
    stream,
};

ww_guest::cell! { main: run, poll: echo, handle: |body: Vec<u8>| body }

/// Bytes that are read and sent at once.
const CHUNK: usize = 64 * 1024;

/// Code of a message that was refused, as of a cell that cannot be reached.
const UNAVAILABLE: u8 = 69;

fn run() -> Result<(), String> {
    let Some(address) = env::args().nth(1) else { return echo().map_err(|error| error.to_string()) };
    let to: Address = address.parse()?;
    let outcome = rpc::run(|host| async move {
        let exchange = Exchange::dial(&host, &to, None).await?;
        converse(&exchange).await
    });
    match outcome.map_err(|error| format!("cannot send a message to {address}: {error}"))? {
        Outcome::Ok => Ok(()),
        Outcome::Failed(error) => Err(format!("the cell could not answer: {error}")),
        Outcome::Ended { code, reason } => {
            eprintln!("the cell ended before it had answered: {reason}");
            ww_guest::exit(code.max(1))
        }
        other => {
            eprintln!("the message was refused: {other:?}");
            ww_guest::exit(UNAVAILABLE)
        }
    }
}

/// Copies through a small buffer: a message may be larger than the cell's memory.
fn echo() -> io::Result<()> {
    copy(&mut stdin().lock(), &mut stdout().lock()).map(|_| ())
}

/// Sends and receives at the same time. A cell may answer without reading everything.
async fn converse(exchange: &Exchange) -> Result<Outcome, Error> {
    let (request, reply) = (exchange.request(), exchange.reply());
    let sending = Box::pin(send(&request));
    let receiving = Box::pin(reply.copy_to(stdout()));
    match select(sending, receiving).await {
        Either::Left((_, receiving)) => drop(receiving.await),
        Either::Right(_) => {}
    }
    // It says more than an error of either stream.
    exchange.outcome().await
}

async fn send(request: &ByteStream) -> Result<(), Error> {
    let (mut input, mut buffer) = (stream::stdin(), vec![0; CHUNK]);
    loop {
        match input.read(&mut buffer).await? {
            0 => return request.close().await,
            read => request.write_all(&buffer[..read]).await?,
        }
    }
}
