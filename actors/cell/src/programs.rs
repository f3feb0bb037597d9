//! From bytes to programs: each is compiled once, however many ask for it at the same time.
//!
//! Programs are [kept](crate::kept) in memory by the hash of their bytes and their size class, and their code on disk. A
//! program that is not kept waits for the [turn](crate::turns) of its owner; then its bytes become code, by
//! [`compiler`](crate::compiler), and its code a program. A caller that asks for what is being compiled waits for that
//! compilation, which ends when the last of them has left.
//!
//! The bytes of a program that waits belong to the caller, who charged them to the owner when they came.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use thiserror::Error;
use tokio::{runtime, time::timeout};
use ww_core::{Text, task, text};

use crate::{
    artifact::Artifact,
    compiler::{self, Bounds, Compiler, Job},
    disk::Disk,
    engine::{Class, Engines, Kind, Sandbox},
    fault,
    kept::{Known, Loading},
    program::{Hash, Program},
    structure::{self, Functions},
    turns::{Busy, Lineage, Turn, Turns},
    worker::{EndOnDrop, Errand, Request},
};

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
    /// It is damaged.
    #[error("not a valid WebAssembly program: {0}. Is the file complete, and built for WASI 0.2 or preview 1?")]
    Invalid(Text),
    /// It is valid for others, and uses a proposal that is not run here.
    #[error("the program uses what this node does not run: {0}. docs/programs.md lists what it runs")]
    Unsupported(String),
    /// It needs what the node does not offer.
    #[error(
        "the program imports what this node does not offer: {0}. A node offers WASI 0.2 or preview 1 without files \
         and sockets, wetware:streams, wetware:loader and wetware:cell"
    )]
    Import(Text),
    /// It is valid, and larger than what there is a place for, or built in a way that nothing honest is.
    #[error("the program is too complex: {0}")]
    TooComplex(String),
    /// Its compilation takes too much. It is not tried again for a while.
    #[error("the program is too expensive to compile: it takes more than {0}. Split it, or its largest functions")]
    TooExpensive(String),
    /// Too many programs of the owner, or of the cells around it, wait to be compiled.
    #[error("{0} programs of this owner wait to be compiled already: try again later")]
    Busy(usize),
    /// The process that compiles could not be started, or failed.
    #[error("{0}")]
    Worker(String),
    /// The node failed.
    #[error("the node failed while it compiled the program: {0}")]
    Host(Text),
}

impl LoadError {
    /// Whether the bytes themselves are at fault, rather than what the node offers or can do now.
    pub fn is_invalid(&self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::NotWasm(_)
                | Self::Invalid(_)
                | Self::Unsupported(_)
                | Self::TooComplex(_)
                | Self::TooExpensive(_)
        )
    }

    /// Whether neither the program nor its owner is at fault, but the node, or what the system refuses it.
    pub fn is_of_host(&self) -> bool {
        matches!(self, Self::Worker(_) | Self::Host(_))
    }
}

/// All programs of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Programs(Arc<Inner>);

struct Inner {
    engines: Arc<Engines>,
    disk: Option<Disk>,
    compiler: Compiler,
    runtime: runtime::Handle,
    turns: Turns,
    known: Mutex<Known>,
}

/// By what a program is known.
pub(crate) type Key = (Hash, Class);

impl Programs {
    pub(crate) fn new(engines: Arc<Engines>, disk: Option<Disk>, compiler: Compiler, runtime: runtime::Handle) -> Self {
        let (turns, known) = (Turns::default(), Mutex::default());
        Self(Arc::new(Inner { engines, disk, compiler, runtime, turns, known }))
    }

    /// The program of these bytes, compiled for a class. Cancel safe: a compilation that nobody waits for is ended.
    pub(crate) async fn load(&self, owner: &Lineage, wasm: Bytes, class: Class) -> Result<Program, LoadError> {
        if wasm.is_empty() {
            return Err(LoadError::Empty);
        }
        if !wasm.starts_with(WASM_MAGIC) {
            return Err(LoadError::NotWasm(format!("{:02x?}", &wasm[..wasm.len().min(WASM_MAGIC.len())])));
        }
        let key = (self.hash(&wasm).await?, class);
        let known = self.known().outcome(key);
        if let Some(outcome) = known {
            return outcome;
        }
        let turn = self.0.turns.take(owner).await.map_err(|Busy(most)| LoadError::Busy(most))?;
        self.loading(key, wasm, turn).await
    }

    /// What identifies a program. A long one is read elsewhere than on a thread that all cells share.
    async fn hash(&self, wasm: &Bytes) -> Result<Hash, LoadError> {
        if wasm.len() <= HASHED_HERE {
            return Ok(Hash::of(wasm));
        }
        let wasm = wasm.clone();
        let hashed = self.0.runtime.spawn_blocking(move || Hash::of(&wasm)).await;
        hashed.map_err(|error| LoadError::Host(Text::new(error)))
    }

    /// What is known of a program by now, or its compilation, which has the turn from then on.
    fn loading(&self, key: Key, wasm: Bytes, turn: Turn) -> Loading {
        let mut known = self.known();
        if let Some(outcome) = known.outcome(key) {
            return async { outcome }.boxed().shared();
        }
        if let Some(loading) = known.under_way(key) {
            return loading;
        }
        let programs = self.clone();
        // Ended with the last that waits for it.
        let kind = task::Kind::owned("compile", key.0);
        let built = task::spawn(&self.0.runtime, kind, async move { programs.build(key, wasm, turn).await });
        let loading = built
            .map(|joined| joined.unwrap_or_else(|failed| Err(LoadError::Host(Text::new(failed)))))
            .boxed()
            .shared();
        known.started(key, &loading);
        loading
    }

    async fn build(self, key: Key, wasm: Bytes, turn: Turn) -> Result<Program, LoadError> {
        // Work that cannot be ended keeps its place to its end.
        let turn = Arc::new(turn);
        let outcome = self.compiled(key, wasm, &turn).await;
        self.known().ended(key, &outcome);
        outcome
    }

    async fn compiled(&self, key: Key, wasm: Bytes, turn: &Arc<Turn>) -> Result<Program, LoadError> {
        let source = wasm.clone();
        if let Some(program) = self.blocking(turn, move |inner| inner.restore(key, &source)).await? {
            return Ok(program);
        }
        let started = std::time::Instant::now();
        let (kind, code) = self.code(key, wasm.clone(), turn).await?;
        let (hash, _) = key;
        tracing::debug!(%hash, ?kind, bytes = wasm.len(), elapsed = ?started.elapsed(), "compiled a program");
        self.blocking(turn, move |inner| inner.keep(key, kind, &wasm, &code)).await
    }

    /// From bytes to code.
    async fn code(&self, (_, class): Key, wasm: Bytes, turn: &Arc<Turn>) -> Result<(Kind, Vec<u8>), LoadError> {
        let component = wasmparser::Parser::is_component(&wasm);
        let Compiler::Worker(worker) = self.0.compiler.clone() else {
            let compile = move |inner: &Inner| {
                let job = Job { class, component, wasm: &wasm, customise: inner.engines.customise() };
                compiler::compile(job, |kind| inner.sandbox(kind).map(|sandbox| sandbox.engine))
            };
            return self.blocking(turn, compile).await;
        };
        let longest = Bounds::of(wasm.len()).elapsed;
        let errand = Errand::default();
        let _end = EndOnDrop(errand.clone());
        let compiled = self.blocking(turn, move |inner| {
            let compiler = &compiler::identity(&inner.sandbox(Kind::of(class))?.engine);
            let request = Request { class, debug: inner.engines.debug(), component, compiler, wasm: &wasm };
            worker.compile(&request, &errand)
        });
        timeout(longest, compiled)
            .await
            .unwrap_or_else(|_| Err(LoadError::TooExpensive(format!("{} s", longest.as_secs()))))
    }

    /// Does what blocks elsewhere.
    async fn blocking<T: Send + 'static>(
        &self,
        turn: &Arc<Turn>,
        work: impl FnOnce(&Inner) -> Result<T, LoadError> + Send + 'static,
    ) -> Result<T, LoadError> {
        let (this, turn) = (self.clone(), Arc::clone(turn));
        let joined = self.0.runtime.spawn_blocking(move || {
            let done = work(&this.0);
            drop(turn);
            done
        });
        joined.await.unwrap_or_else(|error| Err(LoadError::Host(Text::new(error))))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while the lock is held.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Checks how a program is built, and takes its code from disk if it is there. Blocks.
    fn restore(&self, key @ (_, class): Key, wasm: &[u8]) -> Result<Option<Program>, LoadError> {
        let functions = match self.compiler {
            Compiler::Within => Functions::Modest,
            Compiler::Worker(_) => Functions::Any,
        };
        structure::check(wasm, functions)?;
        let Some(disk) = &self.disk else { return Ok(None) };
        for kind in [Kind::of(class), Kind::Exceptions] {
            let name = name(key, kind);
            // No engine is made for what is not there.
            if !disk.has(&name) {
                continue;
            }
            let sandbox = self.sandbox(kind)?;
            let Some(code) = disk.get(&name, &compiler::identity(&sandbox.engine)) else { continue };
            // SAFETY: the entry carries a code that only this user's key makes, over bytes that `keep` below got from
            // this version of the compiler with these settings.
            match unsafe { Artifact::deserialize(&sandbox, wasm, &code) } {
                Ok(artifact) => return artifact.link(&sandbox, kind, key, wasm).map(Some),
                Err(error) if fault::is_shortage(&error) => {
                    return Err(LoadError::Host(Text::new(format_args!("{error:#}"))));
                }
                Err(error) => {
                    tracing::warn!(%error, "a compiled program on disk is of no use: it is compiled again");
                    disk.remove(&name);
                }
            }
        }
        Ok(None)
    }

    /// Makes a program of its code, and stores the code on disk. Blocks.
    fn keep(&self, key: Key, kind: Kind, wasm: &[u8], code: &[u8]) -> Result<Program, LoadError> {
        let sandbox = self.sandbox(kind)?;
        // SAFETY: the code is what this version of the compiler made with these settings, in this process or in a worker
        // of it, whose pipe nobody else writes to.
        let artifact = unsafe { Artifact::deserialize(&sandbox, wasm, code) }.map_err(|error| {
            match fault::is_shortage(&error) {
                true => LoadError::Host(Text::new(format_args!("{error:#}"))),
                // It is valid, as it was compiled: it is larger than a place in the pool.
                false => LoadError::TooComplex(text::line(error.root_cause(), text::MAX_ERROR)),
            }
        })?;
        if let Some(disk) = &self.disk {
            disk.put(&name(key, kind), &compiler::identity(&sandbox.engine), code);
        }
        artifact.link(&sandbox, kind, key, wasm)
    }

    fn sandbox(&self, kind: Kind) -> Result<Sandbox, LoadError> {
        self.engines.sandbox(kind).map_err(|error| LoadError::Host(Text::new(format_args!("{error:#}"))))
    }
}

/// Of an entry on disk.
fn name((hash, _): Key, kind: Kind) -> String {
    format!("{hash}-{kind:?}").to_lowercase()
}
