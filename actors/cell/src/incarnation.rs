//! One instance of a program, from its start to its exit reason.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use wasmtime::{PoolConcurrencyLimitError, Store, UpdateDeadline, component::ResourceTable};
use wasmtime_wasi::WasiCtx;
use ww_core::{
    exit::{Limit, Reason},
    turn,
};

use crate::{
    capacity::Places,
    cell::Cell,
    core_module,
    engine::Sandbox,
    fault::{self, Stopped},
    guest::{Guest, Wasi},
    limiter::{Limiter, Reached},
    message::Current,
    meters::Computed,
    own::Own,
    patience::Patience,
    preemption::{Requeue, SLICE_TICKS, ticks_in},
    program::{Code, Program},
    runtime::Runtime,
    stdio::{Input, Output},
    stop::Stop,
    streams::Handles,
};

/// Bytes that a guest may pass to the node in one call: more than any interface takes.
const HOST_CALL_BYTES: usize = 16 << 20;

/// Linear memory of an ended instance that is given back on the thread that ran it, in bytes: 4096 pages, which
/// the system takes back within a slice or little more.
const GIVEN_BACK_HERE: usize = 16 << 20;

/// Handles of resources that a guest may hold at once: a program that needs more leaks them.
const MAX_HANDLES: usize = 10_000;

/// With what one instance starts.
pub(crate) struct Start {
    /// Whose it is, and what it shares with the others of that one.
    pub(crate) own: Arc<Own>,
    /// Its standard streams.
    pub(crate) stdio: Streams,
    /// The message that it is for, in sync mode.
    pub(crate) current: Option<Current>,
}

/// The guest's own ends of its standard streams: in, out and error.
pub(crate) type Streams = (Input, Output, Output);

impl Runtime {
    /// Runs `main` within the calling task. With a `patience`, its deadline waits for the peer of its streams.
    pub(crate) async fn main(
        &self,
        program: &Program,
        start: Start,
        stop: &Stop,
        patience: Option<&Patience>,
    ) -> Reason {
        if !program.exports().run {
            return Reason::start_failed(format_args!(
                "the program exports no main: expected wasi:cli/run or _start, found {}",
                program.exports()
            ));
        }
        let sandbox = match self.sandbox(program.kind()) {
            Ok(sandbox) => sandbox,
            Err(error) => return Reason::host_fault(format_args!("{error:#}")),
        };
        let _place = match sandbox.place(program) {
            Ok(place) => place,
            Err(places) => return no_place(places),
        };
        if let Some(reason) = stop.reason() {
            return reason.clone();
        }
        let own = Arc::clone(&start.own);
        let deadline = own.cell.limits().deadline;
        let computed = Computed::new(self.ticks().clone());
        let clock = computed.clone();
        let mut store = match store(&sandbox, program, start, stop.clone(), (self.requeue.clone(), computed)) {
            Ok(store) => store,
            Err(error) => return Reason::host_fault(format_args!("{error:#}")),
        };
        let out_of_time = async || match patience {
            Some(patience) => patience.exhausted(deadline).await,
            None => expired(deadline).await,
        };
        let ended = {
            let running = pin!(call_main(program, &mut store));
            self.turns((&own.cell, &clock), stop, out_of_time, running).await
        };
        // The guest's streams are closed with its store, before its end is news.
        stop.set_ending();
        self.give_back(store).await;
        match ended {
            Err(reason) => reason,
            Ok(Ok(Ok(()))) => Reason::Normal,
            Ok(Ok(Err(()))) => Reason::Exit(1),
            Ok(Err(error)) => failed_start(&error),
        }
    }
}

impl Runtime {
    /// Runs a guest until it has done what it was called for, it is out of time, or its stop is requested.
    ///
    /// Most calls are done in one turn, and need no timer. The deadline begins after that turn, a slice at the most.
    pub(crate) async fn turns<T>(
        &self,
        (cell, computed): (&Cell, &Computed),
        stop: &Stop,
        out_of_time: impl AsyncFnOnce(),
        mut guest: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Reason> {
        let mut turn = |cx: &mut Context<'_>| turn::run(|| cell.meters().turn(computed, || guest.as_mut().poll(cx)));
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(turn(cx))).await {
            return Ok(done);
        }
        // Whatever it waits for wakes this task: a guest that has yielded must not go on before its neighbours had theirs. This is
        // polled for the first time right after that turn. `select!` is not: it lets a task whose budget is used up wait before it
        // polls anything, and what has woken the guest by then would be taken for that first time.
        let mut had_its_turn = true;
        let (mut stopping, mut late) = (pin!(stop.requested()), pin!(out_of_time()));
        poll_fn(|cx| {
            if let Poll::Ready(reason) = stopping.as_mut().poll(cx) {
                return Poll::Ready(Err(reason));
            }
            if late.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Reason::Limit(Limit::Deadline)));
            }
            if mem::take(&mut had_its_turn) { Poll::Pending } else { turn(cx).map(Ok) }
        })
        .await
    }
}

impl Runtime {
    /// Drops an instance. The system takes the pages of a large one back one by one: that happens elsewhere than on a
    /// thread that all cells share. Where this is cancelled, the instance is dropped all the same.
    pub(crate) async fn give_back(&self, store: Store<Guest>) {
        if store.data().limiter.used() <= GIVEN_BACK_HERE {
            return drop(store);
        }
        if let Err(error) = self.handle.spawn_blocking(move || drop(store)).await {
            tracing::error!(%error, "an instance was not dropped as it should be");
        }
    }
}

/// The end of a cell for which there is no place.
pub(crate) fn no_place(places: Places) -> Reason {
    Reason::start_failed(places)
}

/// The end of a cell whose instantiation may have failed for lack of room.
pub(crate) fn failed_start(error: &wasmtime::Error) -> Reason {
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return Reason::start_failed(format_args!("the node has no room for another cell: {error}"));
    }
    fault::reason(error)
}

/// What `main` itself said: an error of the engine, or the program's own result.
async fn call_main(program: &Program, store: &mut Store<Guest>) -> wasmtime::Result<Result<(), ()>> {
    match program.code() {
        Code::Component { pre, entries } => {
            let instance = pre.instantiate_async(&mut *store).await?;
            let run = entries.run.as_ref().ok_or_else(|| wasmtime::Error::msg("the program exports no `run`"))?;
            let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, run)?;
            let (result,) = run.call_async(&mut *store, ()).await?;
            Ok(result)
        }
        Code::Module(pre) => {
            let instance = pre.instantiate_async(&mut *store).await?;
            core_module::call_start(&instance, store).await.map(Ok)
        }
    }
}

pub(crate) async fn expired(deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn store(
    sandbox: &Sandbox,
    program: &Program,
    start: Start,
    stop: Stop,
    (requeue, computed): (Requeue, Computed),
) -> wasmtime::Result<Store<Guest>> {
    let (stdin, stdout, stderr) = start.stdio;
    let spec = &start.own.spec;
    let mut wasi = WasiCtx::builder();
    wasi.arg(&spec.name)
        .args(&spec.args)
        .envs(&spec.env)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    let wasi = match program.code() {
        Code::Component { .. } => Wasi::P2(Box::new((wasi.build(), ResourceTable::new()))),
        Code::Module(_) => Wasi::P1(Box::new(wasi.build_p1())),
    };
    let cpu_limit = spec.limits.cpu.map(ticks_in);
    let requeue = requeue.of(&spec.account);
    let (clock, yielding) = (computed.clone(), requeue.clone());
    let limiter = Limiter::new(spec.limits.memory, program.kind(), start.own.meters().clone());
    let guest = Guest {
        connect: spec.connect.clone(),
        own: start.own,
        current: start.current,
        handling: None,
        wasi,
        limiter,
        handles: Handles::default(),
        computed,
        requeue,
    };
    let mut store = Store::new(&sandbox.engine, guest);
    store.limiter(|guest| &mut guest.limiter);
    store.set_hostcall_fuel(HOST_CALL_BYTES);
    store.set_max_component_handles(MAX_HANDLES);
    store.set_epoch_deadline(SLICE_TICKS);
    store.epoch_deadline_callback(move |_| {
        if let Some(reason) = stop.reason() {
            return Err(Stopped(reason.clone()).into());
        }
        // Ticks that have passed, not slices: whatever the last step was, it took them.
        if cpu_limit.is_some_and(|limit| clock.ticks() > limit) {
            return Err(Reached(Limit::Cpu).into());
        }
        Ok(UpdateDeadline::YieldCustom(SLICE_TICKS, yielding.yield_now()))
    });
    Ok(store)
}

#[cfg(test)]
mod tests;
