//! The vats of a node take whatever comes, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same functions for longer.

#[path = "../../../fuzz/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/speech.rs"]
mod speech;

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use tokio::{io::AsyncWrite, task::LocalSet};
use ww_rpc::client;

/// Remembers what is written.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<u8>>>);

impl AsyncWrite for Recorder {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a client sends that does a bit of everything, without waiting for an answer.
fn transcript() -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let recorder = Recorder::default();
    let written = recorder.clone();
    LocalSet::new().block_on(&runtime, async move {
        let (silent, _node) = tokio::io::duplex(8);
        let (_connection, local) = client::connect(silent, written);
        let (sink, _incoming) = client::sink();
        let mut logs = local.admin.logs_request();
        logs.get().set_cell(1);
        logs.get().set_follow(true);
        logs.get().set_sink(sink);
        let mut inspect = local.admin.inspect_request();
        inspect.get().set_cell(1);
        let mut process = local.admin.process_request();
        process.get().set_cell(1);
        let process = process.send().pipeline.get_process();
        let executor = local.host.executor_request().send().pipeline.get_executor();
        let mut echo = executor.echo_request();
        echo.get().set_message("hello");
        let mut run = executor.run_bytes_request();
        run.get().set_wasm(b"\0asm");
        let calls = (
            local.host.id_request().send(),
            local.host.peers_request().send(),
            local.admin.list_request().send(),
            local.admin.tree_request().send(),
            local.admin.watch_request().send(),
            local.admin.stop_request().send(),
            logs.send(),
            inspect.send(),
            process.status_request().send(),
            process.open_request().send(),
            process.send_request().send(),
            echo.send(),
            run.send().pipeline.get_process().stdout_request().send(),
        );
        // Everything is written once nothing else is to be done.
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        drop(calls);
    });
    recorder.0.lock().expect("no panic").clone()
}

#[test]
fn clients() {
    let seed = transcript();
    assert!(seed.len() > 1_000, "a client says something: {} bytes", seed.len());
    mutate::drive("clients", ww_rpc::fuzz::client, &[seed]);
}

/// Random bytes that choose what is said.
fn choices() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(7);
    (0..64).map(|_| (0..1_000).map(|_| random.random()).collect()).collect()
}

#[test]
fn conversations_that_no_library_would_have() {
    let said = |hear: fn(&[u8])| move |bytes: &[u8]| hear(&speech::conversation(bytes));
    mutate::drive("a client says", said(ww_rpc::fuzz::client), &choices());
    mutate::drive("a peer says", said(ww_rpc::fuzz::peer), &choices());
    mutate::drive("a guest says", said(ww_rpc::fuzz::guest), &choices());
    mutate::drive("a node answers", said(ww_rpc::fuzz::callee), &choices());
}
