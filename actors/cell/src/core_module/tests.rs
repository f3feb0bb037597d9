//! Modules in WebAssembly text that tell which of their functions have run.

use ww_core::exit::Reason;

use super::remedy;
use crate::{Cell, Class, Failure, Mode, Stop, cell::Spec, fixture};

/// A function of the module, and how much it adds to the number that tells what has run.
const INITIALIZE: (&str, u32) = ("_initialize", 1);
const CTORS: (&str, u32) = ("__wasm_call_ctors", 2);
const START: (&str, u32) = ("_start", 4);

/// A module whose `poll`, and whose `_start`, if it has one, print what has run, as one digit.
fn module(poll: &str, functions: &[(&str, u32)]) -> String {
    let functions: String = functions
        .iter()
        .map(|(name, value)| {
            let print = if *name == START.0 { "(call $print)" } else { "" };
            format!(
                r#"(func (export "{name}") (global.set $ran (i32.add (global.get $ran) (i32.const {value}))) {print})"#
            )
        })
        .collect();
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (global $ran (mut i32) (i32.const 0))
            (func $print
                (i32.store8 (i32.const 32) (i32.add (i32.const 48) (global.get $ran)))
                (i32.store (i32.const 0) (i32.const 32))
                (i32.store (i32.const 4) (i32.const 1))
                (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
            (func (export "{poll}") (call $print))
            {functions})"#
    )
}

async fn cell(wat: &str, mode: Mode) -> Cell {
    let runtime = fixture::runtime();
    let program = runtime.load(fixture::wasm(wat), Class::Standard).await.expect("a valid program");
    let spec = Spec { mode, ..Spec::default() };
    runtime.spawn(fixture::next_id(), program, spec, fixture::stderr(), Stop::default()).expect("the mode is exported")
}

async fn ask(cell: &Cell) -> Result<String, Failure> {
    let reply = cell.ask(cell.envelope(None), "").await?;
    Ok(String::from_utf8_lossy(&reply).into_owned())
}

#[tokio::test]
async fn one_function_runs_once_before_the_first_poll_and_never_start() {
    for (functions, ran) in [
        (&[][..], "0"),
        (&[START], "0"),
        (&[INITIALIZE], "1"),
        (&[CTORS], "2"),
        (&[CTORS, INITIALIZE], "1"),
        (&[START, CTORS], "2"),
        (&[START, CTORS, INITIALIZE], "1"),
    ] {
        for poll in ["poll", "ww_poll"] {
            let cell = cell(&module(poll, functions), Mode::Async).await;
            for _ in 0..3 {
                assert_eq!(ask(&cell).await.as_deref(), Ok(ran), "{poll} {functions:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_library_that_has_a_start_is_initialised_before_it_in_every_instance() {
    for (functions, ran) in [
        (&[START][..], "4"),
        // A program calls its constructors itself.
        (&[START, CTORS], "4"),
        (&[START, INITIALIZE], "5"),
        (&[START, CTORS, INITIALIZE], "5"),
    ] {
        let cell = cell(&module("poll", functions), Mode::Sync).await;
        for _ in 0..3 {
            assert_eq!(ask(&cell).await.as_deref(), Ok(ran), "{functions:?}");
        }
    }
}

#[tokio::test]
async fn an_initialiser_that_fails_ends_the_cell_with_its_reason() {
    for (body, code) in [("unreachable", 134), ("(call $exit (i32.const 7))", 7)] {
        let imports = fixture::PROC_EXIT;
        let text = format!(
            r#"(module {imports} (memory (export "memory") 1)
            (func (export "_initialize") {body}) (func (export "poll")))"#
        );
        let cell = cell(&text, Mode::Async).await;
        assert_eq!(cell.exit().wait().await.code(), code, "{body}");
    }
}

#[tokio::test]
async fn a_poll_of_another_type_is_no_entry_point() {
    // The one of the C library: the address of a list, its length, and a timeout.
    let text = r#"(module (memory (export "memory") 1)
        (func (export "_initialize") unreachable)
        (func (export "poll") (param i32 i32 i32) (result i32) (i32.const 0)))"#;
    let reason = cell(text, Mode::Async).await.exit().wait().await;
    let Reason::StartFailed(why) = &reason else { panic!("it never ran: {reason}") };
    assert!(why.contains("param i32 i32 i32"), "{why}");
}

/// A module as Go's compiler marks it, whose `poll` aborts.
fn go(tool: &str, functions: &str) -> String {
    format!(
        r#"(module
            (memory (export "memory") 1)
            {functions}
            (func (export "poll") unreachable)
            (@producers (language "Go" "go1.27.3") (processed-by "{tool}" "go1.27.3")))"#
    )
}

const MAIN: &str = r#"(func (export "_start"))"#;
const LIBRARY: &str = r#"(func (export "_initialize"))"#;

#[tokio::test]
async fn the_trap_of_a_plain_go_executable_names_the_missing_flag() {
    for (text, flag) in [
        (go("Go cmd/compile", MAIN), true),
        (go("Go cmd/compile", LIBRARY), false),
        (go("Go cmd/compile", &[MAIN, LIBRARY].concat()), false),
        (go("TinyGo", MAIN), false),
    ] {
        let cell = cell(&text, Mode::Async).await;
        let asked = ask(&cell).await;
        let reason = cell.exit().wait().await;
        assert_eq!(asked, Err(Failure::Ended(reason.clone())));
        let Reason::Trap(trap) = &reason else { panic!("it traps: {reason}") };
        assert_eq!(trap.kind, "unreachable");
        assert_eq!(reason.to_string().contains("-buildmode=c-shared"), flag, "{text}: {reason}");
    }
}

#[test]
fn what_cannot_be_read_has_no_remedy() {
    let whole = wat::parse_str(go("Go cmd/compile", MAIN)).expect("valid text");
    assert!(remedy(&whole).is_some());
    for len in 0..whole.len() {
        let _no_panic = remedy(&whole[..len]);
    }
    // More fields than there are.
    let forged = [b"\0asm\x01\0\0\0\0\x0f\x09producers".as_slice(), &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert_eq!(remedy(&forged), None);
}
