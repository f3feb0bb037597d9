//! Messages over streams, against cells of a few instructions.

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use ww_cell::{Cell, Class, Config, Mode, Runtime, Spec, Stderr, Stop, tail};
use ww_core::{CellId, Limits, exit::Reason};

use super::*;

/// Copies the message to the reply; traps at its end if the message starts with `t`.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func $copy (export "poll") (local $first i32)
        (local.set $first (i32.const -1))
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 4000))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)) (then (return)))
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (if (i32.eq (local.get $first) (i32.const -1)) (then (local.set $first (i32.load8_u (i32.const 64)))))
            (if (i32.eqz (i32.load (i32.const 16))) (then
                (if (i32.eq (local.get $first) (i32.const 116)) (then (unreachable)))
                (return)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (br $more)))
    (func (export "_start") (call $copy)))"#;

async fn cell(mode: Mode) -> Cell {
    limited_cell(mode, Limits::default()).await
}

async fn limited_cell(mode: Mode, limits: Limits) -> Cell {
    let runtime = Runtime::start(Config::default(), tokio::runtime::Handle::current()).expect("a runtime starts");
    let wasm = wat::parse_str(ECHO).expect("valid text");
    let program = runtime.load(wasm.into(), Class::Standard).await.expect("a valid program");
    let id = CellId::new(1);
    let (spec, stderr) = (Spec { mode, limits, ..Spec::default() }, Stderr::Tail(tail::tail(id).0));
    runtime.spawn(id, program, spec, stderr, Stop::default()).expect("both modes are exported")
}

/// Sends a message as a peer does: all of it, then the end, while it reads the reply.
async fn exchange(cell: &Cell, message: &[u8]) -> (Result<(), Failure>, Vec<u8>) {
    let (ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    let serving = raw(cell.slot(), cell.envelope(None), from, to);
    let (mut reading, mut writing) = tokio::io::split(ours);
    let writing = async {
        // The cell may end before it has read everything.
        let _ = writing.write_all(message).await;
        let _ = writing.shutdown().await;
    };
    let mut reply = Vec::new();
    let (served, (), read) = tokio::join!(serving, writing, reading.read_to_end(&mut reply));
    read.expect("a pipe does not fail");
    (served, reply)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_any_size_are_echoed_in_both_modes() {
    for mode in [Mode::Async, Mode::Sync] {
        let cell = cell(mode).await;
        for len in [0, 1, HELD - 1, HELD, HELD + 1, 1_000_000] {
            let message = vec![b'x'; len];
            let (served, reply) = exchange(&cell, &message).await;
            assert_eq!((served, reply.len()), (Ok(()), len), "{mode:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_gives_an_empty_reply() {
    for mode in [Mode::Async, Mode::Sync] {
        let cell = cell(mode).await;
        let (served, reply) = exchange(&cell, b"trap").await;
        assert!(served.is_err(), "{mode:?}");
        assert_eq!(reply, b"", "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_vanishes_leaves_the_cell_to_others() {
    let cell = cell(Mode::Async).await;
    let (mut ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    let serving = raw(cell.slot(), cell.envelope(None), from, to);
    let vanishing = async {
        ours.write_all(&[b'x'; 3_000]).await.expect("the cell reads");
        drop(ours);
    };
    let (_, ()) = tokio::join!(serving, vanishing);
    assert_eq!(exchange(&cell, b"next").await, (Ok(()), b"next".to_vec()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_peer_does_not_use_up_the_deadline_of_the_cell() {
    const DEADLINE: Duration = Duration::from_secs(2);
    const BYTES: usize = 30;
    let slow = async |mode| {
        let limits = Limits { deadline: Some(DEADLINE), ..Limits::default() };
        let cell = limited_cell(mode, limits).await;
        let (ours, theirs) = duplex(1_000);
        let (from, to) = tokio::io::split(theirs);
        let serving = raw(cell.slot(), cell.envelope(None), from, to);
        let (mut reading, mut writing) = tokio::io::split(ours);
        let slow = async {
            // The time itself is what is tested: together it is more than the deadline.
            for _ in 0..BYTES {
                tokio::time::sleep(Duration::from_millis(100)).await;
                writing.write_all(b".").await.expect("the cell reads");
            }
            writing.shutdown().await.expect("open");
        };
        let mut reply = Vec::new();
        let (served, (), read) = tokio::join!(serving, slow, reading.read_to_end(&mut reply));
        assert_eq!((served, read.ok(), reply.len()), (Ok(()), Some(BYTES), BYTES), "{mode:?}");
        assert_eq!(exchange(&cell, b"next").await, (Ok(()), b"next".to_vec()), "{mode:?}");
    };
    tokio::join!(slow(Mode::Async), slow(Mode::Sync));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_loses_its_own_message_only() {
    let cell = cell(Mode::Async).await;
    let (mut ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    ours.write_all(b"half a message").await.expect("there is room");
    let (gate, patience, payer) = (Gate::new(1), Duration::from_millis(50), Account::unlimited());
    let silent = admitted(
        Guarded {
            slot: cell.slot(),
            gate: &gate,
            patience,
            deadline: None,
            caller: Caller::Peer(ww_net::PeerId::random()),
            payer: &payer,
        },
        HELD,
        cell.envelope(None),
        from,
        to,
    );
    silent.await.expect("the guest takes the error for the end");
    assert_eq!(exchange(&cell, b"next").await, (Ok(()), b"next".to_vec()));
    cell.stop(Reason::Shutdown);
    assert_eq!(exchange(&cell, b"late").await.1, b"");
}
