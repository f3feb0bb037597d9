//! What a tree is built from: cells and supervisors, as plain data.
//!
//! ```no_run
//! # fn tree(store: ww_executor::Spec, worker: ww_executor::Spec) -> Result<ww_executor::Supervision, Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use ww_cell::Mode;
//! use ww_core::supervisor::Restart;
//! use ww_executor::{Serving, Supervision, cell, supervisor};
//!
//! let pool = Supervision::simple_one_for_one(cell("worker", worker, Serving::new(Mode::Async))?);
//! let root = Supervision::one_for_all()
//!     .intensity(3, Duration::from_secs(5))
//!     .child(cell("store", store, Serving::new(Mode::Async))?.restart(Restart::Transient))
//!     .child(supervisor("pool", pool)?);
//! # Ok(root)
//! # }
//! ```

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use ww_cell::{Directory, Program, Slot, Stdio};
use ww_core::{
    Account, Limits, Name,
    supervisor::{self, AutoShutdown, ChildId, Invalid, InvalidSpec, Options, Strategy},
};

use crate::{Serving, Spec};

/// What a child is started from, each time.
#[derive(Clone)]
pub enum Blueprint {
    /// A cell.
    Cell(Arc<CellBlueprint>),
    /// Another supervisor, with its children.
    Supervisor(Arc<Supervision>),
}

/// What a supervised cell is started from.
pub struct CellBlueprint {
    /// The cell itself.
    pub spec: Spec,
    /// What it does.
    pub work: Work,
    /// Where it lives; `None` for a slot that its supervisor makes. Either ends with the child.
    pub slot: Option<Slot>,
    /// Its program, once the owner of the blueprint has loaded it: then no start has to ask for it again.
    pub loaded: OnceLock<Program>,
}

impl CellBlueprint {
    /// A cell in a slot that its supervisor makes.
    pub fn new(spec: Spec, work: impl Into<Work>) -> Self {
        Self { spec, work: work.into(), slot: None, loaded: OnceLock::new() }
    }

    /// A cell in a slot that is there already.
    #[must_use]
    pub fn in_slot(self, slot: Slot) -> Self {
        Self { slot: Some(slot), ..self }
    }

    /// Its program, if it is known.
    pub(crate) fn program(&self) -> Option<Program> {
        self.spec.program.clone().or_else(|| self.loaded.get().cloned())
    }
}

/// What a supervised cell does.
#[derive(Clone, Debug)]
pub enum Work {
    /// It serves messages.
    Serve(Serving),
    /// Its `main` runs, each time with the same streams: the next incarnation reads on where the last one stopped. They
    /// are closed when nothing can start it any more.
    Main(Stdio),
}

impl Work {
    /// A slot for a cell that does this, within these limits.
    pub fn new_slot(&self, directory: &Directory, limits: &Limits, account: &Account) -> Slot {
        match self {
            Self::Serve(serving) => directory.new_slot(serving.mailbox, serving.overflow, limits.message_size, account),
            Self::Main(_) => directory.new_slot_not_served(account),
        }
    }
}

impl From<Serving> for Work {
    fn from(serving: Serving) -> Self {
        Self::Serve(serving)
    }
}

impl From<Stdio> for Work {
    fn from(stdio: Stdio) -> Self {
        Self::Main(stdio)
    }
}

/// The spec of a child.
pub type ChildSpec = supervisor::ChildSpec<Blueprint>;

/// A supervisor and its first children.
#[derive(Clone, Debug)]
pub struct Supervision {
    /// How it treats its children.
    pub options: Options,
    /// Its children in the order of their start; of a simple-one-for-one supervisor the template.
    pub children: Vec<ChildSpec>,
    /// What the log and the registry call it.
    pub name: Option<Name>,
    /// What its children may use unless they say so themselves; `None` for what its owner may use.
    pub limits: Option<Limits>,
}

/// The spec of a permanent cell.
///
/// # Errors
///
/// Where the text cannot be an id.
pub fn cell(id: &str, spec: Spec, work: impl Into<Work>) -> Result<ChildSpec, InvalidSpec> {
    let blueprint = Blueprint::Cell(Arc::new(CellBlueprint::new(spec, work)));
    Ok(ChildSpec::worker(ChildId::new(id)?, blueprint))
}

/// The spec of a permanent supervisor.
///
/// # Errors
///
/// Where the text cannot be an id.
pub fn supervisor(id: &str, supervision: Supervision) -> Result<ChildSpec, InvalidSpec> {
    Ok(ChildSpec::supervisor(ChildId::new(id)?, Blueprint::Supervisor(Arc::new(supervision))))
}

impl Supervision {
    /// A supervisor without children.
    pub fn new(options: Options) -> Self {
        Self { options, children: Vec::new(), name: None, limits: None }
    }

    /// When a child has to be restarted, that one is.
    pub fn one_for_one() -> Self {
        Self::new(Options::new(Strategy::OneForOne))
    }

    /// When a child has to be restarted, all are.
    pub fn one_for_all() -> Self {
        Self::new(Options::new(Strategy::OneForAll))
    }

    /// When a child has to be restarted, that one and all that were started after it are.
    pub fn rest_for_one() -> Self {
        Self::new(Options::new(Strategy::RestForOne))
    }

    /// All children are instances of one template, and come and go.
    pub fn simple_one_for_one(template: ChildSpec) -> Self {
        Self::new(Options::new(Strategy::SimpleOneForOne)).child(template)
    }

    /// One more child, after the others.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Restarts that may happen within a period; one more ends the supervisor.
    #[must_use]
    pub fn intensity(mut self, intensity: u32, period: Duration) -> Self {
        self.options = self.options.intensity(intensity, period);
        self
    }

    /// Whether the end of significant children ends it.
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.options.auto_shutdown = auto_shutdown;
        self
    }

    /// A name, which it is registered under.
    #[must_use]
    pub fn named(mut self, name: Name) -> Self {
        self.name = Some(name);
        self
    }

    /// The state machine that has yet to be started.
    pub(crate) fn machine(&self, seed: u64) -> Result<supervisor::Supervisor<Blueprint>, Invalid> {
        match (self.options.strategy, &self.children[..]) {
            (Strategy::SimpleOneForOne, [template]) => {
                supervisor::Supervisor::simple(self.options, template.clone(), seed)
            }
            (Strategy::SimpleOneForOne, _) => Err(Invalid::Template),
            _ => supervisor::Supervisor::new(self.options, self.children.clone(), seed),
        }
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(cell) => f.debug_tuple("Cell").field(&cell.spec.name).finish(),
            Self::Supervisor(supervision) => f.debug_tuple("Supervisor").field(supervision).finish(),
        }
    }
}
