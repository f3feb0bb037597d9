//! Calls its node from a loop of its own, with a waker that does nothing: each turn steps the RPC system once and then its
//! own future once. So a call that the future queues is written a turn after the answer that it waited for.
//!
//! | argument | how it waits between two turns |
//! |---|---|
//! | `pollables` | in `wasi:io/poll`, for its input, and for its output only while that is full |
//! | `numbers` | in `read` of `wetware:streams`, after a turn that has moved no byte: there is nothing to poll, and to read waits |
//!
//! It asks for the executor, for two echoes one after the other, and for a program that ends at once, and prints how that
//! ended.

mod numbers;
mod pollables;

use std::{
    env,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};

use futures::task::noop_waker_ref;
use ww_guest::{
    bindings::streams::wetware::streams::streams::create_connection,
    capnp::{Error, message::ReaderOptions},
    capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty::VatNetwork},
    peer_capnp::host,
    rpc::Executor,
};

/// A core module whose `main` returns: its memory, its `_start`, and nothing else.
const PROGRAM: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\
    \x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

ww_guest::cell! { main: run }

fn run() -> Result<(), Error> {
    let connection = create_connection();
    let code = match env::args().nth(1).as_deref() {
        Some("pollables") => {
            let streams = pollables::Streams::new(connection.get_input_stream(), connection.get_output_stream());
            turns(streams.reader(), streams.writer(), || streams.wait())
        }
        Some("numbers") => {
            let streams =
                numbers::Streams::new(connection.get_input_stream_handle(), connection.get_output_stream_handle());
            turns(streams.reader(), streams.writer(), || streams.wait())
        }
        other => Err(Error::failed(format!("expected pollables or numbers, found {other:?}"))),
    }?;
    println!("code {code}");
    Ok(())
}

/// Turn after turn, until the future has ended.
fn turns(
    reader: impl futures::AsyncRead + Unpin + 'static,
    writer: impl futures::AsyncWrite + Unpin + 'static,
    wait: impl Fn(),
) -> Result<i32, Error> {
    let network = VatNetwork::new(reader, writer, Side::Client, ReaderOptions::new());
    let mut system = RpcSystem::new(Box::new(network), None);
    let mut calls = pin!(calls(system.bootstrap(Side::Server)));
    let mut cx = Context::from_waker(noop_waker_ref());
    loop {
        if let Poll::Ready(ended) = Pin::new(&mut system).poll(&mut cx) {
            return Err(Error::failed(format!("the connection has ended: {ended:?}")));
        }
        if let Poll::Ready(code) = calls.as_mut().poll(&mut cx) {
            return code;
        }
        wait();
    }
}

/// To be polled again in the next turn, whatever happens.
fn again<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

async fn calls(host: host::Client) -> Result<i32, Error> {
    let executor: Executor = host.executor_request().send().promise.await?.get()?.get_executor()?.into();
    for text in ["one", "two"] {
        let echoed = executor.echo(text).await?;
        if !echoed.contains(text) {
            return Err(Error::failed(format!("expected {text}, found {echoed}")));
        }
    }
    executor.run_bytes(PROGRAM, &[""; 0], &[""; 0]).await?.wait().await
}
