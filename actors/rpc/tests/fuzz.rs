//! The vat of a client takes whatever comes, for a short while on every run.
//!
//! `fuzz/` at the root of the repository drives the same function for longer.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{io::AsyncWrite, task::LocalSet};
use ww_rpc::client;

/// How long the vat is driven.
const TIME: Duration = Duration::from_secs(2);

/// Where the random numbers start. A failure can be repeated with it.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len());
        match self.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
            1 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            2 if self.below(8) == 0 => input.truncate(at),
            3 if !input.is_empty() => drop(input.remove(at)),
            4 => input.insert(at, self.next() as u8),
            5 => {
                let end = (at + self.below(64)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
            // The numbers of the protocol are small: one for another.
            _ => {
                if let Some(byte) = input.get_mut(at / 8 * 8) {
                    *byte = self.below(12) as u8;
                }
            }
        }
    }
}

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
    ww_rpc::fuzz::vat(&seed);
    println!("seed {SEED:#x}");
    let (mut random, started, mut runs) = (Random(SEED), Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        let mut input = seed.clone();
        for _ in 0..=random.below(8) {
            random.mutate(&mut input);
        }
        ww_rpc::fuzz::vat(&input);
        runs += 1;
    }
    println!("{runs} inputs");
    assert!(runs > 10, "it hangs");
}
