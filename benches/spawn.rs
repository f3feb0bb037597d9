//! What it costs to run a program once: a message goes in, a fresh instance echoes it, the end is known.
//!
//! The floor in the same run is the same program on the bare engine, with the settings that matter most. Times on
//! a shared machine drift; the ratio holds. `make bench BENCH=spawn` runs it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use wasmtime::{Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store, component};
use wasmtime_wasi::{
    WasiCtx, WasiCtxView, WasiView,
    p2::{
        bindings::CommandPre,
        pipe::{MemoryInputPipe, MemoryOutputPipe},
    },
};
use ww::{
    CellId,
    cell::{self, Class, Program, Runtime, Spec, Stderr, Stdio, Stop, pipe, tail},
    exit::Reason,
};

/// Instances in one sample: long enough for the clock, short enough that both sides see the same machine.
const PER_SAMPLE: u32 = 200;

/// Samples of each side, in turn.
const SAMPLES: usize = 40;

const MESSAGE: [u8; 64] = [b'x'; 64];

struct Bare {
    wasi: WasiCtx,
    table: component::ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/target/wasm32-wasip2/release/echo.wasm");
    let wasm = std::fs::read(&guest).map_err(|error| format!("{}: {error}; run `make guests`", guest.display()))?;
    let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    tokio.block_on(async {
        let runtime = Runtime::start(cell::Config::default(), tokio::runtime::Handle::current())?;
        let program = runtime.load(Bytes::from(wasm.clone()), Class::Standard).await?;
        let bare = bare(&wasm)?;
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            let started = Instant::now();
            for _ in 0..PER_SAMPLE {
                spawn(&runtime, &program).await?;
            }
            ours.push(started.elapsed() / PER_SAMPLE);
            let started = Instant::now();
            for _ in 0..PER_SAMPLE {
                spawn_bare(&bare).await?;
            }
            floor.push(started.elapsed() / PER_SAMPLE);
        }
        report(&mut ours, &mut floor);
        Ok(())
    })
}

async fn spawn(runtime: &Runtime, program: &Program) -> Result<(), Box<dyn std::error::Error>> {
    let (stdin, guest_stdin) = pipe::pipe(pipe::CAPACITY);
    let (guest_stdout, stdout) = pipe::pipe(pipe::CAPACITY);
    let id = CellId::new(1);
    let stdio =
        Stdio { stdin: guest_stdin.into(), stdout: guest_stdout.into(), stderr: Stderr::Tail(tail::tail(id).0) };
    stdin.write_all(&MESSAGE).await?;
    stdin.close();
    let cell = runtime.run_main(id, program.clone(), Spec::default(), stdio, Stop::default())?;
    let reason = cell.exit().wait().await;
    let reply = stdout.read(usize::MAX).await?;
    assert_eq!((reason, &reply[..]), (Reason::Normal, &MESSAGE[..]));
    Ok(())
}

fn bare(wasm: &[u8]) -> wasmtime::Result<CommandPre<Bare>> {
    let mut pool = PoolingAllocationConfig::new();
    pool.linear_memory_keep_resident(2 << 20).pagemap_scan(wasmtime::Enabled::Auto);
    let mut config = wasmtime::Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config)?;
    let mut linker = component::Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    CommandPre::new(linker.instantiate_pre(&component::Component::from_binary(&engine, wasm)?)?)
}

async fn spawn_bare(pre: &CommandPre<Bare>) -> wasmtime::Result<()> {
    let stdout = MemoryOutputPipe::new(pipe::CAPACITY);
    let wasi =
        WasiCtx::builder().stdin(MemoryInputPipe::new(Bytes::from_static(&MESSAGE))).stdout(stdout.clone()).build();
    let mut store = Store::new(pre.engine(), Bare { wasi, table: component::ResourceTable::new() });
    store.set_epoch_deadline(u64::MAX / 2);
    let command = pre.instantiate_async(&mut store).await?;
    let result = command.wasi_cli_run().call_run(&mut store).await?;
    drop(store);
    assert_eq!((result, &stdout.contents()[..]), (Ok(()), &MESSAGE[..]));
    Ok(())
}

/// Prints medians and extremes, and the ratio of the medians.
fn report(ours: &mut [Duration], floor: &mut [Duration]) {
    ours.sort();
    floor.sort();
    println!("{:<10} {:>10} {:>10} {:>10}  µs per instance", "spawn", "min", "median", "max");
    for (name, samples) in [("ww", &*ours), ("floor", &*floor)] {
        let micros = |sample: Duration| sample.as_secs_f64() * 1e6;
        println!(
            "{name:<10} {:>10.1} {:>10.1} {:>10.1}",
            micros(samples[0]),
            micros(samples[SAMPLES / 2]),
            micros(samples[SAMPLES - 1])
        );
    }
    println!("ratio of the medians: {:.2}", ours[SAMPLES / 2].as_secs_f64() / floor[SAMPLES / 2].as_secs_f64());
}
