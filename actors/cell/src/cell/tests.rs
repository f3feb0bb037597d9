//! Cells in both modes: small programs in WebAssembly text, and what becomes of their messages.

mod ends;
mod slots;
mod storm;

use std::time::Duration;

use futures::future::join_all;
use ww_core::{exit::Limit, mailbox::Overflow};

use super::*;
use crate::{
    Class, Config, Hash, Program, Runtime,
    fixture::{next_id, stderr},
    message::MAX_WHOLE,
};

/// A preview 1 module for both modes. Each message is answered with the number of messages that this instance has
/// seen, as one digit, and then the message. The first byte of a message can ask for something else: `t` traps, `x`
/// exits with 3, `s` spins, `e` fails the message, `u` answers without reading the rest.
const COUNTER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (global $seen (mut i32) (i32.const 0))
    (func $put (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
    (func $get (result i32)
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 4000))
        (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)) (then (return (i32.const -1))))
        (i32.load (i32.const 16)))
    (func $poll (export "poll") (result i32) (local $len i32) (local $first i32)
        (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
        (i32.store8 (i32.const 32) (i32.add (i32.const 48) (global.get $seen)))
        (call $put (i32.const 32) (i32.const 1))
        (local.set $len (call $get))
        (local.set $first (i32.load8_u (i32.const 64)))
        (if (i32.gt_s (local.get $len) (i32.const 0)) (then
            (if (i32.eq (local.get $first) (i32.const 116)) (then (unreachable)))
            (if (i32.eq (local.get $first) (i32.const 120)) (then (call $exit (i32.const 3))))
            (if (i32.eq (local.get $first) (i32.const 115)) (then (loop (br 0))))
            (if (i32.eq (local.get $first) (i32.const 101)) (then (return (i32.const 9))))
            (if (i32.eq (local.get $first) (i32.const 117)) (then (return (i32.const 0))))))
        (loop $more
            (if (i32.lt_s (local.get $len) (i32.const 0)) (then (return (i32.const 8))))
            (if (i32.eqz (local.get $len)) (then (return (i32.const 0))))
            (call $put (i32.const 64) (local.get $len))
            (local.set $len (call $get))
            (br $more))
        (unreachable))
    (func (export "_start") (local $code i32)
        (local.set $code (call $poll))
        (if (local.get $code) (then (call $exit (local.get $code))))))"#;

/// A component that answers `handle` with the message, and fails an empty one.
const HANDLER: &str = r#"(component
    (core module $m
        (memory (export "memory") 4)
        (data (i32.const 64) "empty")
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "handle") (param $at i32) (param $len i32) (result i32)
            (i32.store8 (i32.const 16) (i32.eqz (local.get $len)))
            (i32.store (i32.const 20) (select (local.get $at) (i32.const 64) (local.get $len)))
            (i32.store (i32.const 24) (select (local.get $len) (i32.const 5) (local.get $len)))
            (i32.const 16)))
    (core instance $i (instantiate $m))
    (func $handle (param "body" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "handle") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (instance $handler (export "handle" (func $handle)))
    (export "wetware:cell/handler@0.1.0" (instance $handler)))"#;

fn runtime() -> Runtime {
    Runtime::start(Config::default(), tokio::runtime::Handle::current()).expect("a runtime starts")
}

async fn program(runtime: &Runtime, wat: &str) -> Program {
    let wasm = wat::parse_str(wat).expect("valid text");
    runtime.load(wasm.into(), Class::Standard).await.expect("a valid program")
}

async fn cell(wat: &str, spec: Spec) -> Cell {
    let runtime = runtime();
    let program = program(&runtime, wat).await;
    runtime.spawn(next_id(), program, spec, stderr(), Stop::default()).expect("the mode is exported")
}

fn spec(mode: Mode) -> Spec {
    Spec { mode, ..Spec::default() }
}

async fn ask(cell: &Cell, body: &'static str) -> Result<String, Failure> {
    let reply = cell.ask(cell.envelope(None), body).await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_program_serves_both_modes() {
    for (mode, replies) in [(Mode::Async, ["1a", "2", "3c"]), (Mode::Sync, ["1a", "1", "1c"])] {
        let cell = cell(COUNTER, spec(mode)).await;
        for (message, reply) in ["a", "", "c"].into_iter().zip(replies) {
            assert_eq!(ask(&cell, message).await.as_deref(), Ok(reply), "{mode:?}");
        }
        cell.stop(Reason::Shutdown);
        assert_eq!(cell.exit().wait().await, Reason::Shutdown);
        assert_eq!(ask(&cell, "late").await, Err(Failure::Refused(mailbox::Refused::Ended(Reason::Shutdown))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_is_not_exported_is_refused_with_what_is() {
    let runtime = runtime();
    let handler = program(&runtime, HANDLER).await;
    let refused = runtime.spawn(next_id(), handler, spec(Mode::Sync), stderr(), Stop::default()).expect_err("no main");
    let exports = Exports { handle: true, ..Exports::default() };
    assert_eq!(refused, Refusal::Mode(NotExported { mode: Mode::Sync, exports }));
    assert!(refused.to_string().contains("handle"), "{refused}");
    let command = program(&runtime, "(module (memory (export \"memory\") 1) (func (export \"_start\")))").await;
    assert!(runtime.spawn(next_id(), command, spec(Mode::Async), stderr(), Stop::default()).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_fails_one_message_and_the_state_survives() {
    let cell = cell(COUNTER, spec(Mode::Async)).await;
    assert_eq!(ask(&cell, "a").await.as_deref(), Ok("1a"));
    assert!(matches!(ask(&cell, "e").await, Err(Failure::Guest(error)) if error.contains('9')));
    assert_eq!(ask(&cell, "unread rest").await.as_deref(), Ok("3"));
    assert_eq!(ask(&cell, "d").await.as_deref(), Ok("4d"), "nothing of the last message reaches this one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_exits_and_limits_end_a_live_cell_and_fail_what_waits() {
    let limits = Limits { deadline: Some(Duration::from_millis(50)), ..Limits::default() };
    for (message, code) in [("t", 134), ("x", 3), ("s", 124)] {
        let cell = cell(COUNTER, Spec { limits: limits.clone(), ..spec(Mode::Async) }).await;
        let (first, second) = futures::join!(ask(&cell, message), ask(&cell, "waits"));
        let reason = cell.exit().wait().await;
        assert_eq!(reason.code(), code, "{message}");
        assert_eq!(first, Err(Failure::Ended(reason.clone())));
        assert_eq!(second, Err(Failure::Ended(reason)), "it was not begun, and is told so");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_sync_mode_a_failing_instance_fails_its_message_only() {
    let limits = Limits { deadline: Some(Duration::from_millis(50)), ..Limits::default() };
    let cell = cell(COUNTER, Spec { limits, ..spec(Mode::Sync) }).await;
    for (message, why) in
        [("t", "unreachable"), ("x", "exit(3)"), ("e", "exit(9)"), ("s", &*Reason::Limit(Limit::Deadline).to_string())]
    {
        assert!(matches!(ask(&cell, message).await, Err(Failure::Guest(error)) if error.contains(why)), "{message}");
    }
    assert_eq!(ask(&cell, "a").await.as_deref(), Ok("1a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_deadline_harms_only_its_own_message() {
    let limits = Limits { deadline: None, ..Limits::default() };
    let cell = cell(COUNTER, Spec { limits, ..spec(Mode::Async) }).await;
    let (request, guest_request) = pipe::pipe(16);
    let (guest_reply, reply) = pipe::pipe(16);
    // Long enough to be begun on a busy machine.
    let envelope = cell.envelope(Some(Duration::from_millis(200)));
    let slow = cell.process_message(envelope, guest_request, guest_reply).await;
    assert_eq!(slow, Err(Failure::Timeout));
    // It expires in the mailbox, behind the one that the cell still works on.
    assert_eq!(cell.ask(cell.envelope(Some(Duration::from_millis(20))), "b").await, Err(Failure::Timeout));
    drop(reply);
    request.write_all(b"nobody reads the reply").await.expect("the cell reads on");
    request.close();
    assert_eq!(ask(&cell, "c").await.as_deref(), Ok("2c"), "the second was refused untouched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_request_is_an_error_for_the_guest_and_for_the_reader_of_the_reply() {
    for mode in [Mode::Async, Mode::Sync] {
        let cell = cell(COUNTER, spec(mode)).await;
        let (request, guest_request) = pipe::pipe(16);
        let (guest_reply, reply) = pipe::pipe(16);
        request.try_write(b"half").expect("there is room");
        request.fail("reset by peer");
        let outcome = cell.process_message(cell.envelope(None), guest_request, guest_reply).await;
        assert!(matches!(outcome, Err(Failure::Guest(_))), "{mode:?}: {outcome:?}");
        let mut read = Vec::new();
        let torn = loop {
            match reply.read(16).await {
                Ok(bytes) if bytes.is_empty() => break None,
                Ok(bytes) => read.extend_from_slice(&bytes),
                Err(error) => break Some(error),
            }
        };
        assert!(torn.is_some(), "{mode:?}: a torn reply must not look whole: {read:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_any_size_pass_without_being_held_as_a_whole() {
    const LEN: usize = 5_000_000;
    for mode in [Mode::Async, Mode::Sync] {
        let cell = cell(COUNTER, spec(mode)).await;
        let (request, guest_request) = pipe::pipe(pipe::CAPACITY);
        let (guest_reply, reply) = pipe::pipe(pipe::CAPACITY);
        let serving = cell.process_message(cell.envelope(None), guest_request, guest_reply);
        let writing = async {
            for _ in 0..LEN / 1_000 {
                request.write_all(&[b'.'; 1_000]).await.expect("the cell reads");
            }
            request.close();
        };
        let reading = async {
            let mut len = 0;
            loop {
                match reply.read(usize::MAX).await.expect("no failure").len() {
                    0 => return len,
                    read => len += read,
                }
            }
        };
        let (served, (), read) = futures::join!(serving, writing, reading);
        assert_eq!((served, read), (Ok(()), LEN + 1), "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handle_takes_messages_and_streams_and_fails_alone() {
    let cell = cell(HANDLER, spec(Mode::Async)).await;
    assert_eq!(ask(&cell, "hello").await.as_deref(), Ok("hello"));
    assert_eq!(ask(&cell, "").await, Err(Failure::Guest("empty".into())));
    let (guest_reply, reply) = pipe::pipe(pipe::CAPACITY);
    let request = pipe::Reader::whole("streamed".into());
    assert_eq!(cell.process_message(cell.envelope(None), request, guest_reply).await, Ok(()));
    assert_eq!(reply.read(99).await.as_deref(), Ok(&b"streamed"[..]));
    let large = vec![0; MAX_WHOLE + 1];
    assert_eq!(
        cell.ask(cell.envelope(None), large).await,
        Err(Failure::TooLarge { len: MAX_WHOLE + 1, most: MAX_WHOLE })
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_sync_mode_no_more_instances_run_than_may() {
    let limits = Limits { instances: 2, ..Limits::default() };
    let spec = Spec { limits, mailbox: 1, overflow: Overflow::Reject, ..spec(Mode::Sync) };
    let cell = cell(COUNTER, spec).await;
    let streams: Vec<_> = (0..2).map(|_| (pipe::pipe(16), pipe::pipe(16))).collect();
    let (mut requests, mut replies, mut serving) = (Vec::new(), Vec::new(), Vec::new());
    for ((request, guest_request), (guest_reply, reply)) in streams {
        let cell = cell.clone();
        serving.push(tokio::task::JoinSet::new());
        let set = serving.last_mut().expect("pushed");
        set.spawn(async move { cell.process_message(cell.envelope(None), guest_request, guest_reply).await });
        // Its first byte shows that its instance runs.
        assert_eq!(reply.read(1).await.as_deref(), Ok(&b"1"[..]));
        requests.push(request);
        replies.push(reply);
    }
    let waiting = ask(&cell, "waits");
    let refused = async {
        while cell.mailbox().0 == 0 {
            tokio::task::yield_now().await;
        }
        let refused = ask(&cell, "one too many").await;
        requests.clear();
        refused
    };
    let (answered, refused) = futures::join!(waiting, refused);
    assert_eq!(answered.as_deref(), Ok("1waits"));
    assert_eq!(refused, Err(Failure::Refused(mailbox::Refused::Full)));
    for mut set in serving {
        assert!(matches!(set.join_next().await, Some(Ok(Ok(())))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_answered_or_refused_when_a_cell_is_stopped_at_any_time() {
    for (mode, stop_after) in [(Mode::Async, 3), (Mode::Async, 30), (Mode::Sync, 3), (Mode::Sync, 30)] {
        let cell = cell(COUNTER, Spec { mailbox: 8, ..spec(mode) }).await;
        let senders = (0..64).map(|number| {
            let cell = cell.clone();
            async move {
                if number == stop_after {
                    cell.stop(Reason::Killed);
                }
                ask(&cell, "z").await
            }
        });
        for outcome in join_all(senders).await {
            match outcome {
                Ok(reply) => assert!(reply.ends_with('z')),
                Err(Failure::Ended(reason) | Failure::Refused(mailbox::Refused::Ended(reason))) => {
                    assert_eq!(reason, Reason::Killed);
                }
                Err(other) => panic!("{mode:?}: {other}"),
            }
        }
        assert_eq!(cell.exit().wait().await, Reason::Killed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_reaches_every_instance_of_a_cell() {
    let cell = cell(COUNTER, spec(Mode::Sync)).await;
    let mut requests = Vec::new();
    let mut serving = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ((request, guest_request), (guest_reply, reply)) = (pipe::pipe(16), pipe::pipe(16));
        let cell = cell.clone();
        serving.spawn(async move { cell.process_message(cell.envelope(None), guest_request, guest_reply).await });
        assert_eq!(reply.read(1).await.as_deref(), Ok(&b"1"[..]), "it runs");
        requests.push(request);
    }
    cell.stop(Reason::Killed);
    while let Some(served) = serving.join_next().await {
        assert_eq!(served.expect("no panic"), Err(Failure::Ended(Reason::Killed)));
    }
    assert_eq!(cell.exit().wait().await, Reason::Killed);
}

#[test]
fn a_hash_is_shown_as_the_tools_show_it() {
    let empty = Hash::of(b"").to_string();
    assert_eq!(empty, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
