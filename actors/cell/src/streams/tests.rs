//! Guests that reach their node, as components built against different versions.

use bytes::Bytes;
use tokio::sync::oneshot;
use ww_core::{
    Limits,
    exit::{Reason, Trap},
};

use super::*;
use crate::{
    Runtime,
    fixture::{
        ECHO, Ends,
        component::{Built, CURRENT, component},
        connect_once, runtime, start, start_with,
    },
    pipe::Closed,
};

/// Starts a component that connects, and returns the node's end of its connection.
async fn connected(runtime: &Runtime, wat: &str, limits: Limits) -> (Ends, Duplex) {
    let (tx, rx) = oneshot::channel();
    let connect = connect_once(|duplex| drop(tx.send(duplex)));
    let ends = start_with(runtime, wat, limits, |start| start.connect = Some(connect)).await;
    let duplex = rx.await.expect("the guest connects");
    (ends, duplex)
}

async fn all(reader: &pipe::Reader) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match reader.read(usize::MAX).await.expect("no failure") {
            bytes if bytes.is_empty() => return all,
            bytes => all.extend_from_slice(&bytes),
        }
    }
}

fn trap(reason: Reason) -> Trap {
    match reason {
        Reason::Trap(trap) => Trap::clone(&trap),
        other => panic!("expected a trap, found {other}"),
    }
}

/// Copies its input to its output with the blocking functions of `wasi:io`, until its input is closed.
const BLOCKING_ECHO: &str = "(func $run (result i32)
    (local $connection i32) (local $in i32) (local $out i32)
    (local.set $connection (call $create))
    (local.set $in (call $get-input (local.get $connection)))
    (local.set $out (call $get-output (local.get $connection)))
    (loop $more
      (call $in-blocking-read (local.get $in) (i64.const 4096) (global.get $ret))
      (if (call $byte (i32.const 0))
        (then (call $expect (call $byte (i32.const 4)) (i32.const 1)) (return (i32.const 0))))
      (call $out-blocking-write (local.get $out) (call $word (i32.const 4)) (call $word (i32.const 8)) (global.get $ret))
      (call $expect (call $byte (i32.const 0)) (i32.const 0))
      (br $more))
    (unreachable))";

/// The same with `poll` and the functions that never wait. An input that is ready twice in a row for nothing is a trap, and so
/// is an output that is ready for nothing.
const POLLING_ECHO: &str = "(func $wait (param $pollable i32)
      (i32.store (i32.const 256) (local.get $pollable))
      (call $poll (i32.const 256) (i32.const 1) (global.get $ret))
      (call $expect (call $word (i32.const 4)) (i32.const 1)))
  (func $run (result i32)
    (local $connection i32) (local $in i32) (local $out i32) (local $readable i32) (local $writable i32)
    (local $from i32) (local $len i32) (local $part i32) (local $nothing i32)
    (local.set $connection (call $create))
    (local.set $in (call $get-input (local.get $connection)))
    (local.set $out (call $get-output (local.get $connection)))
    (local.set $readable (call $in-subscribe (local.get $in)))
    (local.set $writable (call $out-subscribe (local.get $out)))
    (loop $more
      (call $wait (local.get $readable))
      (call $in-read (local.get $in) (i64.const 1000) (global.get $ret))
      (if (call $byte (i32.const 0))
        (then (call $expect (call $byte (i32.const 4)) (i32.const 1)) (return (i32.const 0))))
      (local.set $from (call $word (i32.const 4)))
      (local.set $len (call $word (i32.const 8)))
      (if (i32.eqz (local.get $len)) (then
        (if (local.get $nothing) (then (unreachable)))
        (local.set $nothing (i32.const 1))
        (br $more)))
      (local.set $nothing (i32.const 0))
      (loop $rest
        (call $wait (local.get $writable))
        (call $out-check (local.get $out) (global.get $ret))
        (call $expect (call $byte (i32.const 0)) (i32.const 0))
        (local.set $part (call $word (i32.const 8)))
        (if (i32.eqz (local.get $part)) (then (unreachable)))
        (if (i32.gt_u (local.get $part) (local.get $len)) (then (local.set $part (local.get $len))))
        (call $out-write (local.get $out) (local.get $from) (local.get $part) (global.get $ret))
        (call $expect (call $byte (i32.const 0)) (i32.const 0))
        (local.set $from (i32.add (local.get $from) (local.get $part)))
        (local.set $len (i32.sub (local.get $len) (local.get $part)))
        (br_if $rest (local.get $len)))
      (br $more))
    (unreachable))";

/// The same with numbers for streams. At its end it closes both.
const HANDLE_ECHO: &str = "(func $run (result i32)
    (local $connection i32)
    (local.set $connection (call $create))
    (call $expect (call $get-input-handle (local.get $connection)) (i32.const 0))
    (call $expect (call $get-output-handle (local.get $connection)) (i32.const 1))
    (loop $more
      (call $read (i32.const 0) (i32.const 4096) (global.get $ret))
      (call $expect (call $byte (i32.const 0)) (i32.const 0))
      (if (i32.eqz (call $word (i32.const 8)))
        (then
          (call $close (i32.const 0) (global.get $ret))
          (call $expect (call $byte (i32.const 0)) (i32.const 0))
          (call $close (i32.const 1) (global.get $ret))
          (call $expect (call $byte (i32.const 0)) (i32.const 0))
          (return (i32.const 0))))
      (call $write (i32.const 1) (call $word (i32.const 4)) (call $word (i32.const 8)) (global.get $ret))
      (call $expect (call $byte (i32.const 0)) (i32.const 0))
      (br $more))
    (unreachable))";

/// Sends more than the pipes hold, in pieces, and expects it back.
async fn echoes(runtime: &Runtime, wat: &str, limits: Limits) {
    let (ends, Duplex { from_guest, to_guest, .. }) = connected(runtime, wat, limits).await;
    let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let writing = async {
        for (size, piece) in [1, 2, 7, 1_000, 70_000].into_iter().cycle().scan(0, |from, size| {
            let piece = sent.get(*from..sent.len().min(*from + size)).filter(|piece| !piece.is_empty())?;
            *from += piece.len();
            Some((size, piece))
        }) {
            to_guest.write_all(piece).await.expect("the guest reads");
            if size < 7 {
                tokio::task::yield_now().await;
            }
        }
        to_guest.close();
    };
    let ((), received) = tokio::join!(writing, all(&from_guest));
    assert!(received == sent, "{} bytes", received.len());
    assert_eq!(ends.cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn guests_of_every_version_reach_their_node() {
    let runtime = runtime();
    for io in ["@0.2.0", "@0.2.3", "@0.2.12"] {
        for streams in ["@0.1.0", ""] {
            let wat = component(Built { io, streams }, BLOCKING_ECHO);
            echoes(&runtime, &wat, Limits::default()).await;
        }
    }
}

#[tokio::test]
async fn a_ready_pollable_yields_bytes_or_the_end_but_for_one_step_after_bytes() {
    let runtime = runtime();
    for io in ["@0.2.0", "@0.2.12"] {
        echoes(&runtime, &component(Built { io, ..CURRENT }, POLLING_ECHO), Limits::default()).await;
    }
}

/// Waits, reads, and sends `b` for bytes and `n` for nothing, again and again.
const STEPS: &str = "(func $run (result i32)
    (local $connection i32) (local $in i32) (local $out i32)
    (local.set $connection (call $create))
    (local.set $in (call $get-input (local.get $connection)))
    (local.set $out (call $get-output (local.get $connection)))
    (i32.store (i32.const 256) (call $in-subscribe (local.get $in)))
    (loop $more
      (call $poll (i32.const 256) (i32.const 1) (global.get $ret))
      (call $in-read (local.get $in) (i64.const 1) (global.get $ret))
      (if (call $byte (i32.const 0)) (then (return (i32.const 0))))
      (i32.store8 (i32.const 512) (select (i32.const 98) (i32.const 110) (call $word (i32.const 8))))
      (call $out-blocking-write (local.get $out) (i32.const 512) (i32.const 1) (global.get $ret))
      (br $more))
    (unreachable))";

#[tokio::test]
async fn a_guest_that_read_something_gets_one_more_step_and_then_waits() {
    let (ends, Duplex { from_guest, to_guest, .. }) =
        connected(&runtime(), &component(CURRENT, STEPS), Limits::default()).await;
    let step = async || from_guest.read(1).await;
    assert_eq!(step().await, Ok(Bytes::from_static(b"n")), "at the very first");
    for _ in 0..3 {
        to_guest.write_all(b"x").await.expect("open");
        assert_eq!((step().await, step().await), (Ok(Bytes::from_static(b"b")), Ok(Bytes::from_static(b"n"))));
    }
    to_guest.close();
    assert_eq!(all(&from_guest).await, b"", "it has waited");
    assert_eq!(ends.cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn streams_work_as_numbers() {
    let runtime = runtime();
    for streams in ["@0.1.0", ""] {
        echoes(&runtime, &component(Built { streams, ..CURRENT }, HANDLE_ECHO), Limits::default()).await;
    }
}

#[tokio::test]
async fn a_component_runs_in_the_small_class() {
    let runtime = runtime();
    let small = Limits { memory: crate::SMALL_MEMORY, ..Limits::default() };
    echoes(&runtime, &component(CURRENT, HANDLE_ECHO), small.clone()).await;
    let grow = "(func $run (result i32) (loop (drop (memory.grow (i32.const 1))) (br 0)) (unreachable))";
    let ends = start(&runtime, &component(CURRENT, grow), small).await;
    assert_eq!(ends.cell.exit().wait().await, Reason::Limit(ww_core::exit::Limit::Memory));
}

#[tokio::test]
async fn the_numbers_of_one_guest_are_not_those_of_another() {
    let runtime = runtime();
    let wat = component(CURRENT, HANDLE_ECHO);
    let (a, to_a) = connected(&runtime, &wat, Limits::default()).await;
    let (b, to_b) = connected(&runtime, &wat, Limits::default()).await;
    to_a.to_guest.write_all(b"to a").await.expect("open");
    to_b.to_guest.write_all(b"to b").await.expect("open");
    assert_eq!(to_b.from_guest.read(9).await, Ok(Bytes::from_static(b"to b")));
    assert_eq!(to_a.from_guest.read(9).await, Ok(Bytes::from_static(b"to a")));
    drop(to_a);
    assert_eq!(a.cell.exit().wait().await, Reason::Normal);
    to_b.to_guest.write_all(b"still").await.expect("open");
    assert_eq!(to_b.from_guest.read(9).await, Ok(Bytes::from_static(b"still")));
    drop(to_b);
    assert_eq!(b.cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn a_wrong_number_is_an_error_that_says_so() {
    /// Sends the error of the last call as a line.
    const TELL: &str = "(func $tell
        (local $from i32) (local $len i32)
        (call $expect (call $byte (i32.const 0)) (i32.const 1))
        (local.set $from (call $word (i32.const 4)))
        (local.set $len (call $word (i32.const 8)))
        (call $write (i32.const 1) (local.get $from) (local.get $len) (global.get $ret))
        (call $expect (call $byte (i32.const 0)) (i32.const 0))
        (i32.store8 (i32.const 512) (i32.const 10))
        (call $write (i32.const 1) (i32.const 512) (i32.const 1) (global.get $ret))
        (call $expect (call $byte (i32.const 0)) (i32.const 0)))";
    let wat = component(
        CURRENT,
        &format!(
            "{TELL} (func $run (result i32)
            (local $connection i32)
            (local.set $connection (call $create))
            (drop (call $get-output-handle (local.get $connection)))
            (call $read (i32.const 0) (i32.const 9) (global.get $ret)) (call $tell)
            (drop (call $get-input-handle (local.get $connection)))
            (call $read (i32.const 1) (i32.const 9) (global.get $ret)) (call $tell)
            (call $read (i32.const -1) (i32.const 9) (global.get $ret)) (call $tell)
            (call $write (i32.const 0) (i32.const 512) (i32.const 1) (global.get $ret)) (call $tell)
            (call $write (i32.const 2) (i32.const 512) (i32.const 1) (global.get $ret)) (call $tell)
            (call $close (i32.const 7) (global.get $ret)) (call $tell)
            (call $close (i32.const 0) (global.get $ret)) (call $expect (call $byte (i32.const 0)) (i32.const 0))
            (call $close (i32.const 0) (global.get $ret)) (call $tell)
            (call $read (i32.const 0) (i32.const 9) (global.get $ret)) (call $tell)
            (call $close (i32.const 1) (global.get $ret)) (call $expect (call $byte (i32.const 0)) (i32.const 0))
            (call $close (i32.const 1) (global.get $ret)) (call $expect (call $byte (i32.const 0)) (i32.const 1))
            (call $write (i32.const 1) (i32.const 512) (i32.const 1) (global.get $ret))
            (call $expect (call $byte (i32.const 0)) (i32.const 1))
            (i32.const 0))"
        ),
    );
    let (ends, Duplex { from_guest, .. }) = connected(&runtime(), &wat, Limits::default()).await;
    let told = String::from_utf8(all(&from_guest).await).expect("text");
    let expected = [
        (0_u32, "reading"),
        (1, "reading"),
        (u32::MAX, "reading"),
        (0, "writing"),
        (2, "writing"),
        (7, "closing"),
        (0, "closing"),
        (0, "reading"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(handle, what_for)| not_open(handle, what_for)).collect();
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    assert_eq!(ends.cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn what_can_be_taken_once_traps_the_second_time() {
    let runtime = runtime();
    for (first, second, message) in [
        ("(drop (call $create))", "(drop (call $create))", "create-connection"),
        ("(drop (call $get-input (local.get 0)))", "(drop (call $get-input (local.get 0)))", "get-input-stream"),
        ("(drop (call $get-input (local.get 0)))", "(drop (call $get-input-handle (local.get 0)))", "get-input-stream"),
        ("(drop (call $get-input-handle (local.get 0)))", "(drop (call $get-input (local.get 0)))", "get-input-stream"),
        ("(drop (call $get-output (local.get 0)))", "(drop (call $get-output (local.get 0)))", "get-output-stream"),
        (
            "(drop (call $get-output (local.get 0)))",
            "(drop (call $get-output-handle (local.get 0)))",
            "get-output-stream",
        ),
        (
            "(drop (call $get-output-handle (local.get 0)))",
            "(drop (call $get-output (local.get 0)))",
            "get-output-stream",
        ),
    ] {
        let first = if message == "create-connection" { "" } else { first };
        let body =
            format!("(func $run (result i32) (local i32) (local.set 0 (call $create)) {first} {second} (i32.const 0))");
        let (ends, _duplex) = connected(&runtime, &component(CURRENT, &body), Limits::default()).await;
        let trap = trap(ends.cell.exit().wait().await);
        assert_eq!(trap.kind, "host-call", "{second}");
        assert!(trap.message.starts_with(message), "{second}: {}", trap.message);
    }
}

#[tokio::test]
async fn a_cell_without_a_node_traps_where_it_connects() {
    let body = "(func $run (result i32) (drop (call $create)) (i32.const 0))";
    let ends = start(&runtime(), &component(CURRENT, body), Limits::default()).await;
    let trap = trap(ends.cell.exit().wait().await);
    assert_eq!(trap.kind, "host-call");
    assert!(trap.message.contains("has none"), "{}", trap.message);
}

#[tokio::test]
async fn a_connection_that_fails_is_an_error_for_the_guest_and_no_end() {
    let body = "(func $run (result i32)
        (local $in i32)
        (local.set $in (call $get-input (call $create)))
        (call $in-blocking-read (local.get $in) (i64.const 10) (global.get $ret))
        (call $expect (call $byte (i32.const 0)) (i32.const 1))
        (call $expect (call $byte (i32.const 4)) (i32.const 0))
        (i32.const 0))";
    let (ends, duplex) = connected(&runtime(), &component(CURRENT, body), Limits::default()).await;
    duplex.to_guest.fail("the vat failed");
    assert_eq!(ends.cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn a_guest_that_writes_to_nobody_is_told() {
    let body = "(func $run (result i32)
        (drop (call $get-output-handle (call $create)))
        (loop $more
          (call $write (i32.const 1) (i32.const 1024) (i32.const 1024) (global.get $ret))
          (br_if $more (i32.eqz (call $byte (i32.const 0)))))
        (i32.const 1))";
    let (ends, duplex) = connected(&runtime(), &component(CURRENT, body), Limits::default()).await;
    drop(duplex);
    assert_eq!(ends.cell.exit().wait().await, Reason::Exit(1));
}

#[tokio::test]
async fn a_connection_that_the_guest_drops_is_closed_while_it_runs_on() {
    let body = "(func $run (result i32) (call $drop-connection (call $create)) (loop (br 0)) (unreachable))";
    let (ends, Duplex { from_guest, to_guest, .. }) =
        connected(&runtime(), &component(CURRENT, body), Limits::default()).await;
    assert_eq!(from_guest.read(1).await, Ok(Bytes::new()));
    assert_eq!(to_guest.write_all(&[0; 2 * CONNECTION_CAPACITY]).await, Err(Closed::End));
    assert_eq!(ends.cell.exit().reason(), None);
    ends.cell.stop(Reason::Killed);
    assert_eq!(ends.cell.exit().wait().await, Reason::Killed);
}

#[tokio::test]
async fn a_panic_where_the_node_serves_a_guest_ends_that_guest_only() {
    let runtime = runtime();
    let neighbour = start(&runtime, ECHO, Limits::default()).await;
    let wat = component(CURRENT, BLOCKING_ECHO);
    let ends = start_with(&runtime, &wat, Limits::default(), |start| {
        start.connect = Some(connect_once(|_| panic!("on purpose")));
    })
    .await;
    assert_eq!(ends.cell.exit().wait().await, Reason::host_fault("the task panicked: on purpose"));
    assert_eq!(ends.stdout.read(9).await, Ok(Bytes::new()), "its stdout is closed");
    neighbour.stdin.write_all(b"still here").await.expect("open");
    assert_eq!(neighbour.stdout.read(99).await, Ok(Bytes::from_static(b"still here")));
    neighbour.stdin.close();
    assert_eq!(neighbour.cell.exit().wait().await, Reason::Normal);
    echoes(&runtime, &wat, Limits::default()).await;
}
