//! Messages over streams, against cells of a few instructions.

use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use ww_cell::{Cell, Class, Config, Mode, Runtime, Spec, Stderr, Stop, message::Sender, tail};
use ww_core::{CellId, Limits, exit::Reason};
use ww_net::PeerId;

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

/// A cell behind its gate, for a caller that came by its name.
fn guarded<'a>(cell: &'a Cell, gate: &'a Gate, caller: Caller, payer: &'a Account) -> Guarded<'a> {
    let (slot, patience) = (cell.slot(), Some(PEER_TIMEOUT));
    Guarded { slot, gate, patience, deadline: None, caller, way: Way::Name, payer }
}

/// The envelope of a message of a peer.
fn of_peer(cell: &Cell, peer: PeerId) -> Envelope {
    Envelope { sender: Sender::Peer(peer.to_bytes()), ..cell.envelope(None) }
}

/// Waits until a cell has begun as many messages as it serves at once, or is free again, as its gate sees it.
async fn until(gate: &Gate, is_free: bool) {
    let other = Caller::Peer(PeerId::random());
    while gate.enter_free(other).now_or_never().is_some() != is_free {
        tokio::task::yield_now().await;
    }
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
    let guarded = Guarded { patience: Some(patience), ..guarded(&cell, &gate, Caller::Peer(PeerId::random()), &payer) };
    let silent = admitted(guarded, HELD, cell.envelope(None), from, to);
    silent.await.expect("the guest takes the error for the end");
    assert_eq!(exchange(&cell, b"next").await, (Ok(()), b"next".to_vec()));
    cell.stop(Reason::Shutdown);
    assert_eq!(exchange(&cell, b"late").await.1, b"");
}

/// A caller does something with its end of a stream to a cell, and keeps that end. What became of its message, where others
/// wait for the cell as soon as it has begun the message, if they do.
async fn beside_others(others: bool, caller: impl AsyncFnOnce(&mut DuplexStream)) -> (Result<(), NotServed>, bool) {
    let (cell, gate, payer) = (cell(Mode::Async).await, Gate::new(1), Account::unlimited());
    let (peer, other_peer) = (PeerId::random(), PeerId::random());
    let (one, other) = (Caller::Peer(peer), Caller::Peer(other_peer));
    let (mut ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    let serving = admitted(guarded(&cell, &gate, one, &payer), HELD, of_peer(&cell, peer), from, to);
    let waiting = async {
        caller(&mut ours).await;
        if others {
            until(&gate, false).await;
            let (from, mut to, envelope) = (&b"other"[..], Vec::new(), of_peer(&cell, other_peer));
            let served = admitted(guarded(&cell, &gate, other, &payer), HELD, envelope, from, &mut to).await;
            assert!(served.is_ok() && to == b"other", "{served:?}");
        }
        ours
    };
    let (served, _ours) = tokio::join!(serving, waiting);
    assert!(!gate.has_lagged(&other));
    (served, gate.has_lagged(&one))
}

fn assert_given_up(outcome: (Result<(), NotServed>, bool)) {
    assert!(matches!(outcome, (Err(NotServed::Failed(Failure::TooSlow)), true)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_for_which_others_would_have_to_wait_is_given_up() {
    let silent = async |ours: &mut DuplexStream| ours.write_all(b"half a message").await.expect("it is read");
    let deaf = async |ours: &mut DuplexStream| {
        // More than is held of a message and its reply on their way: the rest is not read, because nobody takes the reply.
        let all = ours.write_all(&[b'x'; 1_000_000]);
        tokio::time::timeout(Duration::from_millis(500), all).await.expect_err("nobody takes the reply");
    };
    assert_given_up(beside_others(true, silent).await);
    assert_given_up(beside_others(true, deaf).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_for_which_nobody_waits_may_be_silent_for_longer() {
    let silent = async |ours: &mut DuplexStream| {
        ours.write_all(b"half a message").await.expect("it is read");
        // The time itself is what is tested: others would not wait for so long.
        tokio::time::sleep(Duration::from_millis(500)).await;
        ours.shutdown().await.expect("open");
    };
    assert!(matches!(beside_others(false, silent).await, (Ok(()), false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_is_slow_for_messages_of_its_own_is_not_given_up() {
    let (cell, gate, payer) = (cell(Mode::Async).await, Gate::new(1), Account::unlimited());
    let peer = PeerId::random();
    let caller = Caller::Peer(peer);
    let (mut ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    let first = admitted(guarded(&cell, &gate, caller, &payer), HELD, of_peer(&cell, peer), from, to);
    let mut reply = Vec::new();
    let second = async {
        until(&gate, false).await;
        let (from, envelope) = (&b"second"[..], of_peer(&cell, peer));
        admitted(guarded(&cell, &gate, caller, &payer), HELD, envelope, from, &mut reply).await
    };
    let slow = async {
        ours.write_all(b"first").await.expect("it is read");
        // The time itself is what is tested: others would not wait for so long.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(cell.mailbox().0 > 0, "its second message waits");
        ours.shutdown().await.expect("open");
    };
    let (first, second, ()) = tokio::join!(first, second, slow);
    assert!(first.is_ok() && second.is_ok() && !gate.has_lagged(&caller), "{first:?} {second:?}");
    assert_eq!(reply, b"second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_reply_is_being_written_is_waited_for_when_the_node_stops() {
    let (cell, gate, payer) = (cell(Mode::Async).await, Gate::new(1), Account::unlimited());
    let peer = PeerId::random();
    let (mut ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    let serving = admitted(guarded(&cell, &gate, Caller::Peer(peer), &payer), HELD, of_peer(&cell, peer), from, to);
    let reading = async {
        let message = [b'x'; 10_000];
        ours.write_all(&message).await.expect("it is read");
        until(&gate, false).await;
        ours.shutdown().await.expect("open");
        until(&gate, true).await;
        assert!(gate.drained().now_or_never().is_none(), "its guest is done, and it has not got the reply");
        let mut reply = Vec::new();
        ours.read_to_end(&mut reply).await.expect("a pipe does not fail");
        assert_eq!(reply, message);
    };
    let (served, ()) = tokio::join!(serving, reading);
    assert!(served.is_ok() && gate.drained().now_or_never().is_some(), "{served:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_its_reply_slowly_does_not_keep_the_guest_busy() {
    const DEADLINE: Duration = Duration::from_millis(400);
    let limits = Limits { deadline: Some(DEADLINE), ..Limits::default() };
    let (cell, gate, payer) = (limited_cell(Mode::Async, limits).await, Gate::new(1), Account::unlimited());
    let (ours, theirs) = duplex(1_000);
    let (from, to) = tokio::io::split(theirs);
    let (mut reading, mut writing) = tokio::io::split(ours);
    let peer = PeerId::random();
    let guarded = Guarded { deadline: Some(DEADLINE), ..guarded(&cell, &gate, Caller::Peer(peer), &payer) };
    let serving = admitted(guarded, HELD, of_peer(&cell, peer), from, to);
    let (message, mut reply) = (vec![b'x'; 1_000_000], Vec::new());
    let sending = async {
        writing.write_all(&message).await.expect("the guest reads all");
        writing.shutdown().await.expect("open");
    };
    let slow = async {
        // The time itself is what is tested: the guest waits for longer than it may work.
        tokio::time::sleep(2 * DEADLINE).await;
        reading.read_to_end(&mut reply).await.expect("a pipe does not fail");
    };
    let (served, (), ()) = tokio::join!(serving, sending, slow);
    assert!(served.is_ok() && reply == message, "{served:?} {}", reply.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_caller_that_lagged_come_in_whole_and_one_at_a_time() {
    let (cell, gate, payer) = (cell(Mode::Async).await, Gate::new(1), Account::unlimited());
    let (one, other) = (Caller::Peer(PeerId::random()), Caller::Peer(PeerId::random()));
    let enter = |caller, stage: Stage| {
        let progress = Progress::default();
        progress.reach(stage);
        admit(&guarded(&cell, &gate, caller, &payer), &progress, pending()).now_or_never().map(Result::ok)
    };
    let served = gate.enter(other);
    gate.judge(one, &Err(Failure::TooSlow.into()));
    assert!(enter(one, Stage::Full).is_none(), "it waits until the cell is free");
    let large = enter(other, Stage::Full);
    assert!(matches!(large, Some(Some(_))), "others do not");
    let whole = enter(one, Stage::Whole);
    assert!(matches!(whole, Some(Some(_))));
    assert!(enter(one, Stage::Whole).is_none(), "one at a time");
    assert!(matches!(enter(other, Stage::Whole), Some(Some(_))));
    drop((served, large, whole));
    assert!(matches!(enter(one, Stage::Begun), Some(Some(_))), "the cell is free");
}

#[tokio::test]
async fn a_request_that_is_given_up_is_not_taken_for_a_whole_one() {
    let (request, guest_request) = pipe::pipe(pipe::CAPACITY);
    let (pace, progress) = (Pace::new(Some(PEER_TIMEOUT)), Progress::default());
    let (mut ours, theirs) = duplex(1_000);
    ours.write_all(b"half").await.expect("there is room");
    assert!(request::read(&pace, Bytes::new(theirs), request, &progress).now_or_never().is_none());
    assert_eq!(guest_request.read(9).await.as_deref(), Ok(&b"half"[..]));
    assert!(guest_request.read(9).await.is_err());
}
