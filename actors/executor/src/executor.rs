//! The executor actor.
//!
//! It owns the tree of cells. In come starts, ends of cells and the stop of the node; out go stops of
//! cells and, when nothing runs any more, the news of it. It is supervised by the node, and stops when the
//! node has stopped. Bounded are the starts under way for each owner, by [`MAX_STARTING`], and the cells
//! by their owners' limits. No handler waits: a start compiles outside, and comes back.

mod session;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use actix::{
    Actor, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, ResponseActFuture, WrapFuture,
};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot};
use ww_cell::{
    Cell, Class, Connect, Directory, Exports, Files, LoadError, Mode, Program, Runtime, Stderr, Stdio, Stop,
    cell::{self, Refusal},
    pipe, tail,
};
use ww_core::{
    CellId, Grants, Limits, Name,
    exit::{self, Reason},
    id::CellIds,
    mailbox::{DEFAULT_CAPACITY, Overflow},
};

use crate::{
    Process, Streams,
    process::{Kept, Release},
    tree::{Effect, Full, Owner, Tree},
    vat::{Guest, GuestVat},
};

pub use session::{Owned, Session};

/// Starts of one owner that may wait for their program to be compiled; the first of them is compiling.
pub const MAX_STARTING: usize = 17;

/// With what a cell is started.
pub struct Spec {
    /// What the program sees as its own name, and the log shows.
    pub name: String,
    /// Names that it is registered under.
    pub names: Vec<Name>,
    /// A component or a core preview 1 module.
    pub wasm: Bytes,
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
enum Task {
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
    /// A limit of an owner is reached.
    #[error(transparent)]
    Full(#[from] Full),
    /// The owner starts too many at once.
    #[error("{MAX_STARTING} cells of this owner are being started already: wait for one of them")]
    Busy,
    /// The executor is stopping, or has stopped.
    #[error("the node is stopping")]
    Stopped,
}

/// Starts cells. Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Executor(Arc<Shared>);

struct Shared {
    ids: CellIds,
    runtime: Runtime,
    vat: Arc<dyn GuestVat>,
    actor: Addr<Starter>,
}

/// The actor behind the handle.
struct Starter {
    tree: Tree,
    /// Clients among the owners.
    sessions: HashSet<CellId>,
    /// How to end what runs.
    stops: HashMap<CellId, Stop>,
    /// What those that nobody holds any more still need.
    kept: HashMap<CellId, Kept>,
    /// One compilation at a time for each owner.
    queues: HashMap<Owner, Queue>,
    waiting_for_quiet: Vec<oneshot::Sender<()>>,
}

struct Queue {
    turn: Arc<Semaphore>,
    starting: usize,
}

impl Spec {
    /// A program without arguments, environment, names and grants, with the limits of its owner.
    pub fn new(wasm: impl Into<Bytes>) -> Self {
        Self {
            name: "cell".to_owned(),
            names: Vec::new(),
            wasm: wasm.into(),
            args: Vec::new(),
            env: Vec::new(),
            limits: None,
            grants: Grants::none(),
            files: None,
        }
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
        let actor = Starter::start_in_arbiter(arbiter, |_| Starter {
            tree: Tree::default(),
            sessions: HashSet::new(),
            stops: HashMap::new(),
            kept: HashMap::new(),
            queues: HashMap::new(),
            waiting_for_quiet: Vec::new(),
        });
        let shared = Shared { ids: CellIds::default(), runtime, vat, actor };
        Self(Arc::new(shared))
    }

    /// Starts a cell whose `main` runs once, with pipes for its streams. Cancel safe: a start that nobody waits for
    /// any more is ended.
    ///
    /// # Errors
    ///
    /// Where the program cannot be run, a limit is reached, or owner or node have ended.
    pub async fn run(&self, owner: Owner, spec: Spec) -> Result<(Process, Streams), SpawnError> {
        let id = self.0.ids.next();
        let (stdin, guest_stdin) = pipe::pipe(pipe::CAPACITY);
        let (guest_stdout, stdout) = pipe::pipe(pipe::CAPACITY);
        let (guest_stderr, stderr) = tail::tail(id);
        let stdio = Stdio { stdin: guest_stdin, stdout: guest_stdout, stderr: Stderr::Tail(guest_stderr) };
        let started = self.start_cell(owner, id, spec, Task::Main(stdio)).await?;
        Ok((self.process(started), Streams { stdin, stdout, stderr }))
    }

    /// Starts a cell whose `main` runs once, with the given streams. Cancel safe, as [`Executor::run`].
    ///
    /// # Errors
    ///
    /// As [`Executor::run`].
    pub async fn run_with(&self, owner: Owner, spec: Spec, stdio: Stdio) -> Result<Process, SpawnError> {
        let id = self.0.ids.next();
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
        let id = self.0.ids.next();
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
        let id = self.0.ids.next();
        let started = self.start_cell(owner, id, spec, Task::Serve(serving, stderr)).await?;
        Ok(self.process(started))
    }

    /// The cells that live on this node.
    pub fn directory(&self) -> &Directory {
        self.0.runtime.directory()
    }

    /// Ends every cell, in reverse order of start, and waits until nothing runs. Nothing starts from now on.
    pub async fn stop(&self) {
        let (tx, rx) = oneshot::channel();
        if self.send(StopAll(tx)).await.is_ok() {
            // A lost answer means that the actor has ended, and with it everything.
            let _ = rx.await;
        }
    }

    /// Waits until nothing runs. Cancel safe.
    pub async fn quiet(&self) {
        let (tx, rx) = oneshot::channel();
        if self.send(WhenQuiet(tx)).await.is_ok() {
            let _ = rx.await;
        }
    }

    fn process(&self, Started { cell, exit }: Started) -> Process {
        Process { cell, exit, executor: self.0.actor.downgrade().recipient(), kept: None }
    }

    async fn start_cell(&self, owner: Owner, id: CellId, spec: Spec, task: Task) -> Result<Started, SpawnError> {
        let stop = Stop::default();
        let request = StartCell { owner, id, spec, task, stop: stop.clone(), executor: Arc::downgrade(&self.0) };
        let mut guard = StopUnlessTaken(Some(stop));
        let started = self.send(request).await??;
        guard.0 = None;
        Ok(started)
    }

    fn start_task(
        &self,
        id: CellId,
        spec: &Spec,
        limits: Limits,
        program: Program,
        task: Task,
        stop: Stop,
    ) -> Result<Cell, SpawnError> {
        let guest = Guest { id, grants: spec.grants.clone() };
        let executor = self.clone();
        let connect: Connect = Arc::new(move |connection| executor.0.vat.serve(&executor, guest.clone(), connection));
        let spec = cell::Spec {
            name: spec.name.clone(),
            names: spec.names.clone(),
            args: spec.args.clone(),
            env: spec.env.clone(),
            limits,
            grants: spec.grants.clone(),
            connect: Some(connect),
            files: spec.files.clone().filter(|_| spec.grants.loader),
            ..cell::Spec::default()
        };
        match task {
            Task::Main(stdio) => {
                if !program.exports().run {
                    return Err(SpawnError::NoMain(program.exports()));
                }
                Ok(self.0.runtime.run_main(id, program, spec, stdio, stop)?)
            }
            Task::Serve(Serving { mode, mailbox, overflow }, stderr) => {
                let spec = cell::Spec { mode, mailbox, overflow, ..spec };
                Ok(self.0.runtime.spawn(id, program, spec, stderr, stop)?)
            }
        }
    }

    async fn send<M>(&self, message: M) -> Result<M::Result, SpawnError>
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

impl Actor for Starter {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<Started, SpawnError>")]
struct StartCell {
    owner: Owner,
    id: CellId,
    spec: Spec,
    task: Task,
    stop: Stop,
    executor: Weak<Shared>,
}

/// A cell that runs, and how its end is learned of once its place is free.
struct Started {
    cell: Cell,
    exit: exit::Watch,
}

#[derive(Message)]
#[rtype(result = "()")]
struct StopAll(oneshot::Sender<()>);

#[derive(Message)]
#[rtype(result = "()")]
struct WhenQuiet(oneshot::Sender<()>);

impl Handler<StartCell> for Starter {
    type Result = ResponseActFuture<Self, Result<Started, SpawnError>>;

    fn handle(&mut self, start: StartCell, _: &mut Self::Context) -> Self::Result {
        let reserved = match self.reserve(&start) {
            Ok(reserved) => reserved,
            Err(error) => return Box::pin(async { Err(error) }.into_actor(self)),
        };
        let (limits, turn) = reserved;
        let load = start
            .executor
            .upgrade()
            .map(|shared| (shared.runtime.clone(), start.spec.wasm.clone(), Class::for_memory(limits.memory)));
        let loading = async move {
            let Some((runtime, wasm, class)) = load else { return Err(SpawnError::Stopped) };
            let _turn = turn.acquire().await.map_err(|_| SpawnError::Stopped)?;
            Ok(runtime.load(wasm, class).await?)
        };
        Box::pin(loading.into_actor(self).map(move |program, actor, ctx| actor.launch(start, limits, program, ctx)))
    }
}

impl Handler<Release> for Starter {
    type Result = ();

    fn handle(&mut self, Release { id, kept }: Release, _: &mut Self::Context) {
        let owner_ends = match self.tree.owner(id) {
            Some(Owner::Cell(owner)) => self.stops.get(&owner).is_none_or(Stop::is_ending),
            Some(Owner::Node) | None => false,
        };
        if let Some(stop) = self.stops.get(&id) {
            self.kept.insert(id, kept);
            // Everything that an ending cell owned ends in reverse order of start: its turn comes.
            if !owner_ends {
                stop.request(Reason::Shutdown);
            }
        }
    }
}

impl Handler<StopAll> for Starter {
    type Result = ();

    fn handle(&mut self, StopAll(done): StopAll, _: &mut Self::Context) {
        let effects = self.tree.stop();
        self.waiting_for_quiet.push(done);
        self.carry_out(effects);
    }
}

impl Handler<WhenQuiet> for Starter {
    type Result = ();

    fn handle(&mut self, WhenQuiet(done): WhenQuiet, _: &mut Self::Context) {
        self.waiting_for_quiet.push(done);
        self.carry_out(Vec::new());
    }
}

impl Starter {
    fn reserve(&mut self, start: &StartCell) -> Result<(Limits, Arc<Semaphore>), SpawnError> {
        if self.tree.is_stopping() {
            return Err(SpawnError::Stopped);
        }
        let limits = match (&start.spec.limits, start.owner) {
            (Some(limits), _) => limits.clone(),
            (None, Owner::Cell(owner)) => self.tree.limits(owner).ok_or(Full::OwnerEnded)?.clone(),
            (None, Owner::Node) => Limits::default(),
        };
        if self.queues.get(&start.owner).is_some_and(|queue| queue.starting >= MAX_STARTING) {
            return Err(SpawnError::Busy);
        }
        self.tree.reserve(start.owner, start.id, limits.clone())?;
        let queue =
            self.queues.entry(start.owner).or_insert_with(|| Queue { turn: Arc::new(Semaphore::new(1)), starting: 0 });
        queue.starting += 1;
        Ok((limits, Arc::clone(&queue.turn)))
    }

    fn launch(
        &mut self,
        start: StartCell,
        limits: Limits,
        program: Result<Program, SpawnError>,
        ctx: &mut Context<Self>,
    ) -> Result<Started, SpawnError> {
        let StartCell { owner, id, spec, task, stop, executor } = start;
        if let Some(queue) = self.queues.get_mut(&owner) {
            queue.starting -= 1;
            if queue.starting == 0 {
                self.queues.remove(&owner);
            }
        }
        let started = program.and_then(|program| {
            let executor = executor.upgrade().map(Executor).ok_or(SpawnError::Stopped)?;
            if self.tree.is_stopping() {
                return Err(SpawnError::Stopped);
            }
            if !self.tree.is_wanted(id) {
                return Err(Full::OwnerEnded.into());
            }
            executor.start_task(id, &spec, limits, program, task, stop.clone())
        });
        let cell = match started {
            Ok(cell) => cell,
            Err(error) => {
                tracing::debug!(cell = %id, name = spec.name, %error, "a cell was not started");
                let effects = self.leave(id);
                self.carry_out(effects);
                return Err(error);
            }
        };
        tracing::debug!(cell = %id, name = spec.name, ?owner, "a cell was started");
        self.stops.insert(id, stop);
        let (notifier, news) = exit::channel();
        let inner = cell.exit().clone();
        let ended = async move { inner.wait().await };
        ctx.spawn(ended.into_actor(self).map(move |reason, actor, _| {
            report(owner, id, &spec.name, &reason);
            // First its place is free, then its end is news: an owner that starts one cell after the other, at its
            // limit, is not refused.
            let effects = actor.leave(id);
            notifier.notify(reason);
            actor.carry_out(effects);
        }));
        Ok(Started { cell, exit: news })
    }

    /// The cell runs no more, or never did.
    fn leave(&mut self, id: CellId) -> Vec<Effect> {
        self.stops.remove(&id);
        self.kept.remove(&id);
        self.sessions.remove(&id);
        self.tree.ended(id)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // One that is still being compiled has no stop yet: `launch` finds that it is not wanted.
                Effect::Stop(id) => {
                    if let Some(stop) = self.stops.get(&id) {
                        stop.request(Reason::Shutdown);
                    }
                }
                Effect::Gone(id) => tracing::trace!(cell = %id, "a cell and all that it owned are gone"),
            }
        }
        // A client that has started nothing holds nobody up.
        if self.tree.len() == self.sessions.len() {
            for done in self.waiting_for_quiet.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }
}

/// Says more of an end than the event of it, where nobody else may be told why; not of the node's own cells, whose end
/// it awaits itself.
fn report(owner: Owner, id: CellId, name: &str, reason: &Reason) {
    match reason {
        _ if owner == Owner::Node => {}
        Reason::Trap(trap) => {
            tracing::warn!(cell = %id, name, %reason, backtrace = %trap.backtrace.trim_end(), "a cell ended");
        }
        Reason::HostFault(_) => tracing::error!(cell = %id, name, %reason, "a cell ended"),
        Reason::Limit(_) => tracing::warn!(cell = %id, name, %reason, "a cell ended"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
