//! What a node needs once to run cells.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use thiserror::Error;
use tokio::runtime;
use ww_core::{
    Account,
    account::{DEFAULT_NODE, Holder},
    task,
};

use crate::{
    capacity::Cells,
    compiler::Compiler,
    directory::Directory,
    disk::Disk,
    engine::{Class, Customise, Engines, Kind, Sandbox},
    preemption::{Requeue, Ticker, Ticks},
    program::Program,
    programs::{LoadError, Programs},
    turns::Lineage,
};

/// Settings of a [`Runtime`].
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Whether backtraces of traps name file and line, for programs that carry debug information. Costs memory.
    pub debug: bool,
    /// Where compiled programs are kept; `None` keeps them in memory only.
    pub cache: Option<PathBuf>,
    /// Cells that may live at once. What the system allows may be less.
    pub cells: Cells,
    /// What is held for all cells is charged to it; `None` for one of [`DEFAULT_NODE`] bytes.
    pub account: Option<Account>,
    /// Changes the settings of the engines before they are made, on the embedder's responsibility.
    pub customise: Option<Customise>,
    /// Where programs are compiled. A worker that does not change its engines in the same way is of no use.
    pub compiler: Compiler,
}

/// Why a runtime could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The operating system refused a thread.
    #[error("cannot start a thread of the runtime")]
    Thread(#[source] io::Error),
}

/// Compiles and runs programs. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) handle: runtime::Handle,
    pub(crate) engines: Arc<Engines>,
    pub(crate) requeue: Requeue,
    programs: Programs,
    directory: Directory,
    account: Account,
    ticks: Ticks,
}

impl Runtime {
    /// Starts a runtime whose guests run as tasks of `handle`, a multi-threaded tokio runtime.
    ///
    /// A cache directory that cannot be used, or not by this user alone, is left out with a warning.
    ///
    /// # Errors
    ///
    /// Where the system refuses a thread.
    pub fn start(config: Config, handle: runtime::Handle) -> Result<Self, StartError> {
        let ticker = Ticker::start().map_err(StartError::Thread)?;
        let requeue = Requeue::start().map_err(StartError::Thread)?;
        let ticks = ticker.ticks().clone();
        let engines = Arc::new(Engines::new(config.debug, config.customise, config.cells, ticker));
        let disk = config.cache.and_then(|directory| match Disk::open(directory) {
            Ok(disk) => Some(disk),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "compiled programs are not kept on disk");
                None
            }
        });
        keep_a_timer_near(&handle, &engines);
        let programs = Programs::new(Arc::clone(&engines), disk, config.compiler, handle.clone());
        let account = config.account.unwrap_or_else(|| Account::root(Holder::Node, DEFAULT_NODE));
        Ok(Self { handle, engines, requeue, programs, directory: Directory::default(), account, ticks })
    }

    /// The threads on which guests run.
    pub fn handle(&self) -> &runtime::Handle {
        &self.handle
    }

    /// The cells that live.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// What is held for all cells.
    pub fn account(&self) -> &Account {
        &self.account
    }

    pub(crate) fn ticks(&self) -> &Ticks {
        &self.ticks
    }

    /// The program of these bytes, a component or a core preview 1 module, for cells of a size class, on behalf of the
    /// node itself.
    ///
    /// Compiles it at the first time; later calls, and calls at the same time, share the result. Cancel safe: a
    /// compilation ends when nobody waits for it, as far as the [`Compiler`] can end it.
    ///
    /// # Errors
    ///
    /// Where the bytes are no valid program, or one that needs what the node does not offer, or takes too much to
    /// compile.
    pub async fn load(&self, wasm: Bytes, class: Class) -> Result<Program, LoadError> {
        self.load_for(&Lineage::node(), wasm, class).await
    }

    /// [`Runtime::load`] on behalf of an owner, who waits for its turn.
    ///
    /// # Errors
    ///
    /// As [`Runtime::load`], and where too many programs of the owner wait.
    pub async fn load_for(&self, owner: &Lineage, wasm: Bytes, class: Class) -> Result<Program, LoadError> {
        self.programs.load(owner, wasm, class).await
    }

    pub(crate) fn sandbox(&self, kind: Kind) -> wasmtime::Result<Sandbox> {
        self.engines.sandbox(kind)
    }
}

/// Keeps a timer of the threads nearer than any deadline of a message. Whoever sets a timer that is earlier than all
/// others wakes the thread that waits for sockets, a system call for every request of one cell to another.
fn keep_a_timer_near(handle: &runtime::Handle, engines: &Arc<Engines>) {
    const NEAR: Duration = Duration::from_millis(20);
    let engines = Arc::downgrade(engines);
    // Ends with the runtime.
    drop(task::spawn(handle, task::Kind::detached("near timer", "the runtime of cells"), async move {
        while engines.strong_count() > 0 {
            tokio::time::sleep(NEAR).await;
        }
    }));
}
