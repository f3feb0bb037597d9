//! Programs in WebAssembly text, each with the end that it must come to.

use bytes::Bytes;
use futures::future::join_all;
use tokio::task::coop;
use ww_core::{Limits, text};

use super::*;
use crate::{
    Class, Config, Spec,
    fixture::{ECHO, Ends, PROC_EXIT, SPIN, module, next_id, own_runtime, runtime, start, start_with, stdio, wasm},
};

async fn end_of(wat: &str, limits: Limits) -> Reason {
    start(&runtime(), wat, limits).await.cell.exit().wait().await
}

fn kind(reason: &Reason) -> &str {
    match reason {
        Reason::Trap(trap) => &trap.kind,
        other => panic!("expected a trap, found {other}"),
    }
}

#[tokio::test]
async fn programs_end_with_their_own_codes() {
    for (body, reason) in [
        ("", Reason::Normal),
        ("(call $exit (i32.const 0))", Reason::Normal),
        ("(call $exit (i32.const 7))", Reason::Exit(7)),
        ("(call $exit (i32.const 124))", Reason::Exit(124)),
        ("(call $exit (i32.const 255))", Reason::Exit(255)),
        ("(call $exit (i32.const 256))", Reason::Exit(255)),
        ("(call $exit (i32.const -1))", Reason::Exit(255)),
    ] {
        assert_eq!(end_of(&module(PROC_EXIT, body), Limits::default()).await, reason, "{body}");
    }
}

#[tokio::test]
async fn traps_keep_their_kind_and_name_their_frames() {
    let reason = end_of(&module("", "(unreachable)"), Limits::default()).await;
    assert_eq!(kind(&reason), "unreachable");
    let named =
        "(module (memory (export \"memory\") 1) (func $deep (call $deep)) (func (export \"_start\") (call $deep)))";
    let reason = end_of(named, Limits::default()).await;
    assert_eq!(kind(&reason), "stack-overflow");
    let Reason::Trap(trap) = reason else { unreachable!("checked above") };
    assert!(trap.backtrace.lines().next().is_some_and(|line| line.contains("deep")), "{}", trap.backtrace);
    let out_of_bounds = "(drop (i32.load (i32.const 0x7fffffff)))";
    for memory in [Limits::default().memory, crate::SMALL_MEMORY] {
        let limits = Limits { memory, ..Limits::default() };
        assert_eq!(kind(&end_of(&module("", out_of_bounds), limits).await), "memory-out-of-bounds");
    }
}

#[tokio::test]
async fn limits_end_a_program_with_their_name() {
    let grow = "(loop (drop (memory.grow (i32.const 1))) (br 0))";
    for memory in [crate::SMALL_MEMORY, 4 << 20] {
        let limits = Limits { memory, ..Limits::default() };
        assert_eq!(end_of(&module("", grow), limits).await, Reason::Limit(Limit::Memory));
    }
    let too_large = "(module (memory (export \"memory\") 65) (func (export \"_start\")))";
    let limits = Limits { memory: 4 << 20, ..Limits::default() };
    assert_eq!(end_of(too_large, limits).await, Reason::Limit(Limit::Memory));
    let spin = module("", "(loop (br 0))");
    let limits = Limits { deadline: Some(Duration::from_millis(20)), ..Limits::default() };
    assert_eq!(end_of(&spin, limits).await, Reason::Limit(Limit::Deadline));
    let limits = Limits { cpu: Some(Duration::from_millis(20)), ..Limits::default() };
    assert_eq!(end_of(&spin, limits).await, Reason::Limit(Limit::Cpu));
}

/// Each turn of the loop is one step as long as the memory, and its ticks count.
#[tokio::test]
async fn long_instructions_count_for_what_they_take() {
    let body = "(drop (memory.grow (i32.const 1023))) (loop $again
        (memory.fill (i32.const 0) (i32.const 1) (i32.shl (memory.size) (i32.const 16))) (br $again))";
    let limits = Limits { memory: 64 << 20, cpu: Some(Duration::from_millis(50)), ..Limits::default() };
    let started = start(&runtime(), &module("", body), limits).await;
    assert_eq!(started.cell.exit().wait().await, Reason::Limit(Limit::Cpu));
    let used = started.cell.meters().cpu();
    assert!((50..400).contains(&used), "{used} ms for a limit of 50");
}

#[tokio::test]
async fn random_bytes_come_whole_and_only_where_they_fit() {
    let get = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
    let imports = format!("{get} {PROC_EXIT}");
    for (start, length, code) in [(0, 65536, 0), (0, 0, 0), (65536, 0, 0), (0, 65537, 21), (-1, 2, 21), (65536, 1, 21)]
    {
        let body = format!("(call $exit (call $random (i32.const {start}) (i32.const {length})))");
        let expected = if code == 0 { Reason::Normal } else { Reason::Exit(code) };
        assert_eq!(end_of(&module(&imports, &body), Limits::default()).await, expected, "{start} {length}");
    }
    // The last bytes of many pieces are not left out: all zero by chance once in 2^64.
    let body = "(drop (memory.grow (i32.const 31))) (drop (call $random (i32.const 0) (i32.const 2000000)))
        (call $exit (i64.eqz (i64.load (i32.const 1999992))))";
    let limits = Limits { memory: 4 << 20, ..Limits::default() };
    assert_eq!(end_of(&module(&imports, body), limits).await, Reason::Normal);
}

/// What has no bound in the engine, and is switched off there.
#[tokio::test]
async fn arrays_and_shared_memories_are_no_part_of_the_sandbox() {
    for text in [
        "(module (type $a (array (mut i8))) (func (export \"_start\") (drop (array.new_default $a (i32.const 9)))))",
        "(module (memory 1 1 shared) (func (export \"_start\")))",
    ] {
        let loaded = runtime().load(wasm(text), Class::Standard).await;
        assert!(matches!(loaded, Err(crate::LoadError::Unsupported(_))), "{text}: {loaded:?}");
    }
}

#[tokio::test]
async fn a_program_that_is_valid_and_too_large_is_told_by_how_much() {
    let instances = "(core instance (instantiate $m))".repeat(17);
    let globals = "(global (mut i64) (i64.const 0))".repeat(90_000);
    for (text, parts) in [
        (&*format!("(component (core module $m){instances})"), ["17 core module instances", "maximum of 16"]),
        ("(module (table 100001 funcref))", ["100001", "limit of 100000"]),
        ("(module (memory 16385))", ["1073807360", "limit of 0x40000000"]),
        (&*format!("(module {globals})"), ["bytes", "maximum of 1048576 bytes"]),
    ] {
        match runtime().load(wasm(text), Class::Standard).await {
            Err(crate::LoadError::TooComplex(why)) => {
                assert!(parts.iter().all(|part| why.contains(part)) && !why.contains('\n'), "{why}");
            }
            other => panic!("expected a limit with {parts:?}, found {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_guest_that_is_woken_at_once_goes_on_also_in_a_task_without_budget() {
    let started = start(&runtime(), ECHO, Limits::default()).await;
    let mut turns = 0;
    let guest = pin!(poll_fn(|cx| {
        turns += 1;
        cx.waker().wake_by_ref();
        if turns == 1 { Poll::Pending } else { Poll::Ready(()) }
    }));
    while coop::has_budget_remaining() {
        coop::consume_budget().await;
    }
    let late = async || tokio::time::sleep(Duration::from_secs(10)).await;
    let computed = Computed::new(runtime().ticks().clone());
    let done = runtime().turns((&started.cell, &computed), &Stop::default(), late, guest).await;
    assert_eq!(done, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_reaches_a_program_that_computes_and_one_that_waits() {
    let runtime = own_runtime(tokio::runtime::Handle::current());
    let spinning = start(&runtime, SPIN, Limits::default()).await;
    let waiting = start(&runtime, ECHO, Limits::default()).await;
    spinning.cell.stop(Reason::Killed);
    spinning.cell.stop(Reason::Shutdown);
    assert_eq!(spinning.cell.exit().wait().await, Reason::Killed);
    waiting.cell.stop(Reason::Shutdown);
    assert_eq!(waiting.cell.exit().wait().await, Reason::Shutdown);
    assert_eq!(waiting.stdout.read(9).await, Ok(Bytes::new()), "its stdout is closed");
}

#[tokio::test]
async fn streams_flow_through_a_program() {
    let Ends { cell, stdin, stdout } = start(&runtime(), ECHO, Limits::default()).await;
    let sent: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let writing = async {
        stdin.write_all(&sent).await.expect("the program reads");
        stdin.close();
    };
    let reading = async {
        let mut all = Vec::new();
        loop {
            match stdout.read(usize::MAX).await.expect("no failure") {
                bytes if bytes.is_empty() => return all,
                bytes => all.extend_from_slice(&bytes),
            }
        }
    };
    let ((), received) = tokio::join!(writing, reading);
    assert!(received == sent, "{} bytes", received.len());
    assert_eq!(cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn a_failed_input_is_an_error_for_the_program_and_no_end() {
    let Ends { cell, stdin, .. } = start(&runtime(), ECHO, Limits::default()).await;
    stdin.fail("the peer reset the stream");
    assert_eq!(cell.exit().wait().await, Reason::Exit(3));
}

#[tokio::test]
async fn bytes_that_are_no_program_are_refused_with_what_was_found() {
    let runtime = runtime();
    let load = |bytes: &'static [u8]| runtime.load(Bytes::from_static(bytes), Class::Standard);
    assert!(matches!(load(b"").await, Err(crate::LoadError::Empty)));
    assert!(matches!(load(b"#!/bin/sh").await, Err(crate::LoadError::NotWasm(found)) if found.contains("23")));
    assert!(matches!(load(b"\0asm\x01\0\0\0garbage").await, Err(crate::LoadError::Invalid(_))));
    assert!(matches!(load(b"\0asm\x0d\0\x01\0garbage").await, Err(crate::LoadError::Invalid(_))));
    let nonsense = wasm(r#"(module (import "nonsense" "nothing" (func)) (func (export "_start")))"#);
    match runtime.load(nonsense, Class::Standard).await {
        Err(crate::LoadError::Import(missing)) => assert!(missing.contains("nonsense"), "{missing}"),
        other => panic!("expected a refused import, found {other:?}"),
    }
}

#[tokio::test]
async fn a_program_without_main_does_not_start() {
    let library = r#"(module (memory (export "memory") 1) (func (export "poll")))"#;
    match end_of(library, Limits::default()).await {
        Reason::StartFailed(why) => assert!(why.contains("poll"), "{why}"),
        other => panic!("expected a failed start, found {other}"),
    }
}

#[tokio::test]
async fn names_in_a_program_are_escaped_and_bounded_in_reasons_and_errors() {
    // What clears a screen, and a line of somebody else; as text of WebAssembly, and as it is shown.
    let (name, shown) = (r"\1b[2J\0aforged", r"\u{1b}[2J\nforged");
    let long = name.repeat(5_000);
    for (name, frame) in [(name, format!("{shown}\n")), (&*long, "…\n".to_owned())] {
        let traps = format!(
            r#"(module (memory (export "memory") 1)
            (func $deep (@name "{name}") unreachable) (func (@name "{name}") (export "_start") (call $deep)))"#
        );
        let reason = end_of(&traps, Limits::default()).await;
        let Reason::Trap(trap) = &reason else { panic!("a trap: {reason}") };
        assert!(trap.backtrace.starts_with(shown) && trap.backtrace.ends_with(&frame), "{trap:?}");
        assert_eq!(trap.backtrace.lines().count(), 2, "{trap:?}");
        assert!(trap.backtrace.len() <= 2 * text::MAX_NAME + 2 && !trap.backtrace.contains('\u{1b}'), "{trap:?}");

        let imports = format!(r#"(module (import "{name}" "{name}" (func)) (func (export "_start")))"#);
        let error =
            runtime().load(wasm(&imports), Class::Standard).await.expect_err("it is offered by nobody").to_string();
        assert!(error.contains(shown) && !error.contains(char::is_control), "{error}");
        assert!(error.len() <= text::MAX_ERROR + 512, "{} bytes", error.len());
    }
}

#[tokio::test]
async fn a_program_is_compiled_once_and_found_on_disk_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config { cache: Some(directory.path().join("cache")), ..Config::default() };
    let runtime = || Runtime::start(config.clone(), tokio::runtime::Handle::current()).expect("a runtime starts");
    let bytes = wasm(&module(PROC_EXIT, "(call $exit (i32.const 7))"));
    let first = runtime();
    let (a, b) = tokio::join!(first.load(bytes.clone(), Class::Standard), first.load(bytes.clone(), Class::Standard));
    assert_eq!(a.expect("valid").hash(), b.expect("valid").hash());
    let entries = || {
        let names = std::fs::read_dir(directory.path().join("cache")).expect("there");
        names.filter_map(Result::ok).filter(|name| name.path().extension().is_some()).count()
    };
    assert_eq!(entries(), 1);
    let second = runtime();
    second.load(bytes.clone(), Class::Standard).await.expect("from disk");
    second.load(bytes, Class::Small).await.expect("compiled for the other class");
    assert_eq!(entries(), 2);
}

#[tokio::test]
async fn a_stop_that_was_requested_before_the_start_is_the_end() {
    let runtime = runtime();
    let program = runtime.load(wasm(SPIN), Class::Standard).await.expect("valid");
    let stop = Stop::default();
    stop.request(Reason::Shutdown);
    let (stdio, _stdin, _stdout) = stdio();
    let cell = runtime.run_main(next_id(), program, Spec::default(), stdio, stop).expect("no names");
    assert_eq!(cell.exit().wait().await, Reason::Shutdown);
}

#[tokio::test]
async fn a_stop_after_the_end_changes_nothing() {
    let Ends { cell, .. } = start(&runtime(), &module("", ""), Limits::default()).await;
    assert_eq!(cell.exit().wait().await, Reason::Normal);
    cell.stop(Reason::Killed);
    assert_eq!(cell.exit().wait().await, Reason::Normal);
}

#[tokio::test]
async fn hundreds_of_cells_run_at_once() {
    let runtime = runtime();
    let answers = (0..300_u32).map(|number| {
        let runtime = runtime.clone();
        async move {
            let memory = if number % 2 == 0 { crate::SMALL_MEMORY } else { Limits::default().memory };
            let ends = start(&runtime, ECHO, Limits { memory, ..Limits::default() }).await;
            ends.stdin.write_all(&number.to_le_bytes()).await.expect("the cell reads");
            let answer = ends.stdout.read(9).await.expect("no failure");
            ends.stdin.close();
            (answer.to_vec(), ends.cell.exit().wait().await)
        }
    });
    for (number, answer) in (0_u32..).zip(join_all(answers).await) {
        assert_eq!(answer, (number.to_le_bytes().to_vec(), Reason::Normal));
    }
}

#[tokio::test]
async fn one_cell_more_than_there_are_places_is_refused_with_the_number() {
    const MOST: usize = 300;
    let cells = crate::Cells { small: MOST, ..crate::Cells::default() };
    let runtime = Runtime::start(Config { cells, ..Config::default() }, runtime().handle).expect("a runtime starts");
    let limits = Limits { memory: crate::SMALL_MEMORY, ..Limits::default() };
    let mut cells = Vec::with_capacity(MOST);
    for _ in 0..MOST {
        cells.push(start(&runtime, ECHO, limits.clone()).await);
    }
    // One that answers has its place.
    join_all(cells.iter().map(|cell| async {
        cell.stdin.write_all(b"x").await.expect("the cell reads");
        assert_eq!(cell.stdout.read(9).await, Ok(Bytes::from_static(b"x")));
    }))
    .await;
    match start(&runtime, ECHO, limits.clone()).await.cell.exit().wait().await {
        Reason::StartFailed(why) => assert!(why.starts_with(&format!("the {MOST} places")), "{why}"),
        other => panic!("expected a refused start, found {other}"),
    }
    let one = cells.pop().expect("there are many");
    one.stdin.close();
    assert_eq!(one.cell.exit().wait().await, Reason::Normal);
    let again = start(&runtime, &module("", ""), limits).await;
    assert_eq!(again.cell.exit().wait().await, Reason::Normal, "its place is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cells_that_compute_do_not_hold_up_one_that_answers() {
    /// Far more than a slice of each neighbour, also on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(1);
    let runtime = own_runtime(tokio::runtime::Handle::current());
    let forever = Limits { deadline: None, ..Limits::default() };
    let greedy = [start(&runtime, SPIN, forever.clone()).await, start(&runtime, SPIN, forever).await];
    let polite = start(&runtime, ECHO, Limits::default()).await;
    for _ in 0..20 {
        let round = async {
            polite.stdin.write_all(b"x").await.expect("the cell reads");
            polite.stdout.read(9).await
        };
        assert_eq!(tokio::time::timeout(PATIENCE, round).await, Ok(Ok(Bytes::from_static(b"x"))));
    }
    for cell in greedy {
        assert_eq!(cell.cell.exit().reason(), None, "it computes");
        cell.cell.stop(Reason::Killed);
        assert_eq!(cell.cell.exit().wait().await, Reason::Killed);
    }
}

#[tokio::test]
async fn arguments_and_environment_are_what_the_start_says_and_nothing_else() {
    /// Writes `args_sizes_get` and `environ_sizes_get` as four numbers.
    const SIZES: &str = r#"(module
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $args (i32.const 64) (i32.const 68)))
            (drop (call $environ (i32.const 72) (i32.const 76)))
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 16))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;
    let ends = start_with(&runtime(), SIZES, Limits::default(), |start| {
        start.args = vec!["one".into(), String::new()];
        start.env = vec![("KEY".into(), "value".into())];
    })
    .await;
    let sizes = ends.stdout.read(16).await.expect("no failure");
    let sizes: Vec<u8> = sizes.chunks(4).map(|size| size[0]).collect();
    assert_eq!(sizes, [3, 5 + 4 + 1, 1, 10], "with the name `test`, and a NUL after each");
}
