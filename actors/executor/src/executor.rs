//! The executor: the handle through which cells and supervisors are started.
//!
//! Behind it are the [tree](crate::ownership) of what runs, and an actor, the [starter](crate::starter), which loads what has
//! to be compiled first.

use std::sync::Arc;

use actix::{Actor, Addr, ArbiterHandle, Handler, Message};
use bytes::Bytes;
use thiserror::Error;
use ww_cell::{
    Class, Directory, Exports, Files, LoadError, Mode, Program, Runtime, Stderr, Stdio, Stop, cell::Refusal, pipe, tail,
};
use ww_core::{
    Account, CellId, Grants, Limits, Name,
    exit::Reason,
    lend::Pace,
    mailbox::{DEFAULT_CAPACITY, Overflow},
    supervisor::Invalid,
};

use crate::{
    Attachment, Clock, Errors, Process, Streams, Supervision, SupervisorHandle, SystemClock,
    ownership::{Owned, Ownership},
    start::{Begun, Request, Started},
    starter::Starter,
    supervisor,
    tree::{Full, Owner},
    vat::{GuestVat, Handed, Publish},
};

/// Starts of one owner that may wait for their program to be compiled; one of them is compiling.
pub const MAX_STARTING: usize = 17;

/// With what a cell is started.
#[derive(Clone, Default)]
pub struct Spec {
    /// What the program sees as its own name, and the log shows.
    pub name: String,
    /// Names that it is registered under.
    pub names: Vec<Name>,
    /// A component or a core preview 1 module.
    pub wasm: Bytes,
    /// The same, compiled, if somebody has done that already.
    pub program: Option<Program>,
    /// Arguments after the name.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// What it may use; `None` for what its owner may use.
    pub limits: Option<Limits>,
    /// Its authority.
    pub grants: Grants,
    /// The files of its image; read only if its grants say so.
    pub files: Option<Arc<dyn Files>>,
    /// What whoever serves its connection keeps for it: the capabilities that it was handed.
    pub handed: Option<Handed>,
    /// Lets peers send messages to it, if it serves messages.
    pub publish: Option<Publish>,
}

/// How a cell serves its messages.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// One live instance, or a fresh one per message.
    pub mode: Mode,
    /// Messages that may wait.
    pub mailbox: usize,
    /// What happens to one more.
    pub overflow: Overflow,
}

/// What a started cell does.
pub(crate) enum Task {
    /// Runs `main` once, with these streams.
    Main(Stdio),
    /// Serves a mailbox, and reports here.
    Serve(Serving, Stderr),
}

/// Why a cell was not started.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program cannot be run.
    #[error(transparent)]
    Program(#[from] LoadError),
    /// The program cannot serve messages in the mode that was asked for, or a name cannot be registered.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The program cannot be run once: it has no `main`.
    #[error("the program exports no main: expected wasi:cli/run or _start, found {0}")]
    NoMain(Exports),
    /// Peers cannot be let in under its name.
    #[error("it cannot be published: {0}")]
    NotPublished(String),
    /// A limit of an owner is reached.
    #[error(transparent)]
    Full(#[from] Full),
    /// The owner starts too many at once.
    #[error("{MAX_STARTING} cells of this owner are being started already: wait for one of them")]
    Busy,
    /// It was told to end before it had started.
    #[error("it was told to end before it had started: {0}")]
    Cancelled(Reason),
    /// The spec of a supervisor contradicts itself.
    #[error(transparent)]
    Supervision(#[from] Invalid),
    /// A supervisor could not start its first children.
    #[error("the supervisor could not start: {0}")]
    NotStarted(Reason),
    /// The executor is stopping, or has stopped.
    #[error("the node is stopping")]
    Stopped,
}

impl SpawnError {
    /// Whether neither what was to be started nor its owner is at fault, but the node, or what the system refuses it.
    pub fn is_of_host(&self) -> bool {
        match self {
            Self::Program(error) => error.is_of_host(),
            Self::NotStarted(reason) => matches!(reason, Reason::HostFault(_)),
            _ => false,
        }
    }

    /// With what reason the start has ended, for those that waited for the cell.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Cancelled(reason) | Self::NotStarted(reason) => reason.clone(),
            Self::Stopped => Reason::Shutdown,
            error if error.is_of_host() => Reason::host_fault(error),
            error => Reason::start_failed(error),
        }
    }
}

/// Starts cells. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Executor(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) runtime: Runtime,
    pub(crate) vat: Arc<dyn GuestVat>,
    pub(crate) ownership: Arc<Ownership>,
    pub(crate) actor: Addr<Starter>,
    pub(crate) clock: Arc<dyn Clock>,
    /// How long the turns of supervisors are.
    pub(crate) supervisors: Pace,
}

impl Spec {
    /// A program without arguments, environment, names and grants, with the limits of its owner.
    pub fn new(wasm: impl Into<Bytes>) -> Self {
        Self { name: "cell".to_owned(), wasm: wasm.into(), ..Self::default() }
    }
}

impl Serving {
    /// In this mode, with the defaults of everything else.
    pub fn new(mode: Mode) -> Self {
        Self { mode, mailbox: DEFAULT_CAPACITY, overflow: Overflow::default() }
    }
}

impl Executor {
    /// Starts the actor on an arbiter.
    pub fn start(arbiter: &ArbiterHandle, runtime: Runtime, vat: Arc<dyn GuestVat>) -> Self {
        Self::with_clock(arbiter, runtime, vat, Arc::new(SystemClock::default()))
    }

    /// Starts the actor on an arbiter, with a clock for its supervisors.
    pub fn with_clock(
        arbiter: &ArbiterHandle,
        runtime: Runtime,
        vat: Arc<dyn GuestVat>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let ownership = Arc::new(Ownership::new(runtime.account().clone()));
        let starter = Starter::new(Arc::clone(&ownership));
        let actor = Starter::start_in_arbiter(arbiter, |_| starter);
        Self(Arc::new(Shared { runtime, vat, ownership, actor, clock, supervisors: Pace::default() }))
    }

    /// What is held for all that runs.
    pub fn account(&self) -> &Account {
        self.0.runtime.account()
    }

    /// The program of these bytes, for cells with this much memory, on behalf of an owner: compiled at the first time,
    /// known later. Cancel safe: a compilation that nobody waits for is ended.
    ///
    /// # Errors
    ///
    /// Where the bytes are no program that the node can run or compile, or too many programs of the owner wait.
    pub async fn load(&self, owner: Owner, wasm: Bytes, limits: &Limits) -> Result<Program, SpawnError> {
        let (lineage, class) = (self.0.ownership.lineage(owner), Class::for_memory(limits.memory));
        Ok(self.0.runtime.load_for(&lineage, wasm, class).await?)
    }

    /// Starts a supervisor, and waits until its first children have started. It lives until it is stopped, gives up, or
    /// its owner ends; the handle does not keep it alive. Not cancel safe: the start goes on.
    ///
    /// # Errors
    ///
    /// Where the spec contradicts itself, a first child cannot be started, or a limit is reached.
    pub async fn supervisor(&self, owner: Owner, supervision: Supervision) -> Result<SupervisorHandle, SpawnError> {
        supervisor::start(&self.0, owner, &supervision).await
    }

    /// Starts a cell whose `main` runs once, with pipes for its streams. Cancel safe: a start that nobody waits for
    /// any more is ended.
    ///
    /// # Errors
    ///
    /// Where the program cannot be run, a limit is reached, or owner or node have ended.
    pub async fn run(&self, owner: Owner, spec: Spec) -> Result<(Process, Streams), SpawnError> {
        self.run_attached(owner, spec, Attachment::default()).await
    }

    /// The same for an owner that says how it connects itself with the streams. Cancel safe, as [`Executor::run`].
    ///
    /// # Errors
    ///
    /// As [`Executor::run`].
    pub async fn run_attached(
        &self,
        owner: Owner,
        spec: Spec,
        attachment: Attachment,
    ) -> Result<(Process, Streams), SpawnError> {
        let id = self.directory().next_id();
        let (stdin, guest_stdin) = pipe::pipe_of_terminal(pipe::CAPACITY, attachment.stdin_terminal);
        let (guest_stdout, stdout) = pipe::pipe_of_terminal(pipe::CAPACITY, attachment.stdout_terminal);
        let (guest_tail, stderr) = tail::tail(id);
        let guest_stdout = Arc::new(guest_stdout);
        let (guest_stderr, held) = match attachment.errors {
            Errors::Tail => (Stderr::Tail(guest_tail), None),
            Errors::Merged => (Stderr::Both(Arc::clone(&guest_stdout), guest_tail), Some(pipe::Reader::empty())),
            Errors::Held => {
                let (guest_held, held) = pipe::pipe_of_terminal(pipe::CAPACITY, attachment.stderr_terminal);
                (Stderr::Both(guest_held.into(), guest_tail), Some(held))
            }
        };
        let stdio = Stdio { stdin: guest_stdin.into(), stdout: guest_stdout, stderr: guest_stderr };
        let started = self.start_cell(owner, id, spec, Task::Main(stdio)).await?;
        Ok((self.process(started), Streams { stdin, stdout, stderr, held }))
    }

    /// Starts a cell whose `main` runs once, with the given streams. Cancel safe, as [`Executor::run`].
    ///
    /// # Errors
    ///
    /// As [`Executor::run`].
    pub async fn run_with(&self, owner: Owner, spec: Spec, stdio: Stdio) -> Result<Process, SpawnError> {
        let id = self.directory().next_id();
        let started = self.start_cell(owner, id, spec, Task::Main(stdio)).await?;
        Ok(self.process(started))
    }

    /// Starts a cell that serves messages until it ends, and whose standard error goes to the log. It ends when what is
    /// returned is dropped. Cancel safe, as [`Executor::run`].
    ///
    /// # Errors
    ///
    /// As [`Executor::run`], and where the program does not export what the mode needs.
    pub async fn spawn(&self, owner: Owner, spec: Spec, serving: Serving) -> Result<Process, SpawnError> {
        let id = self.directory().next_id();
        let stderr = Stderr::Tail(tail::tail(id).0);
        let started = self.start_cell(owner, id, spec, Task::Serve(serving, stderr)).await?;
        Ok(self.process(started))
    }

    /// [`Executor::spawn`] of a cell whose standard error goes somewhere else.
    ///
    /// # Errors
    ///
    /// As [`Executor::spawn`].
    pub async fn spawn_with(
        &self,
        owner: Owner,
        spec: Spec,
        serving: Serving,
        stderr: Stderr,
    ) -> Result<Process, SpawnError> {
        let id = self.directory().next_id();
        let started = self.start_cell(owner, id, spec, Task::Serve(serving, stderr)).await?;
        Ok(self.process(started))
    }

    /// The cells that live on this node.
    pub fn directory(&self) -> &Directory {
        self.0.runtime.directory()
    }

    /// Whether a cell, supervisor or session has a place below another one in the tree.
    pub fn is_below(&self, id: CellId, above: CellId) -> bool {
        self.0.ownership.is_below(id, above)
    }

    /// Everything that has a place in the tree, in the order in which it was taken.
    pub fn owners(&self) -> Vec<Owned> {
        self.0.ownership.owners()
    }

    /// Asks every cell to end, at once and the youngest first, and waits until nothing runs.
    /// Supervisors end their children in their order, within 8 s. Nothing starts from now on.
    pub async fn stop(&self) {
        // The answer is never lost: what gives it is held here.
        let _ = self.0.ownership.stop().await;
    }

    /// Waits until nothing runs. Cancel safe.
    pub async fn quiet(&self) {
        let _ = self.0.ownership.quiet().await;
    }

    fn process(&self, Started { cell, exit }: Started) -> Process {
        Process { cell, exit, ownership: Some(Arc::downgrade(&self.0.ownership)), kept: None }
    }

    async fn start_cell(&self, owner: Owner, id: CellId, spec: Spec, task: Task) -> Result<Started, SpawnError> {
        let stop = Stop::default();
        match self.0.begin(Request { owner, id, spec, task, stop: stop.clone(), supervised: None })? {
            Begun::Started(started) => Ok(started),
            Begun::Loading(load) => {
                let mut guard = StopUnlessTaken(Some(stop));
                let started = self.send(*load).await??;
                guard.0 = None;
                Ok(started)
            }
        }
    }

    pub(crate) async fn send<M>(&self, message: M) -> Result<M::Result, SpawnError>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Starter: Handler<M>,
    {
        self.0.actor.send(message).await.map_err(|_| SpawnError::Stopped)
    }
}

/// Ends a cell whose start was cancelled.
struct StopUnlessTaken(Option<Stop>);

impl Drop for StopUnlessTaken {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.request(Reason::Shutdown);
        }
    }
}

#[cfg(test)]
mod tests;
