//! Cells for tests: programs in WebAssembly text, and what one needs to run them.

use std::sync::LazyLock;

use bytes::Bytes;
use ww_core::{CellId, Limits};

use crate::{Class, Config, Incarnation, Runtime, Start, Stderr, Stdio, Stop, pipe, tail};

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
    pub(crate) incarnation: Incarnation,
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
pub(crate) async fn start_with(runtime: &Runtime, wat: &str, limits: Limits, with: impl FnOnce(&mut Start)) -> Ends {
    let class = Class::for_memory(limits.memory);
    let program = runtime.load(wasm(wat), class).await.expect("a valid program");
    let (mut start, stdin, stdout) = plain(limits);
    with(&mut start);
    Ends { incarnation: runtime.run_main(program, start, Stop::default()), stdin, stdout }
}

/// With what [`start`] starts, and the outer ends of its streams.
pub(crate) fn plain(limits: Limits) -> (Start, pipe::Writer, pipe::Reader) {
    let (stdin, guest_stdin) = pipe::pipe(pipe::CAPACITY);
    let (guest_stdout, stdout) = pipe::pipe(pipe::CAPACITY);
    let id = CellId::new(1);
    let start = Start {
        id,
        name: "test".into(),
        args: Vec::new(),
        env: Vec::new(),
        limits,
        stdio: Stdio { stdin: guest_stdin, stdout: guest_stdout, stderr: Stderr::Tail(tail::tail(id).0) },
        connect: None,
        files: None,
    };
    (start, stdin, stdout)
}
