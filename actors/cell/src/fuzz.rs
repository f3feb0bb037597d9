//! Programs that nobody would write, for fuzzing. No part of the interface.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;
use ww_core::{
    Account, CellId, Limits,
    account::Holder,
    exit::Reason,
    fuzz::{SOON, given_back},
    id::CellIds,
};

use crate::{Cell, Class, Config, Mode, Program, Runtime, SMALL_MEMORY, Spec, Stderr, Stdio, Stop, pipe, tail};

/// What a program may use: little, so that many are tried.
const CPU: Duration = Duration::from_millis(10);
const DEADLINE: Duration = Duration::from_millis(100);
const HELD: u64 = 4 << 20;

/// What all runs share.
static HOUSE: LazyLock<(tokio::runtime::Runtime, Runtime)> = LazyLock::new(|| {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let threads = threads.expect("the threads start");
    let runtime = Runtime::start(Config::default(), threads.handle().clone()).expect("the sandbox starts");
    (threads, runtime)
});

/// Takes bytes as a program: loads it, starts it in each mode that it has, lets it answer one message, and ends it.
/// Whether it was a program that could be started.
///
/// # Panics
///
/// Where a cell does not end, or leaves something behind.
pub fn program(wasm: &[u8]) -> bool {
    let (threads, runtime) = &*HOUSE;
    threads.block_on(async {
        let Ok(program) = runtime.load(Bytes::copy_from_slice(wasm), Class::for_memory(SMALL_MEMORY)).await else {
            return false;
        };
        let exports = program.exports();
        let modes = [(Mode::Sync, exports.run), (Mode::Async, exports.poll || exports.handle)];
        for (mode, _) in modes.into_iter().filter(|(_, is_exported)| *is_exported) {
            lives(runtime, program.clone(), mode).await;
        }
        true
    })
}

/// A cell that lives and leaves nothing behind.
async fn lives(runtime: &Runtime, program: Program, mode: Mode) {
    static IDS: LazyLock<CellIds> = LazyLock::new(CellIds::default);
    let id = IDS.next();
    let account = Account::root(Holder::Cell(id), HELD);
    let limits = Limits { memory: SMALL_MEMORY, cpu: Some(CPU), deadline: Some(DEADLINE), ..Limits::default() };
    let spec = Spec { mode, limits, account: account.clone(), ..Spec::default() };
    let cell = match mode {
        Mode::Sync => main(runtime, id, program, spec).await,
        Mode::Async => asked(runtime, id, program, spec).await,
    };
    timeout(SOON, cell.exit().wait()).await.expect("a cell ends");
    drop(cell);
    given_back(&account).await;
}

/// A program whose `main` runs once, with a little input.
async fn main(runtime: &Runtime, id: CellId, program: Program, spec: Spec) -> Cell {
    let (stdin, guest_stdin) = pipe::charged(pipe::CAPACITY, &spec.account);
    let (guest_stdout, stdout) = pipe::charged(pipe::CAPACITY, &spec.account);
    let stdio = Stdio { stdin: guest_stdin.into(), stdout: guest_stdout.into(), stderr: stderr(id) };
    let cell = runtime.run_main(id, program, spec, stdio, Stop::default()).expect("no names, and it has a main");
    // It may have ended before it has read.
    let _ = stdin.write_all(b"hello").await;
    stdin.close();
    while stdout.read(usize::MAX).await.is_ok_and(|bytes| !bytes.is_empty()) {}
    cell
}

/// A program that serves, and is stopped after one message.
async fn asked(runtime: &Runtime, id: CellId, program: Program, spec: Spec) -> Cell {
    let cell = runtime.spawn(id, program, spec, stderr(id), Stop::default()).expect("it serves");
    // Any outcome is one.
    let _ = timeout(SOON, cell.ask(cell.envelope(None), "hello")).await.expect("an outcome");
    cell.stop(Reason::Shutdown);
    cell
}

fn stderr(id: CellId) -> Stderr {
    Stderr::Tail(tail::tail(id).0)
}
