//! What tests of the executor need: threads, programs in WebAssembly text, and a vat that remembers its guests.

use std::sync::{
    Arc, LazyLock, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
    mpsc,
};

use bytes::Bytes;
use ww_cell::{Config, Duplex, Runtime};
use ww_core::{Grants, Limits, Platform};

use crate::{Clock, Executor, Guest, GuestVat, Owner, Process, Spec, Streams};

/// Copies stdin to stdout until the end.
pub(crate) const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 1000))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (if (i32.eqz (i32.load (i32.const 16))) (then (return)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (br $more))))"#;

/// Computes until it is stopped.
pub(crate) const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Writes to stdout until it is stopped.
pub(crate) const FLOOD: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 1000))
        (loop (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))) (br 0))))"#;

/// Reports `oops` and exits with 3.
pub(crate) const COMPLAIN: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "oops\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 5))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 16)))
        (call $exit (i32.const 3))))"#;

/// Writes [`TURNS`] lines `out` to stdout and as many lines `error` to stderr, by turns.
pub(crate) const BY_TURNS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\04\00\00\00\44\00\00\00\06\00\00\00")
    (data (i32.const 64) "out\nerror\n")
    (func (export "_start") (local $turn i32)
        (loop $more
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (drop (call $write (i32.const 2) (i32.const 8) (i32.const 1) (i32.const 16)))
            (local.set $turn (i32.add (local.get $turn) (i32.const 1)))
            (br_if $more (i32.lt_u (local.get $turn) (i32.const 30000))))))"#;

/// More lines than all buffers between a cell and its owner hold.
pub(crate) const TURNS: usize = 30_000;

/// Writes one byte for each of its standard streams: 2, a character device, for a terminal.
pub(crate) const TERMINALS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $stat (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\40\00\00\00\03\00\00\00")
    (func $ask (param $fd i32)
        (drop (call $stat (local.get $fd) (i32.const 128)))
        (i32.store8 offset=64 (local.get $fd) (i32.load8_u (i32.const 128))))
    (func (export "_start")
        (call $ask (i32.const 0))
        (call $ask (i32.const 1))
        (call $ask (i32.const 2))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// Grows its memory until it is stopped.
pub(crate) const GROW: &str = r#"(module (memory (export "memory") 1)
    (func (export "_start") (loop (drop (memory.grow (i32.const 1))) (br 0))))"#;

/// Connects to its node and returns.
pub(crate) const CONNECT: &str = r#"(component
    (import "wetware:streams/streams@0.1.0" (instance $streams
        (export "connection" (type $connection (sub resource)))
        (export "create-connection" (func (result (own $connection))))))
    (core func $create (canon lower (func $streams "create-connection")))
    (core module $main
        (import "host" "create" (func $create (result i32)))
        (func (export "run") (result i32) (drop (call $create)) (i32.const 0)))
    (core instance $main (instantiate $main (with "host" (instance (export "create" (func $create))))))
    (func $run (result (result)) (canon lift (core func $main "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli)))"#;

/// Answers messages, by their first byte: `t` traps, `s` computes until it is stopped, `x` exits with 0, `e` with 3, `n`
/// is answered with the number of the message in the life of the instance, a digit; all else with itself.
pub(crate) const ACTOR: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (global $count (mut i32) (i32.const 48))
    (func $is (param i32) (result i32) (i32.eq (i32.load8_u (i32.const 64)) (local.get 0)))
    (func (export "poll")
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (i32.store (i32.const 4) (i32.load (i32.const 16)))
        (if (call $is (i32.const 116)) (then (unreachable)))
        (if (call $is (i32.const 115)) (then (loop (br 0))))
        (if (call $is (i32.const 120)) (then (call $exit (i32.const 0))))
        (if (call $is (i32.const 101)) (then (call $exit (i32.const 3))))
        (if (call $is (i32.const 110)) (then (i32.store8 (i32.const 64) (global.get $count))))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// Traps exits from its first message on, and answers all messages with nothing: it ignores being told to shut down.
pub(crate) const STUBBORN: &str = r#"(component
    (import "wetware:cell/process@0.1.0" (instance $process
        (type $cases (variant (case "denied") (case "refused" string)))
        (export "error" (type $error (eq $cases)))
        (export "trap-exits" (func (param "on" bool) (result (result bool (error $error)))))))
    (core module $memory
        (memory (export "memory") 2)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
    (core instance $memory (instantiate $memory))
    (alias core export $memory "memory" (core memory $mem))
    (alias core export $memory "realloc" (core func $realloc))
    (core func $trap (canon lower (func $process "trap-exits") (memory $mem) (realloc $realloc)))
    (core module $main
        (import "memory" "memory" (memory 1))
        (import "host" "trap" (func $trap (param i32 i32)))
        (func (export "handle") (param i32 i32) (result i32)
            (call $trap (i32.const 1) (i32.const 64))
            (i32.store (i32.const 128) (i32.const 0))
            (i32.store (i32.const 132) (i32.const 0))
            (i32.store (i32.const 136) (i32.const 0))
            (i32.const 128)))
    (core instance $main (instantiate $main
        (with "memory" (instance $memory))
        (with "host" (instance (export "trap" (func $trap))))))
    (func $handle (param "body" (list u8)) (result (result (list u8) (error string)))
        (canon lift (core func $main "handle") (memory $mem) (realloc $realloc)))
    (instance $handler (export "handle" (func $handle)))
    (export "wetware:cell/handler@0.1.0" (instance $handler)))"#;

/// A program that exits with a code.
pub(crate) fn exits(code: i32) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {code}))))"#
    )
}

/// The same program as bytes that were never compiled before.
pub(crate) fn unseen(wat: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let body = wat.trim_end().strip_suffix(')').expect("a module in parentheses");
    format!("{body} (global i32 (i32.const {number})))")
}

pub(crate) fn spec(wat: &str) -> Spec {
    let wasm: Bytes = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}")).into();
    Spec {
        name: "test".into(),
        names: Vec::new(),
        wasm,
        args: Vec::new(),
        env: Vec::new(),
        limits: None,
        grants: Grants::none(),
        ..Spec::default()
    }
}

pub(crate) fn limited(wat: &str, limits: Limits) -> Spec {
    Spec { limits: Some(limits), ..spec(wat) }
}

/// A vat that keeps what it is given.
#[derive(Default)]
pub(crate) struct Vat(Mutex<Vec<(Guest, Duplex)>>);

impl Vat {
    pub(crate) fn guests(&self) -> Vec<Guest> {
        self.0.lock().expect("no panic").iter().map(|(guest, _)| guest.clone()).collect()
    }
}

impl GuestVat for Vat {
    fn serve(&self, _: &Executor, guest: Guest, connection: Duplex) {
        self.0.lock().expect("no panic").push((guest, connection));
    }
}

/// The threads of tests. Few, however many tests there are: an engine reserves some TiB of address space.
pub(crate) struct House {
    threads: tokio::runtime::Runtime,
    runtime: Runtime,
    platform: Platform,
}

impl House {
    fn new(blocking_threads: usize) -> Self {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let threads = threads.worker_threads(2).max_blocking_threads(blocking_threads).enable_all().build();
        let threads = threads.expect("threads start");
        let runtime = Runtime::start(Config::default(), threads.handle().clone()).expect("a runtime starts");
        let platform = Platform::start(threads.handle().clone()).expect("a platform starts");
        Self { threads, runtime, platform }
    }

    /// The house of most tests.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: LazyLock<House> = LazyLock::new(|| House::new(4));
        &SHARED
    }

    /// A house whose compiler can be held up, for one test at a time.
    pub(crate) fn slow() -> impl std::ops::Deref<Target = Self> {
        static SLOW: LazyLock<Mutex<House>> = LazyLock::new(|| Mutex::new(House::new(1)));
        SLOW.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An executor of its own for one test.
    pub(crate) fn executor(&self) -> (Executor, Arc<Vat>) {
        let vat = Arc::new(Vat::default());
        let executor = Executor::start(
            &self.platform.arbiter().expect("a thread starts"),
            self.runtime.clone(),
            Arc::clone(&vat) as _,
        );
        (executor, vat)
    }

    /// An executor of its own, with a clock for its supervisors.
    pub(crate) fn executor_with(&self, clock: Arc<dyn Clock>) -> Executor {
        Executor::with_clock(
            &self.platform.arbiter().expect("a thread starts"),
            self.runtime.clone(),
            Arc::new(Vat::default()),
            clock,
        )
    }

    /// Compiles nothing until the answer is dropped. Only for [`House::slow`].
    pub(crate) fn hold_compiler(&self) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (tx, rx) = mpsc::sync_channel(1);
        // The task ends with the sender.
        drop(self.threads.spawn_blocking(move || {
            tx.send(()).expect("the test waits");
            released.recv().expect_err("nothing is ever sent");
        }));
        rx.recv().expect("the task runs");
        release
    }
}

/// Starts a cell of the node that owns others until it is killed.
pub(crate) async fn owner(executor: &Executor, limits: Limits) -> (Process, Streams) {
    executor.run(Owner::Node, limited(ECHO, limits)).await.expect("there is room")
}
