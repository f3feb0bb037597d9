//! One stream, one message: between a stream of bytes from somewhere else and the mailbox of a cell.

mod framed;

use std::{future::pending, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use ww_cell::{Envelope, Failure, Slot, pipe};

pub use framed::framed;

/// Bytes of a reply that are held until the guest has returned, so that a fault gives an empty reply and no torn one.
pub const HELD: usize = 64 * 1024;

/// How long a peer may take no byte of a reply, or send no byte of a request: longer than any network that works.
pub const PEER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes read from a peer at once.
const CHUNK: usize = 16 * 1024;

/// Serves one message without framing: the request up to its end, then the reply up to its end, both at the same time.
///
/// What the peer does harms only its own message. A peer that vanishes, falls silent in the middle of its request, or
/// takes no byte of the reply for [`PEER_TIMEOUT`] leaves the guest with a failed input and an output that is
/// discarded; the guest finishes. Not cancel safe: the cell finishes what it has begun, and the peer sees a torn reply.
///
/// # Errors
///
/// Where the message was not answered. The peer then sees an empty reply, or, if more than [`HELD`] bytes were on their
/// way already, a torn one.
pub async fn raw(
    slot: &Slot,
    envelope: Envelope,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    raw_within(PEER_TIMEOUT, slot, envelope, from, to).await
}

/// Serves one message whose request and reply are the two halves of a stream: [`raw`], within a time. The reply ends
/// with the stream, and the time is the caller's: the cell goes on after it, without anybody waiting.
///
/// # Errors
///
/// As [`raw`].
pub async fn process_message(
    slot: &Slot,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let (from, to) = tokio::io::split(stream);
    raw(slot, slot.envelope(timeout), from, to).await
}

/// [`raw`] with another patience than [`PEER_TIMEOUT`].
async fn raw_within(
    patience: Duration,
    slot: &Slot,
    envelope: Envelope,
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin,
) -> Result<(), Failure> {
    let (request, guest_request) = pipe::pipe(pipe::CAPACITY);
    let (guest_reply, reply) = pipe::pipe(pipe::CAPACITY);
    let answering = async {
        let (served, ()) =
            tokio::join!(slot.process_message(envelope, guest_request, guest_reply), write_reply(patience, reply, to));
        served
    };
    let reading = async {
        read_request(patience, from, request).await;
        pending::<()>().await;
    };
    tokio::select! {
        served = answering => served,
        // Once the request is read, the reply decides; a peer that still sends is not waited for.
        () = reading => unreachable!("it pends after its end"),
    }
}

async fn read_request(patience: Duration, mut from: impl AsyncRead + Unpin, request: pipe::Writer) {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.clear();
        match timeout(patience, from.read_buf(&mut buffer)).await {
            Ok(Ok(0)) => return request.close(),
            // A closed pipe says that the guest has finished without reading the rest.
            Ok(Ok(_)) => {
                if request.write_all(&buffer).await.is_err() {
                    return;
                }
            }
            Ok(Err(error)) => return request.fail(format!("the request broke off: {error}")),
            Err(_) => return request.fail(format!("the peer sent nothing for {patience:?}")),
        }
    }
}

async fn write_reply(patience: Duration, reply: pipe::Reader, mut to: impl AsyncWrite + Unpin) {
    let mut held = BytesMut::new();
    let mut streaming = false;
    let whole = loop {
        match reply.read(usize::MAX).await {
            Ok(bytes) if bytes.is_empty() => break true,
            Ok(bytes) => held.extend_from_slice(&bytes),
            Err(_) => break false,
        }
        if streaming || held.len() > HELD {
            streaming = true;
            if !write(patience, &mut to, &held).await {
                return;
            }
            held.clear();
        }
    };
    if whole
        && (held.is_empty() || write(patience, &mut to, &held).await)
        && timeout(patience, to.shutdown()).await.is_err()
    {
        tracing::debug!("a peer did not take the end of its reply in time");
    }
}

/// Whether the peer took all of it.
async fn write(patience: Duration, to: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match timeout(patience, to.write(bytes)).await {
            Ok(Ok(written)) if written > 0 => bytes = &bytes[written..],
            Ok(Ok(_) | Err(_)) | Err(_) => return false,
        }
    }
    timeout(patience, to.flush()).await.is_ok_and(|flushed| flushed.is_ok())
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
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
        let stderr = Stderr::Tail(tail::tail(id).0);
        runtime
            .spawn(id, program, Spec { mode, limits, ..Spec::default() }, stderr, Stop::default())
            .expect("both modes are exported")
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
        let silent = raw_within(Duration::from_millis(50), cell.slot(), cell.envelope(None), from, to);
        silent.await.expect("the guest takes the error for the end");
        assert_eq!(exchange(&cell, b"next").await, (Ok(()), b"next".to_vec()));
        cell.stop(Reason::Shutdown);
        assert_eq!(exchange(&cell, b"late").await.1, b"");
    }
}
