//! The actor that owns the tree of cells and supervisors.
//!
//! In come starts, ends and the stop of the node; out go stops and, in this order, the news of an end: to the
//! supervisor, then to whoever waits for it. It is supervised by the node, and stops when the node has stopped. Bounded
//! are the starts under way for each owner, by [`MAX_STARTING`], and the cells by their owners' limits. No handler
//! waits: a start compiles outside, and comes back.

mod session;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, Recipient, ResponseActFuture, WrapFuture,
};
use tokio::sync::{Semaphore, oneshot};
use ww_cell::{Cell, Class, Program, Slot, Stop};
use ww_core::{
    CellId, Limits,
    exit::{self, Reason},
};

use crate::{
    executor::{Executor, MAX_STARTING, Shared, SpawnError, Spec, Task},
    process::{Kept, Release},
    supervisor::{Begin, Driver, Tell},
    tree::{Effect, Full, Owner, Tree},
};

pub use session::{Kind, Owned, Session};

/// The actor behind the executor.
#[derive(Default)]
pub(crate) struct Starter {
    tree: Tree,
    /// Clients among the owners.
    sessions: HashSet<CellId>,
    /// Clients whose connection was lost, until all that they owned is gone.
    lost: HashSet<CellId>,
    /// How to end what runs.
    running: HashMap<CellId, Running>,
    /// Ends that are told of when nothing is left of what had an owner there.
    ended: HashMap<CellId, Ended>,
    /// What those that nobody holds any more still need.
    kept: HashMap<CellId, Kept>,
    /// One compilation at a time for each owner.
    queues: HashMap<Owner, Queue>,
    waiting_for_quiet: Vec<oneshot::Sender<()>>,
}

/// How to end what runs.
enum Running {
    Cell(Stop),
    Supervisor(Addr<Driver>),
}

/// The end of what a supervisor started, or of a supervisor.
struct Ended {
    reason: Reason,
    started: bool,
    supervisor: Option<Recipient<ChildEnded>>,
    waiters: exit::Notifier,
}

struct Queue {
    turn: Arc<Semaphore>,
    starting: usize,
}

/// Starts a cell.
#[derive(Message)]
#[rtype(result = "Result<Started, SpawnError>")]
pub(crate) struct StartCell {
    pub(crate) owner: Owner,
    pub(crate) id: CellId,
    pub(crate) spec: Spec,
    pub(crate) task: Task,
    pub(crate) stop: Stop,
    pub(crate) supervised: Option<Supervised>,
    pub(crate) executor: Weak<Shared>,
}

/// Where a supervised cell lives, and who is told of its end.
pub(crate) struct Supervised {
    pub(crate) slot: Slot,
    pub(crate) supervisor: Recipient<ChildEnded>,
}

/// A cell that runs, and how its end is learned of once its place is free.
pub(crate) struct Started {
    pub(crate) cell: Cell,
    pub(crate) exit: exit::Watch,
}

/// Takes a place for a supervisor, and lets it begin.
#[derive(Message)]
#[rtype(result = "Result<(), SpawnError>")]
pub(crate) struct Adopt {
    pub(crate) owner: Owner,
    pub(crate) id: CellId,
    pub(crate) limits: Option<Limits>,
    pub(crate) driver: Addr<Driver>,
    pub(crate) ready: oneshot::Sender<()>,
}

/// A supervisor has ended, and all its children before it.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct SupervisorEnded {
    pub(crate) id: CellId,
    pub(crate) reason: Reason,
    /// Whether its first children had started.
    pub(crate) started: bool,
    pub(crate) supervisor: Option<Recipient<ChildEnded>>,
    pub(crate) waiters: exit::Notifier,
}

/// A child of a supervisor has ended, and all that it owned.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ChildEnded {
    pub(crate) id: CellId,
    pub(crate) reason: Reason,
    /// Whether it had started: this may be known here before the news of the start.
    pub(crate) started: bool,
}

/// Ends everything, and answers when nothing runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopAll(pub(crate) oneshot::Sender<()>);

/// Answers when nothing runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WhenQuiet(pub(crate) oneshot::Sender<()>);

impl Actor for Starter {
    type Context = Context<Self>;
}

impl Handler<StartCell> for Starter {
    type Result = ResponseActFuture<Self, Result<Started, SpawnError>>;

    fn handle(&mut self, start: StartCell, _: &mut Self::Context) -> Self::Result {
        let reserved = match self.reserve(&start) {
            Ok(reserved) => reserved,
            Err(error) => return Box::pin(async { Err(error) }.into_actor(self)),
        };
        let (limits, turn) = reserved;
        let class = Class::for_memory(limits.memory);
        let ready = start.spec.program.clone().filter(|program| program.class() == class);
        let runtime = start.executor.upgrade().map(|shared| shared.runtime.clone());
        let (wasm, stop) = (start.spec.wasm.clone(), start.stop.clone());
        let loading = async move {
            let Some(runtime) = runtime else { return Err(SpawnError::Stopped) };
            match ready {
                Some(program) => Ok(program),
                None => {
                    let _turn = turn.acquire().await.map_err(|_| SpawnError::Stopped)?;
                    Ok(runtime.load(wasm, class).await?)
                }
            }
        };
        let loading = async move {
            tokio::select! {
                biased;
                reason = stop.requested() => Err(SpawnError::Cancelled(reason)),
                program = loading => program,
            }
        };
        Box::pin(loading.into_actor(self).map(move |program, actor, ctx| actor.launch(start, limits, program, ctx)))
    }
}

impl Handler<Adopt> for Starter {
    type Result = Result<(), SpawnError>;

    fn handle(&mut self, Adopt { owner, id, limits, driver, ready }: Adopt, _: &mut Self::Context) -> Self::Result {
        if self.tree.is_stopping() {
            return Err(SpawnError::Stopped);
        }
        let limits = self.limits(limits, owner)?;
        // A supervisor has no memory of its own: what its children have is counted.
        self.tree.reserve(owner, id, limits.clone(), 0)?;
        driver.do_send(Begin { limits, ready });
        self.running.insert(id, Running::Supervisor(driver));
        Ok(())
    }
}

impl Handler<SupervisorEnded> for Starter {
    type Result = ();

    fn handle(&mut self, ended: SupervisorEnded, _: &mut Self::Context) {
        let SupervisorEnded { id, reason, started, supervisor, waiters } = ended;
        self.ended.insert(id, Ended { reason, started, supervisor, waiters });
        let effects = self.leave(id);
        self.carry_out(effects);
    }
}

impl Handler<Release> for Starter {
    type Result = ();

    fn handle(&mut self, Release { id, kept }: Release, _: &mut Self::Context) {
        let owner_ends = match self.tree.owner(id) {
            // Nothing runs in a session: once it is asked to end, it does.
            Some(Owner::Cell(owner)) if self.sessions.contains(&owner) => self.session_ends(owner),
            Some(Owner::Cell(owner)) => self.running.get(&owner).is_none_or(Running::is_ending),
            Some(Owner::Node) | None => false,
        };
        if let Some(running) = self.running.get(&id) {
            self.kept.insert(id, kept);
            // Everything that an ending cell owned ends in reverse order of start: its turn comes.
            if !owner_ends {
                running.end(Reason::Shutdown);
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

impl Running {
    /// Asks for the end. A supervisor ends in its own way.
    fn end(&self, reason: Reason) {
        match self {
            Self::Cell(stop) => stop.request(reason),
            Self::Supervisor(driver) => driver.do_send(Tell::Stop),
        }
    }

    fn is_ending(&self) -> bool {
        match self {
            Self::Cell(stop) => stop.is_ending(),
            Self::Supervisor(_) => false,
        }
    }
}

impl Starter {
    /// What is asked for, or what the owner has.
    fn limits(&self, wanted: Option<Limits>, owner: Owner) -> Result<Limits, SpawnError> {
        match (wanted, owner) {
            (Some(limits), _) => Ok(limits),
            (None, Owner::Cell(owner)) => Ok(self.tree.limits(owner).ok_or(Full::OwnerEnded)?.clone()),
            (None, Owner::Node) => Ok(Limits::default()),
        }
    }

    fn reserve(&mut self, start: &StartCell) -> Result<(Limits, Arc<Semaphore>), SpawnError> {
        if self.tree.is_stopping() {
            return Err(SpawnError::Stopped);
        }
        let limits = self.limits(start.spec.limits.clone(), start.owner)?;
        if self.queues.get(&start.owner).is_some_and(|queue| queue.starting >= MAX_STARTING) {
            return Err(SpawnError::Busy);
        }
        self.tree.reserve(start.owner, start.id, limits.clone(), limits.memory)?;
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
        let StartCell { owner, id, spec, task, stop, supervised, executor } = start;
        if let Some(queue) = self.queues.get_mut(&owner) {
            queue.starting -= 1;
            if queue.starting == 0 {
                self.queues.remove(&owner);
            }
        }
        let (slot, supervisor) = match supervised {
            Some(Supervised { slot, supervisor }) => (Some(slot), Some(supervisor)),
            None => (None, None),
        };
        let started = program.and_then(|program| {
            let executor = executor.upgrade().map(Executor).ok_or(SpawnError::Stopped)?;
            if self.tree.is_stopping() {
                return Err(SpawnError::Stopped);
            }
            if !self.tree.is_wanted(id) {
                return Err(Full::OwnerEnded.into());
            }
            executor.start_task(id, &spec, limits, program, task, slot, stop.clone())
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
        self.running.insert(id, Running::Cell(stop));
        let (waiters, news) = exit::channel();
        let inner = cell.clone();
        let ended = async move {
            let reason = inner.exit().wait().await;
            (reason, inner.has_served())
        };
        ctx.spawn(ended.into_actor(self).map(move |(reason, started), actor, _| {
            report(owner, id, &spec.name, &reason);
            // First its place is free, then its end is news: an owner that starts one cell after the other, at its
            // limit, is not refused.
            let effects = match supervisor {
                None => {
                    let effects = actor.leave(id);
                    waiters.notify(reason);
                    effects
                }
                supervisor => {
                    actor.ended.insert(id, Ended { reason, started, supervisor, waiters });
                    actor.leave(id)
                }
            };
            actor.carry_out(effects);
        }));
        Ok(Started { cell, exit: news })
    }

    /// It runs no more, or never did.
    fn leave(&mut self, id: CellId) -> Vec<Effect> {
        self.running.remove(&id);
        self.kept.remove(&id);
        self.sessions.remove(&id);
        self.tree.ended(id)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // One that is still being compiled cannot be stopped yet: `launch` finds that it is not wanted.
                Effect::Stop(id) => {
                    let of_lost = self.tree.owner(id).is_some_and(|owner| self.is_lost(owner));
                    if let Some(running) = self.running.get(&id) {
                        running.end(if of_lost { Reason::NoConnection } else { Reason::Shutdown });
                    }
                }
                Effect::Gone(id) => {
                    self.lost.remove(&id);
                    tracing::trace!(cell = %id, "a cell and all that it owned are gone");
                    if let Some(Ended { reason, started, supervisor, waiters }) = self.ended.remove(&id) {
                        if let Some(supervisor) = supervisor {
                            supervisor.do_send(ChildEnded { id, reason: reason.clone(), started });
                        }
                        waiters.notify(reason);
                    }
                }
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
