//! `ww send` to a cell of a running node.

use std::{pin::pin, time::Duration};

use tokio::{
    io::{AsyncReadExt, stdin},
    time::timeout,
};
use ww_schema::{
    cell_capnp::exchange::{self, outcome},
    peer_capnp::byte_stream,
};

use super::{
    Failure, code,
    node::{Node, call_failure, unavailable},
    not_written,
    target::Target,
};
use crate::terminal::Output;

/// Bytes that are read or written at once.
const CHUNK: usize = 64 * 1024;

/// Sends one message to a cell, prints the reply as it comes, and says what became of the message.
pub(super) async fn ask(node: Node, cell: &Target, deadline: Option<Duration>, text: &str) -> Result<u8, Failure> {
    let process = node.process(cell).await?;
    let mut request = process.open_request();
    let millis = deadline.map_or(0, |deadline| u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX));
    request.get().set_deadline(millis);
    let exchange = node.answer(async { request.send().promise.await?.get()?.get_exchange() }).await?;
    let body = exchange.request_request().send().pipeline.get_stream();
    let reply = exchange.reply_request().send().pipeline.get_stream();
    // Asked for before there is one: a node that stops waits for answers that are due, and not for the next question.
    let outcome = exchange.outcome_request().send().promise;
    let all = async {
        let mut printing = pin!(print(&reply));
        tokio::select! {
            biased;
            // A cell may answer, or give up, without reading everything: what is left of the message is of no interest then.
            printed = &mut printing => printed?,
            // What a cell does not read of its message is in the outcome.
            _ = send(&body, text) => printing.await?,
        }
        told(&outcome.await.map_err(|error| call_failure(&error))?)
    };
    match deadline {
        // The node answers a little before.
        Some(deadline) => timeout(deadline + Duration::from_secs(1), all).await.unwrap_or_else(|_| {
            let why = format!("no whole reply within {deadline:?}: the cell goes on, but nobody waits for it");
            Err(unavailable(why))
        }),
        None => all.await,
    }
}

async fn send(body: &byte_stream::Client, text: &str) -> Result<(), capnp::Error> {
    if text == "-" {
        let (mut input, mut buffer) = (stdin(), vec![0; CHUNK]);
        loop {
            let read = input.read(&mut buffer).await.map_err(|error| capnp::Error::failed(error.to_string()))?;
            if read == 0 {
                break;
            }
            push(body, &buffer[..read]).await?;
        }
    } else {
        for chunk in text.as_bytes().chunks(CHUNK) {
            push(body, chunk).await?;
        }
    }
    body.close_request().send().promise.await.map(drop)
}

async fn push(body: &byte_stream::Client, bytes: &[u8]) -> Result<(), capnp::Error> {
    let mut request = body.push_request();
    request.get().set_data(bytes);
    request.send().await
}

async fn print(reply: &byte_stream::Client) -> Result<(), Failure> {
    loop {
        let mut request = reply.read_request();
        request.get().set_max_bytes(CHUNK as u32);
        let Ok(answer) = request.send().promise.await else { return Ok(()) };
        let bytes = answer.get().and_then(|answer| answer.get_data()).map_err(|error| call_failure(&error))?;
        if bytes.is_empty() {
            return Ok(());
        }
        let printed = Output::Stdout.write(bytes.to_vec().into()).await;
        printed.map_err(|error| not_written(Output::Stdout, &error))?;
    }
}

fn told(answer: &capnp::capability::Response<exchange::outcome_results::Owned>) -> Result<u8, Failure> {
    let read = || -> Result<Result<u8, Failure>, capnp::Error> {
        let failed = |code, what, text: capnp::text::Reader<'_>| Ok(Err(Failure::told(code, what, text.to_str()?)));
        match answer.get()?.get_outcome()?.which()? {
            outcome::Ok(()) => Ok(Ok(code::OK)),
            outcome::Failed(error) => failed(code::GUEST, "the cell could not answer: ", error?),
            outcome::Ended(reason) => {
                let reason = reason?;
                failed(reason.get_code().max(1), "the cell ended before it had answered: ", reason.get_text()?)
            }
            outcome::Refused(why) => failed(code::UNAVAILABLE, "the message was refused: ", why?),
        }
    };
    read().unwrap_or_else(|error| Err(call_failure(&error)))
}
