//! The floor: the same guests on the bare engine, with the node's own settings, and what any runtime needs around it.

pub(crate) mod capnp;
pub(crate) mod stdio;

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};
use wasmtime::{
    Engine, InstanceAllocationStrategy, Store,
    component::{
        Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Linker, Lower, ResourceTable,
        TypedFunc, types::ComponentItem,
    },
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use ww::cell::Customise;
use ww_core::task;

/// Messages that wait in front of a bare instance: as many as in front of a cell.
const MAILBOX: usize = ww_core::mailbox::DEFAULT_CAPACITY;

/// The data of a bare store.
pub(crate) struct Bare {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Bare {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Sees the settings of the node's engines as they are made.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    seen: Arc<Mutex<Option<wasmtime::Config>>>,
    instead: bool,
}

impl Settings {
    /// The same, of a node that makes no pools: the floor makes them in its stead.
    pub(crate) fn instead(&self) -> Self {
        Self { instead: true, ..self.clone() }
    }

    /// To be given to the node.
    pub(crate) fn watch(&self) -> Customise {
        let Self { seen, instead } = self.clone();
        Customise::new(move |config| {
            *seen.lock().expect("no panic while locked") = Some(config.clone());
            if instead {
                config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            }
        })
    }

    /// An engine with the settings of the one that the node made last.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let config = self.seen.lock().expect("no panic while locked").clone();
        Ok(Engine::new(&config.context("the node has made no engine yet")?)?)
    }
}

/// A program that can be instantiated.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) pre: InstancePre<Bare>,
    handle: Option<ComponentExportIndex>,
    poll: Option<ComponentExportIndex>,
    run: Option<ComponentExportIndex>,
}

impl Program {
    /// Compiles it. What it imports of the node is there, and traps: no floor calls it.
    pub(crate) fn new(engine: &Engine, wasm: &[u8]) -> Result<Self> {
        let component = Component::from_binary(engine, wasm)?;
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        for (interface, import) in component.component_type().imports(engine) {
            let ComponentItem::ComponentInstance(import) = import.ty else { continue };
            if !interface.starts_with("wetware:") {
                continue;
            }
            let mut instance = linker.instance(interface)?;
            for (function, export) in import.exports(engine) {
                if matches!(export.ty, ComponentItem::ComponentFunc(_)) {
                    instance.func_new(function, |_, _, _, _| Err(wasmtime::Error::msg("the floor has no node")))?;
                }
            }
        }
        let find = |interface: &str, function: &str| {
            let of = component.component_type();
            let (name, _) = of.exports(engine).find(|(name, _)| name.split('@').next() == Some(interface))?;
            let (_, interface) = component.get_export(None, name)?;
            Some(component.get_export(Some(&interface), function)?.1)
        };
        let handle = find("wetware:cell/handler", "handle");
        let poll = find("wetware:cell/actor", "poll");
        let run = find("wasi:cli/run", "run");
        Ok(Self { pre: linker.instantiate_pre(&component)?, handle, poll, run })
    }
}

/// A store with these standard streams.
fn store(engine: &Engine, stdin: stdio::Input, stdout: stdio::Output) -> Store<Bare> {
    store_with(engine, &[], stdin, stdout)
}

fn store_with(engine: &Engine, args: &[&str], stdin: stdio::Input, stdout: stdio::Output) -> Store<Bare> {
    let wasi = WasiCtx::builder().args(args).stdin(stdin).stdout(stdout).build();
    let mut store = Store::new(engine, Bare { wasi, table: ResourceTable::new() });
    store.set_epoch_deadline(u64::MAX / 2);
    store
}

fn typed<P, R>(
    instance: &Instance,
    store: &mut Store<Bare>,
    function: Option<&ComponentExportIndex>,
) -> Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    Ok(instance.get_typed_func(store, function.context("the guest does not export it")?)?)
}

/// A bare actor: a task with a channel, and whatever `answer` does with each message.
#[derive(Clone)]
pub(crate) struct Actor<M = &'static [u8]>(mpsc::Sender<(M, Option<oneshot::Sender<Bytes>>)>);

/// What a bare actor does with a message.
pub(crate) trait Answer<M>: Send + 'static {
    fn answer(&mut self, message: M) -> impl Future<Output = Result<Bytes>> + Send;
}

impl<M: Send + 'static> Actor<M> {
    pub(crate) fn start(mut behaviour: impl Answer<M>) -> Self {
        let (tx, mut rx) = mpsc::channel::<(M, Option<oneshot::Sender<Bytes>>)>(MAILBOX);
        let kind = task::Kind::detached("actor", "floor");
        drop(task::spawn(&runtime::Handle::current(), kind, async move {
            while let Some((message, reply)) = rx.recv().await {
                let Ok(answer) = behaviour.answer(message).await else { return };
                if let Some(reply) = reply {
                    let _ = reply.send(answer);
                }
            }
        }));
        Self(tx)
    }

    pub(crate) async fn ask(&self, message: M) -> Result<Bytes> {
        let (tx, rx) = oneshot::channel();
        self.0.send((message, Some(tx))).await.ok().context("the bare actor ended")?;
        rx.await.context("the bare actor did not answer")
    }

    /// Sends a message that nobody answers.
    pub(crate) async fn tell(&self, message: M) -> Result<()> {
        self.0.send((message, None)).await.ok().context("the bare actor ended")
    }
}

/// `handle` of a guest, which reads the message where it lies.
type Handle = TypedFunc<(&'static [u8],), (Result<Vec<u8>, String>,)>;

/// A live instance that is called through `handle`.
pub(crate) struct Handling {
    store: Store<Bare>,
    handle: Handle,
}

impl Handling {
    pub(crate) async fn start(program: &Program) -> Result<Self> {
        let mut store = store(program.pre.engine(), stdio::Input::default(), stdio::Output::default());
        let instance = program.pre.instantiate_async(&mut store).await?;
        let handle = typed(&instance, &mut store, program.handle.as_ref())?;
        Ok(Self { store, handle })
    }
}

impl Answer<&'static [u8]> for Handling {
    async fn answer(&mut self, message: &'static [u8]) -> Result<Bytes> {
        let (answer,) = self.handle.call_async(&mut self.store, (message,)).await?;
        Ok(answer.map_err(anyhow::Error::msg)?.into())
    }
}

/// A live instance that is called through `poll`, with standard streams that are armed anew for each message.
pub(crate) struct Polling {
    store: Store<Bare>,
    poll: TypedFunc<(), (Result<(), String>,)>,
    stdin: stdio::Input,
    stdout: stdio::Output,
}

impl Polling {
    pub(crate) async fn start(program: &Program) -> Result<Self> {
        let (stdin, stdout) = (stdio::Input::default(), stdio::Output::default());
        let mut store = store(program.pre.engine(), stdin.clone(), stdout.clone());
        let instance = program.pre.instantiate_async(&mut store).await?;
        let poll = typed(&instance, &mut store, program.poll.as_ref())?;
        Ok(Self { store, poll, stdin, stdout })
    }
}

impl<M: Into<Bytes> + Send + 'static> Answer<M> for Polling {
    async fn answer(&mut self, message: M) -> Result<Bytes> {
        self.stdin.arm(message.into());
        let (answer,) = self.poll.call_async(&mut self.store, ()).await?;
        answer.map_err(anyhow::Error::msg)?;
        Ok(self.stdout.take())
    }
}

/// A fresh instance for one message: its `main` reads it and writes the reply.
pub(crate) async fn run_once(program: &Program, args: &[&str], message: &'static [u8]) -> Result<Bytes> {
    let (stdin, stdout) = (stdio::Input::default(), stdio::Output::default());
    stdin.arm(Bytes::from_static(message));
    let mut store = store_with(program.pre.engine(), args, stdin, stdout.clone());
    let instance = program.pre.instantiate_async(&mut store).await?;
    let run: TypedFunc<(), (Result<(), ()>,)> = typed(&instance, &mut store, program.run.as_ref())?;
    let (ended,) = run.call_async(&mut store, ()).await?;
    ended.ok().context("`main` failed")?;
    drop(store);
    Ok(stdout.take())
}
