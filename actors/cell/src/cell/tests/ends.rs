//! Every way in which a live cell can end, and that nobody else notices.

use wasmtime::component::Linker;

use super::*;
use crate::guest::Guest;

/// A component whose `handle` connects to its node if the message starts with `c`, overflows its stack if it starts
/// with `o`, and grows its memory if it starts with `g`; it echoes anything else.
const BREAKER: &str = r#"(component
    (import "wetware:streams/streams@0.1.0" (instance $streams
        (export "connection" (type $connection (sub resource)))
        (export "create-connection" (func (result (own $connection))))))
    (core func $create (canon lower (func $streams "create-connection")))
    (core module $m
        (import "host" "create" (func $create (result i32)))
        (memory (export "memory") 4)
        (func $deep (call $deep))
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "handle") (param $at i32) (param $len i32) (result i32) (local $first i32)
            (local.set $first (i32.load8_u (local.get $at)))
            (if (i32.eq (local.get $first) (i32.const 99)) (then (drop (call $create))))
            (if (i32.eq (local.get $first) (i32.const 111)) (then (call $deep)))
            (if (i32.eq (local.get $first) (i32.const 103)) (then (loop (drop (memory.grow (i32.const 1))) (br 0))))
            (i32.store8 (i32.const 16) (i32.const 0))
            (i32.store (i32.const 20) (local.get $at))
            (i32.store (i32.const 24) (local.get $len))
            (i32.const 16)))
    (core instance $i (instantiate $m (with "host" (instance (export "create" (func $create))))))
    (func $handle (param "body" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $i "handle") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
    (instance $handler (export "handle" (func $handle)))
    (export "wetware:cell/handler@0.1.0" (instance $handler)))"#;

/// What a reason is called, with the kind of a trap.
fn called(reason: &Reason) -> String {
    match reason {
        Reason::Trap(trap) => format!("trap({})", trap.kind),
        Reason::HostFault(what) => format!("host fault: {what}"),
        other => other.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_has_its_own_reason_and_harms_nobody_else() {
    let milliseconds = |number| Some(Duration::from_millis(number));
    let limits = Limits { deadline: None, ..Limits::default() };
    let timed = Limits { deadline: milliseconds(40), ..limits.clone() };
    let computing = Limits { cpu: milliseconds(20), ..limits.clone() };
    let table = [
        (COUNTER, "t", &limits, "trap(unreachable)"),
        (COUNTER, "x", &limits, "exit(3)"),
        (COUNTER, "s", &timed, "limit: deadline"),
        (COUNTER, "s", &computing, "limit: cpu"),
        (BREAKER, "o", &limits, "trap(stack-overflow)"),
        (BREAKER, "g", &limits, "limit: memory"),
        (BREAKER, "c", &limits, "host fault: the task panicked: the node's own fault"),
    ];
    let runtime = runtime();
    let neighbour = program(&runtime, COUNTER).await;
    let neighbour =
        runtime.spawn(next_id(), neighbour, spec(Mode::Async), stderr(), Stop::default()).expect("it polls");
    for (number, (wat, message, limits, reason)) in (1..).zip(table) {
        let connect: Connect = Arc::new(|_| panic!("the node's own fault"));
        let spec = Spec { limits: limits.clone(), connect: Some(connect), ..spec(Mode::Async) };
        let program = program(&runtime, wat).await;
        let cell = runtime.spawn(next_id(), program, spec, stderr(), Stop::default()).expect("it is served");
        assert!(ask(&cell, "before").await.is_ok());
        let failure = ask(&cell, message).await.expect_err("it ends");
        let ended = cell.exit().wait().await;
        assert_eq!(called(&ended), reason);
        assert!(failure == Failure::Ended(ended.clone()) || matches!(ended, Reason::HostFault(_)), "{failure}");
        assert_eq!(ask(&cell, "after").await, Err(Failure::Refused(Refused::Ended(ended.clone()))));
        if let Reason::Trap(trap) = &ended {
            assert!(!trap.backtrace.is_empty(), "{reason}");
        }
        assert!(runtime.directory().cell(cell.id()).is_none());
        assert_eq!(ask(&neighbour, "").await, Ok((number % 10).to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_ends_a_cell_that_computes_within_milliseconds() {
    /// Ten times what is promised, for machines that do something else as well.
    const SOON: Duration = Duration::from_millis(100);
    let limits = Limits { deadline: None, ..Limits::default() };
    let cell = cell(COUNTER, Spec { limits, ..spec(Mode::Async) }).await;
    cell.send(cell.envelope(None), "s").await.expect("there is room");
    while cell.mailbox().0 > 0 {
        tokio::task::yield_now().await;
    }
    let started = std::time::Instant::now();
    cell.stop(Reason::Killed);
    assert_eq!(cell.exit().wait().await, Reason::Killed);
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    assert!(cell.meters().cpu() < 1_000, "its computing is counted, in milliseconds: {}", cell.meters().cpu());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_that_nobody_reads_is_discarded_and_the_cell_goes_on() {
    let cell = cell(COUNTER, spec(Mode::Async)).await;
    let (request, guest_request) = pipe::pipe(16);
    let (guest_reply, reply) = pipe::pipe(16);
    drop(reply);
    let serving = cell.process_message(cell.envelope(None), guest_request, guest_reply);
    let writing = async {
        for _ in 0..1_000 {
            request.write_all(&[b'.'; 100]).await.expect("the cell reads");
        }
        request.close();
    };
    assert_eq!(futures::join!(serving, writing).0, Ok(()));
    assert_eq!(ask(&cell, "next").await.as_deref(), Ok("2next"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cell_has_done_can_be_seen() {
    let cell = cell(COUNTER, spec(Mode::Async)).await;
    assert!(ask(&cell, "a").await.is_ok());
    assert!(ask(&cell, "e").await.is_err());
    let meters = cell.meters();
    assert_eq!((meters.answered(), meters.failed(), meters.memory()), (1, 1, 64 << 10));
    assert_eq!((cell.mode(), cell.slot().incarnations()), (Some(Mode::Async), 1));
    cell.stop(Reason::Shutdown);
    cell.exit().wait().await;
    while meters.memory() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_no_larger_than_its_receiver_takes() {
    for mode in [Mode::Async, Mode::Sync] {
        let limits = Limits { message_size: 4, ..Limits::default() };
        let cell = cell(COUNTER, Spec { limits, ..spec(mode) }).await;
        assert_eq!(ask(&cell, "1234").await.as_deref(), Ok("11234"));
        let refused = Err(Failure::TooLarge { len: 5, most: 4 });
        assert_eq!(ask(&cell, "12345").await, refused, "{mode:?}");
        assert_eq!(cell.send(cell.envelope(None), "12345").await, Err(Failure::TooLarge { len: 5, most: 4 }));
    }
}

#[test]
fn every_interface_of_the_wit_package_is_linked() {
    let mut linker: Linker<Guest> = Linker::new(&wasmtime::Engine::default());
    crate::actor::add_to_linker(&mut linker).expect("each name is defined once");
    for name in ["self", "mail", "registry", "process", "log"] {
        let name = format!("wetware:cell/{name}@0.1.0");
        assert!(linker.instance(&name).is_ok_and(|mut instance| instance.func_wrap("new", |_, (): ()| Ok(())).is_ok()));
    }
}
