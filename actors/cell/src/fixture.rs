//! Cells for tests: programs in WebAssembly text, and what one needs to run them.

use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use ww_core::{CellId, Limits, id::CellIds};

use crate::{Cell, Class, Config, Connect, Duplex, Runtime, Spec, Stderr, Stdio, Stop, pipe, tail};

pub(crate) mod component;

/// Copies stdin to stdout until the end.
pub(crate) const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1000))
            (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)) (then (call $exit (i32.const 3))))
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (if (i32.eqz (i32.load (i32.const 16))) (then (return)))
            (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)) (then (call $exit (i32.const 4))))
            (br $more))))"#;

/// Imports `proc_exit` as `$exit`.
pub(crate) const PROC_EXIT: &str = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;

/// Computes until it is stopped.
pub(crate) const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// A started cell and the outer ends of its streams.
pub(crate) struct Ends {
    pub(crate) cell: Cell,
    pub(crate) stdin: pipe::Writer,
    pub(crate) stdout: pipe::Reader,
}

/// Wraps a body of `_start` into a preview 1 module with one page of memory.
pub(crate) fn module(imports: &str, body: &str) -> String {
    format!(
        r#"(module {imports}
            (memory (export "memory") 1)
            (func (export "_start") {body}))"#
    )
}

/// The runtime of most tests. One for all: an engine reserves some TiB of address space, so that a machine with many
/// cores could not run every test at once with an engine of its own.
pub(crate) fn runtime() -> Runtime {
    static SHARED: LazyLock<(tokio::runtime::Runtime, Runtime)> = LazyLock::new(|| {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let threads = threads.worker_threads(2).enable_all().build().expect("threads start");
        let runtime = own_runtime(threads.handle().clone());
        (threads, runtime)
    });
    SHARED.1.clone()
}

/// A runtime for a test that needs all of its places, or its threads.
pub(crate) fn own_runtime(threads: tokio::runtime::Handle) -> Runtime {
    Runtime::start(Config::default(), threads).expect("a runtime starts")
}

pub(crate) fn wasm(wat: &str) -> Bytes {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}")).into()
}

/// Starts a program that has no node to talk to.
pub(crate) async fn start(runtime: &Runtime, wat: &str, limits: Limits) -> Ends {
    start_with(runtime, wat, limits, |_| {}).await
}

/// Starts a program with more than its streams and limits.
pub(crate) async fn start_with(runtime: &Runtime, wat: &str, limits: Limits, with: impl FnOnce(&mut Spec)) -> Ends {
    let class = Class::for_memory(limits.memory);
    let program = runtime.load(wasm(wat), class).await.expect("a valid program");
    let mut spec = Spec { name: "test".into(), limits, ..Spec::default() };
    with(&mut spec);
    let (stdio, stdin, stdout) = stdio();
    let cell = runtime.run_main(next_id(), program, spec, stdio, Stop::default()).expect("no names");
    Ends { cell, stdin, stdout }
}

/// An id that no other cell of the tests has.
pub(crate) fn next_id() -> CellId {
    static IDS: LazyLock<CellIds> = LazyLock::new(CellIds::default);
    IDS.next()
}

/// Standard streams, and the outer ends of the first two.
pub(crate) fn stdio() -> (Stdio, pipe::Writer, pipe::Reader) {
    let (stdin, guest_stdin) = pipe::pipe(pipe::CAPACITY);
    let (guest_stdout, stdout) = pipe::pipe(pipe::CAPACITY);
    (Stdio { stdin: guest_stdin.into(), stdout: guest_stdout.into(), stderr: stderr() }, stdin, stdout)
}

/// A standard error that goes to the log.
pub(crate) fn stderr() -> Stderr {
    Stderr::Tail(tail::tail(CellId::new(1)).0)
}

/// A connection that is given away once.
pub(crate) fn connect_once(take: impl FnOnce(Duplex) + Send + 'static) -> Connect {
    let take = Mutex::new(Some(take));
    Arc::new(move |duplex| {
        let take = take.lock().expect("no panic while locked").take();
        take.expect("one connection")(duplex);
    })
}
