//! What can only be seen in a process of its own: what is left after thousands of crashes, and who waits for whom when
//! cells compute for ever.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Handle},
    sync::Mutex,
};
use ww_cell::{Cell, Class, Config, Mode, Program, Runtime, SMALL_MEMORY, Spec, Stderr, Stop, tail};
use ww_core::{
    CellId, Limits,
    exit::{Limit, Reason},
    id::CellIds,
    task,
};

/// One test at a time: each looks at the whole process.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A preview 1 module for both modes. The first byte of a message says how it ends: `t` traps, `x` exits with 3, `s`
/// spins, `o` overflows the stack, `g` grows its memory, anything else is echoed.
const CRASHER: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func $deep (call $deep))
    (func $poll (export "poll") (local $first i32)
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 4000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (local.set $first (i32.load8_u (i32.const 64)))
        (if (i32.eq (local.get $first) (i32.const 116)) (then (unreachable)))
        (if (i32.eq (local.get $first) (i32.const 120)) (then (call $exit (i32.const 3))))
        (if (i32.eq (local.get $first) (i32.const 115)) (then (loop (br 0))))
        (if (i32.eq (local.get $first) (i32.const 111)) (then (call $deep)))
        (if (i32.eq (local.get $first) (i32.const 103)) (then (loop (drop (memory.grow (i32.const 1))) (br 0))))
        (i32.store (i32.const 4) (i32.load (i32.const 16)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16))))
    (func (export "_start") (call $poll)))"#;

struct Node {
    runtime: Runtime,
    ids: CellIds,
    program: Program,
}

impl Node {
    async fn start() -> Arc<Self> {
        let runtime = Runtime::start(Config::default(), Handle::current()).expect("a runtime starts");
        let wasm = wat::parse_str(CRASHER).expect("valid text");
        let program = runtime.load(wasm.into(), Class::Small).await.expect("a valid program");
        Arc::new(Self { runtime, ids: CellIds::default(), program })
    }

    fn cell(&self, mode: Mode, deadline: Option<Duration>) -> Cell {
        let limits = Limits { memory: SMALL_MEMORY, deadline, ..Limits::default() };
        let spec = Spec { mode, limits, ..Spec::default() };
        let stderr = Stderr::Tail(tail::tail(CellId::new(1)).0);
        let started = self.runtime.spawn(self.ids.next(), self.program.clone(), spec, stderr, Stop::default());
        started.expect("both modes are exported")
    }
}

async fn ask(cell: &Cell, message: &'static str) -> Option<String> {
    let reply = cell.ask(cell.envelope(None), message).await.ok()?;
    Some(String::from_utf8_lossy(&reply).into_owned())
}

/// Pages of memory that the process has.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number")
}

fn threads() -> tokio::runtime::Runtime {
    // As the command has them: see its `main`.
    let mut threads = Builder::new_multi_thread();
    threads.worker_threads(2).event_interval(16).global_queue_interval(4).enable_all();
    threads.build().expect("threads start")
}

/// Tasks that live, once those that are ending have ended.
async fn tasks() -> usize {
    let mut least = usize::MAX;
    for _ in 0..1_000 {
        least = least.min(Handle::current().metrics().num_alive_tasks());
        tokio::task::yield_now().await;
    }
    least
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_is_left_of_thousands_of_crashed_cells() {
    const CYCLES: usize = 10_000;
    const WARM: usize = 100;
    /// What allocators keep for later, in pages of 4 KiB.
    const SLACK: u64 = 2_048;
    let threads = threads();
    threads.block_on(async {
        let _alone = ALONE.lock().await;
        let node = Node::start().await;
        let neighbour = node.cell(Mode::Async, None);
        let short = Some(Duration::from_millis(2));
        let mut warm = None;
        for cycle in 0..CYCLES {
            // Every fiftieth takes its time, because it is ended by a limit of time.
            let (message, reason) = match cycle % 50 {
                49 => ("s", Reason::Limit(Limit::Deadline)),
                turn if turn % 4 == 0 => ("x", Reason::Exit(3)),
                turn if turn % 4 == 1 => ("g", Reason::Limit(Limit::Memory)),
                _ => ("t", Reason::Normal),
            };
            let cell = node.cell(Mode::Async, if message == "s" { short } else { None });
            assert_eq!(ask(&cell, message).await, None);
            match (cell.exit().wait().await, reason) {
                (Reason::Trap(trap), Reason::Normal) => assert_eq!(trap.kind, "unreachable"),
                (found, expected) => assert_eq!(found, expected),
            }
            if cycle == WARM {
                warm = Some((resident(), tasks().await));
            }
        }
        let (pages, alive) = warm.expect("there were more cycles");
        let (pages_now, alive_now) = (resident(), tasks().await);
        assert!(pages_now <= pages + SLACK, "{pages} pages after {WARM} cycles, {pages_now} after {CYCLES}");
        assert!(alive_now <= alive, "{alive} tasks after {WARM} cycles, {alive_now} after {CYCLES}");
        assert_eq!(node.runtime.directory().cells().len(), 1, "only the neighbour lives");
        assert_eq!(ask(&neighbour, "hello").await.as_deref(), Some("hello"));
    });
}

/// Messages that were answered, and how long each took, in order.
async fn talk(cells: &[Cell], time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    let mut talking = tokio::task::JoinSet::new();
    for cell in cells {
        let cell = cell.clone();
        talking.spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                assert_eq!(ask(&cell, "hello").await.as_deref(), Some("hello"));
                took.push(begun.elapsed());
            }
            took
        });
    }
    let mut all = Vec::new();
    while let Some(took) = talking.join_next().await {
        all.extend(took.expect("no panic"));
    }
    all.sort();
    all
}

#[test]
fn cells_that_compute_for_ever_leave_the_others_their_turn() {
    const CELLS: usize = 1_000;
    const TIME: Duration = Duration::from_secs(2);
    const P99: Duration = Duration::from_millis(25);
    const WORST: Duration = Duration::from_millis(250);
    /// Ten times what is promised, for machines that do something else as well.
    const KILL: Duration = Duration::from_millis(100);
    let threads = threads();
    threads.block_on(async {
        let _alone = ALONE.lock().await;
        let node = Node::start().await;
        let cells: Vec<Cell> = (0..CELLS).map(|_| node.cell(Mode::Async, None)).collect();
        let talking = |time| {
            let cells = cells.clone();
            // On the workers, as everything inside a node.
            let kind = task::Kind::owned("talk", "test");
            task::spawn(&Handle::current(), kind, async move { talk(&cells, time).await })
        };
        let quiet = talking(TIME).await.expect("no panic");
        let loopers: Vec<Cell> = (0..2).map(|_| node.cell(Mode::Async, None)).collect();
        for looper in &loopers {
            looper.send(looper.envelope(None), "s").await.expect("there is room");
        }
        let beside = talking(TIME).await.expect("no panic");
        let kept = beside.len() as f64 / quiet.len() as f64;
        let (p99, worst) = (beside[beside.len() * 99 / 100], beside[beside.len() - 1]);
        println!("{} messages without loopers, {} beside them ({kept:.2})", quiet.len(), beside.len());
        let (quiet_p99, quiet_worst) = (quiet[quiet.len() * 99 / 100], quiet[quiet.len() - 1]);
        println!("p99 {quiet_p99:?}, beside them {p99:?}; worst {quiet_worst:?}, beside them {worst:?}");
        assert!(kept >= 0.5, "at least half of the throughput is left: {kept:.2}");
        // What a busy machine does to cells without loopers, it may do to them with loopers as well.
        assert!(p99 <= P99.max(quiet_p99 * 2), "{p99:?}");
        assert!(worst <= WORST.max(quiet_worst * 2), "{worst:?}");
        for looper in loopers {
            assert_eq!(looper.exit().reason(), None, "it computes");
            let begun = Instant::now();
            looper.stop(Reason::Killed);
            assert_eq!(looper.exit().wait().await, Reason::Killed);
            println!("killed after {:?}", begun.elapsed());
            assert!(begun.elapsed() < KILL, "{:?}", begun.elapsed());
        }
    });
}
