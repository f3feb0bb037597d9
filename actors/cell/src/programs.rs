//! From bytes to programs: each is compiled once, however many ask for it at the same time.
//!
//! Programs are kept in memory by the hash of their bytes and their size class, and their code on disk.
//! Compilation happens on threads for blocking work, a bounded number at a time; whoever asks for a
//! program that is being compiled waits for that one.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use thiserror::Error;
use tokio::{runtime, sync::Semaphore};
use wasmtime::{Module, component::Component};
use wasmtime_wasi::I32Exit;
use ww_core::{Text, task};

use crate::{
    actor, core_module,
    disk::Disk,
    engine::{Class, Engines, Sandbox},
    guest::Guest,
    loader,
    program::{Code, Exports, Hash, Program},
    random, rewrite, streams,
};

/// Programs kept in memory. Those that cells run stay alive besides.
const MAX_PROGRAMS: usize = 256;

/// Compilations at once: each uses every core in its parallel part already.
const COMPILATIONS: usize = 2;

/// Programs that wait to be compiled; one more is refused.
const MAX_WAITING: usize = 64;

/// Bytes of a program that are hashed on the thread that asks: to hash so few costs less than to ask another thread
/// while that is busy, and is far below a slice.
const HASHED_HERE: usize = 128 << 10;

/// The first bytes of every WebAssembly binary.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Why bytes did not become a program.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// There are no bytes.
    #[error("the program is empty: expected a WebAssembly component or a core module")]
    Empty,
    /// It is something else.
    #[error("not a WebAssembly binary: expected a component or a core module, found bytes that start with {0}")]
    NotWasm(String),
    /// It is damaged, or uses what the engine does not know.
    #[error("not a valid WebAssembly program: {0}. Is the file complete, and built for WASI 0.2 or preview 1?")]
    Invalid(Text),
    /// It needs what the node does not offer.
    #[error(
        "the program imports what this node does not offer: {0}. A node offers WASI 0.2 or preview 1 without files \
         and sockets, wetware:streams, wetware:loader and wetware:cell"
    )]
    Import(Text),
    /// Too many programs wait to be compiled.
    #[error("{MAX_WAITING} programs wait to be compiled already: try again later")]
    Busy,
    /// The node failed.
    #[error("the node failed while it compiled the program: {0}")]
    Host(Text),
}

impl LoadError {
    /// Whether the bytes themselves are at fault, rather than what the node offers or can do now.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Empty | Self::NotWasm(_) | Self::Invalid(_))
    }
}

/// All programs of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Programs(Arc<Inner>);

struct Inner {
    engines: Arc<Engines>,
    disk: Option<Disk>,
    runtime: runtime::Handle,
    compiling: Semaphore,
    known: Mutex<Known>,
}

type Key = (Hash, Class);
type Loading = Shared<BoxFuture<'static, Result<Program, LoadError>>>;

#[derive(Default)]
struct Known {
    programs: HashMap<Key, Loading>,
    /// In the order of their arrival, so that the oldest goes first.
    order: VecDeque<Key>,
    waiting: usize,
}

impl Programs {
    pub(crate) fn new(engines: Arc<Engines>, disk: Option<Disk>, runtime: runtime::Handle) -> Self {
        let compiling = Semaphore::new(COMPILATIONS);
        Self(Arc::new(Inner { engines, disk, runtime, compiling, known: Mutex::default() }))
    }

    /// The program of these bytes, compiled for a class. Cancel safe: the compilation goes on for whoever asks next.
    pub(crate) async fn load(&self, wasm: Bytes, class: Class) -> Result<Program, LoadError> {
        if wasm.is_empty() {
            return Err(LoadError::Empty);
        }
        if !wasm.starts_with(WASM_MAGIC) {
            return Err(LoadError::NotWasm(format!("{:02x?}", &wasm[..wasm.len().min(WASM_MAGIC.len())])));
        }
        let key = (self.hash(&wasm).await?, class);
        let loading = self.loading(key, wasm)?;
        let loaded = loading.await;
        if loaded.is_err() {
            self.forget(key);
        }
        loaded
    }

    /// What identifies a program. A long one is read elsewhere than on a thread that all cells share.
    async fn hash(&self, wasm: &Bytes) -> Result<Hash, LoadError> {
        if wasm.len() <= HASHED_HERE {
            return Ok(Hash::of(wasm));
        }
        let wasm = wasm.clone();
        let hashed = self.0.runtime.spawn_blocking(move || Hash::of(&wasm)).await;
        hashed.map_err(|error| LoadError::Host(Text::new(&error)))
    }

    fn loading(&self, key: Key, wasm: Bytes) -> Result<Loading, LoadError> {
        let mut known = self.known();
        if let Some(loading) = known.programs.get(&key) {
            return Ok(loading.clone());
        }
        if known.waiting >= MAX_WAITING {
            return Err(LoadError::Busy);
        }
        known.waiting += 1;
        let programs = self.clone();
        let kind = task::Kind::detached("compile", key.0);
        let compiled = task::spawn(&self.0.runtime, kind, async move { programs.compile(key, wasm).await });
        let loading = compiled
            .map(|joined| joined.unwrap_or_else(|failed| Err(LoadError::Host(Text::new(failed)))))
            .boxed()
            .shared();
        known.programs.insert(key, loading.clone());
        known.order.push_back(key);
        if known.order.len() > MAX_PROGRAMS
            && let Some(oldest) = known.order.pop_front()
        {
            known.programs.remove(&oldest);
        }
        Ok(loading)
    }

    async fn compile(&self, key: Key, wasm: Bytes) -> Result<Program, LoadError> {
        let permit = self.0.compiling.acquire().await;
        let this = self.clone();
        let joined = self.0.runtime.spawn_blocking(move || this.0.build(key, &wasm)).await;
        drop(permit);
        self.known().waiting -= 1;
        joined.unwrap_or_else(|error| Err(LoadError::Host(Text::new(error))))
    }

    fn forget(&self, key: Key) {
        let mut known = self.known();
        known.programs.remove(&key);
        known.order.retain(|other| *other != key);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while the lock is held.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Compiles, or takes the code from disk. Blocks.
    fn build(&self, key @ (hash, class): Key, wasm: &[u8]) -> Result<Program, LoadError> {
        let host = |error: wasmtime::Error| LoadError::Host(Text::new(format_args!("{error:#}")));
        let sandbox = self.engines.sandbox(class).map_err(host)?;
        let context = compatibility(&sandbox);
        let name = format!("{hash}-{class:?}").to_lowercase();
        let component = wasmparser::Parser::is_component(wasm);

        if let Some(disk) = &self.disk
            && let Some(code) = disk.get(&name, &context)
        {
            // SAFETY: the entry carries a code that only this user's key makes, over bytes that `put` below got from
            // this version of the engine with these settings.
            let restored = unsafe { Artifact::deserialize(&sandbox, component, &code) };
            match restored {
                Ok(artifact) => return artifact.link(&sandbox, key, wasm),
                Err(error) => {
                    tracing::warn!(%error, "a compiled program on disk is of no use: it is compiled again");
                    disk.remove(&name);
                }
            }
        }
        let started = std::time::Instant::now();
        let artifact = Artifact::compile(&sandbox, component, wasm)
            .map_err(|error| LoadError::Invalid(Text::new(error.root_cause())))?;
        tracing::debug!(%hash, ?class, bytes = wasm.len(), elapsed = ?started.elapsed(), "compiled a program");
        if let Some(disk) = &self.disk {
            match artifact.serialize() {
                Ok(code) => disk.put(&name, &context, &code),
                Err(error) => tracing::warn!(%error, "a compiled program cannot be stored"),
            }
        }
        artifact.link(&sandbox, key, wasm)
    }
}

/// Everything that compiled code depends on besides the program: this version and the settings of the engine.
fn compatibility(sandbox: &Sandbox) -> Vec<u8> {
    let mut hasher = DefaultHasher::new();
    sandbox.engine.precompile_compatibility_hash().hash(&mut hasher);
    let mut context = hasher.finish().to_le_bytes().to_vec();
    context.push(rewrite::VERSION);
    context.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
    context
}

/// Compiled code, not yet linked.
enum Artifact {
    Component(Component),
    Module(Module),
}

impl Artifact {
    fn compile(sandbox: &Sandbox, component: bool, wasm: &[u8]) -> wasmtime::Result<Self> {
        let wasm = sandbox.bounded(wasm)?;
        Ok(if component {
            Self::Component(Component::from_binary(&sandbox.engine, &wasm)?)
        } else {
            Self::Module(Module::from_binary(&sandbox.engine, &wasm)?)
        })
    }

    /// # Safety
    ///
    /// `code` must be what [`Artifact::serialize`] returned.
    unsafe fn deserialize(sandbox: &Sandbox, component: bool, code: &[u8]) -> wasmtime::Result<Self> {
        // SAFETY: the caller's promise.
        Ok(unsafe {
            if component {
                Self::Component(Component::deserialize(&sandbox.engine, code)?)
            } else {
                Self::Module(Module::deserialize(&sandbox.engine, code)?)
            }
        })
    }

    fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        match self {
            Self::Component(component) => component.serialize(),
            Self::Module(module) => module.serialize(),
        }
    }

    /// `wasm` is what it was compiled from.
    fn link(self, sandbox: &Sandbox, key: Key, wasm: &[u8]) -> Result<Program, LoadError> {
        let host = |error: wasmtime::Error| LoadError::Host(Text::new(format_args!("{error:#}")));
        let import = |error: wasmtime::Error| LoadError::Import(Text::new(format_args!("{error:#}")));
        let (exports, remedy, code) = match self {
            Self::Component(component) => {
                let (exports, entries) = Exports::of_component(&component);
                let mut linker = wasmtime::component::Linker::new(&sandbox.engine);
                wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(host)?;
                streams::add_to_linker(&mut linker).map_err(host)?;
                loader::add_to_linker(&mut linker).map_err(host)?;
                actor::add_to_linker(&mut linker).map_err(host)?;
                random::add_to_component_linker(&mut linker).map_err(host)?;
                (exports, None, Code::Component { pre: linker.instantiate_pre(&component).map_err(import)?, entries })
            }
            Self::Module(module) => {
                let exports = Exports::of_module(&module);
                let remedy = if exports.poll { core_module::remedy(wasm) } else { None };
                let mut linker = wasmtime::Linker::new(&sandbox.engine);
                wasmtime_wasi::p1::add_to_linker_async(&mut linker, Guest::p1).map_err(host)?;
                // The library's own takes codes from 126 on for a trap; here every code is the program's to choose.
                linker.allow_shadowing(true);
                random::add_to_module_linker(&mut linker).map_err(host)?;
                linker
                    .func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| Err::<(), _>(I32Exit(code).into()))
                    .map_err(host)?;
                (exports, remedy, Code::Module(linker.instantiate_pre(&module).map_err(import)?))
            }
        };
        Ok(Program::new(key, exports, remedy, code))
    }
}
