//! The supervisor actor: it drives the state machine of [`ww_core::supervisor`].
//!
//! It owns its children: cells in slots, and supervisors. In come the answers to starts, the ends of children, elapsed
//! timers, calls, and the word of its own supervisor or owner; out go starts, stops, answers and events. Its own place
//! is in the tree of the [starter](crate::starter), below its owner and above its children. It ends when its machine is
//! done, after all its children. No handler waits, so that it answers while children start, stop or wait for their
//! restart.
//!
//! Bounded are its children, by its options and its owner's limits; calls that wait, by the machine; and starts at the
//! same time, by [`STARTING_AT_ONCE`].

mod handle;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, WrapFuture};
use tokio::sync::oneshot;
use ww_cell::{Slot, Stderr, Stop, tail};
use ww_core::{
    CellId, Limits, SlotId, events,
    exit::{self, Reason},
    links::Exit,
    supervisor::{
        self as machine, Answer, Call, CallId, ChildId, Effect, Event, Incarnation, Report, Supervisor, Target,
    },
};

pub use handle::{CallError, Child, ChildInfo, ChildStatus, SupervisorHandle, Which};

use crate::{
    Clock, Owner, Process, SpawnError, Spec, Supervision,
    blueprint::{Blueprint, CellBlueprint},
    executor::{MAX_STARTING, Shared, Task},
    starter::{Adopt, ChildEnded, StartCell, Started, Supervised, SupervisorEnded},
};

/// Cells that one supervisor starts at the same time: a thousand that trap together come back in turn, and each start
/// finds a place in the queue of their owner.
const STARTING_AT_ONCE: usize = 8;

const _: () = assert!(STARTING_AT_ONCE <= MAX_STARTING);

/// The driver of one supervisor.
pub(crate) struct Driver {
    id: CellId,
    /// Holds its name, and stands for it in events. Nobody serves it.
    own: Slot,
    machine: Supervisor<Blueprint>,
    limits: Limits,
    executor: Weak<Shared>,
    clock: Arc<dyn Clock>,
    places: HashMap<machine::Slot, Place>,
    lives: HashMap<Incarnation, Life>,
    /// Which incarnation a cell or supervisor is.
    ids: HashMap<CellId, Incarnation>,
    /// Cells whose turn to be started has not come.
    waiting: VecDeque<Incarnation>,
    starting: usize,
    calls: HashMap<CallId, oneshot::Sender<Result<Told, CallError>>>,
    next_call: u64,
    ready: Option<oneshot::Sender<()>>,
    supervisor: Option<Recipient<ChildEnded>>,
    waiters: Option<exit::Notifier>,
}

/// What stays of a child while incarnations come and go.
struct Place {
    id: SlotId,
    /// Of a cell.
    slot: Option<Slot>,
    /// The last that was started, as callers know the child while it is restarted.
    last: Option<Incarnation>,
    /// Why nobody lives there, if nobody is coming.
    vacated: Option<Reason>,
}

/// One life of a child.
struct Life {
    slot: machine::Slot,
    state: State,
}

enum State {
    /// A cell that has to wait until others have started.
    Waiting(Arc<CellBlueprint>),
    /// A cell that is being loaded.
    Loading(Stop),
    /// A cell; `ready` when its instance is there.
    Cell { process: Process, ready: bool },
    /// A supervisor that has no place in the tree yet. It is told to stop when it has one.
    Joining(SupervisorHandle, Option<machine::Stop>),
    /// A supervisor; `ready` when its first children have started.
    Supervisor { handle: SupervisorHandle, ready: bool },
}

/// The answer to a call.
pub(crate) enum Told {
    Child(ChildInfo),
    Done,
    Children(Vec<ChildInfo>),
    Counts(machine::Counts),
}

/// Starts the first children; the answer is dropped if that fails.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Begin {
    pub(crate) limits: Limits,
    pub(crate) ready: oneshot::Sender<()>,
}

/// What its supervisor or owner tells it.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum Tell {
    Stop,
    Kill,
}

/// What somebody asks of it.
#[derive(Message)]
#[rtype(result = "Result<Told, CallError>")]
pub(crate) enum Ask {
    Start(crate::ChildSpec),
    StartInstance(Option<Blueprint>),
    Terminate(Which),
    Restart(ChildId),
    Delete(ChildId),
    Children,
    Count,
}

/// Starts a supervisor and waits until its first children have started.
pub(crate) async fn start(
    shared: &Arc<Shared>,
    owner: Owner,
    supervision: &Supervision,
) -> Result<SupervisorHandle, SpawnError> {
    let handle = create(shared, supervision, None)?;
    let ready = join(shared, owner, supervision.limits.clone(), &handle).await?;
    started(&handle, ready).await.map_err(SpawnError::NotStarted)?;
    Ok(handle)
}

/// Makes the actor of a supervisor, which has no place in the tree yet.
fn create(
    shared: &Arc<Shared>,
    supervision: &Supervision,
    supervisor: Option<Recipient<ChildEnded>>,
) -> Result<SupervisorHandle, SpawnError> {
    let directory = shared.runtime.directory();
    let id = directory.next_id();
    let machine = supervision.machine(id.get())?;
    let own = directory.new_slot_not_served();
    if let Some(name) = &supervision.name
        && let Err(error) = directory.name_slot(&own, name.clone())
    {
        directory.remove_slot(&own, &Reason::start_failed(&error));
        return Err(SpawnError::Refused(error.into()));
    }
    let (waiters, exit) = exit::channel();
    let slot = own.id();
    let (executor, clock) = (Arc::downgrade(shared), Arc::clone(&shared.clock));
    let driver = Driver::start_in_arbiter(&shared.arbiter, move |_| Driver {
        id,
        own,
        machine,
        limits: Limits::default(),
        executor,
        clock,
        places: HashMap::new(),
        lives: HashMap::new(),
        ids: HashMap::new(),
        waiting: VecDeque::new(),
        starting: 0,
        calls: HashMap::new(),
        next_call: 0,
        ready: None,
        supervisor,
        waiters: Some(waiters),
    });
    let simple = supervision.options.strategy == machine::Strategy::SimpleOneForOne;
    Ok(SupervisorHandle::new(id, slot, simple, exit, driver))
}

/// Takes a place in the tree, and begins. What is returned resolves when the first children have started. A supervisor
/// that gets no place leaves nothing behind.
async fn join(
    shared: &Arc<Shared>,
    owner: Owner,
    limits: Option<Limits>,
    handle: &SupervisorHandle,
) -> Result<oneshot::Receiver<()>, SpawnError> {
    let (ready, started) = oneshot::channel();
    let adopt = Adopt { owner, id: handle.id(), limits, driver: handle.driver().clone(), ready };
    let adopted = shared.actor.send(adopt).await.map_err(|_| SpawnError::Stopped).flatten();
    if let Err(error) = &adopted {
        let directory = shared.runtime.directory();
        if let Some(slot) = directory.slot(handle.slot()) {
            directory.remove_slot(&slot, &Reason::start_failed(error));
        }
    }
    adopted.map(|()| started)
}

/// Waits until the first children of a supervisor have started. The error is why it has ended instead.
async fn started(handle: &SupervisorHandle, ready: oneshot::Receiver<()>) -> Result<(), Reason> {
    match ready.await {
        Ok(()) => Ok(()),
        Err(_) => Err(handle.exit().wait().await),
    }
}

impl Actor for Driver {
    type Context = Context<Self>;
}

impl Handler<Begin> for Driver {
    type Result = ();

    fn handle(&mut self, Begin { limits, ready }: Begin, ctx: &mut Self::Context) {
        self.limits = limits;
        self.ready = Some(ready);
        self.drive(Event::Start, ctx);
    }
}

impl Handler<Tell> for Driver {
    type Result = ();

    fn handle(&mut self, tell: Tell, ctx: &mut Self::Context) {
        let event = match tell {
            Tell::Stop => Event::Stop,
            Tell::Kill => Event::Kill,
        };
        self.drive(event, ctx);
    }
}

impl Handler<ChildEnded> for Driver {
    type Result = ();

    fn handle(&mut self, ChildEnded { id, reason }: ChildEnded, ctx: &mut Self::Context) {
        let Some(incarnation) = self.ids.remove(&id) else { return };
        let ready = match self.lives.remove(&incarnation) {
            Some(Life { state: State::Cell { ready, .. } | State::Supervisor { ready, .. }, .. }) => ready,
            _ => false,
        };
        let event = if ready { Event::Exited } else { Event::StartFailed };
        self.drive(event(incarnation, reason), ctx);
    }
}

impl Handler<Ask> for Driver {
    type Result = ResponseFuture<Result<Told, CallError>>;

    fn handle(&mut self, ask: Ask, ctx: &mut Self::Context) -> Self::Result {
        let call = match self.call(ask) {
            Ok(call) => call,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let (tx, rx) = oneshot::channel();
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, tx);
        self.drive(Event::Called(id, call), ctx);
        Box::pin(async { rx.await.unwrap_or(Err(CallError::Ended)) })
    }
}

impl Driver {
    /// Tells the machine what happened, and does what it says.
    fn drive(&mut self, event: Event<Blueprint>, ctx: &mut Context<Self>) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.machine.handle(self.clock.now(), event) {
                self.carry_out(effect, &mut events, ctx);
            }
        }
        self.start_waiting(ctx);
    }

    fn carry_out(
        &mut self,
        effect: Effect<Blueprint>,
        events: &mut VecDeque<Event<Blueprint>>,
        ctx: &mut Context<Self>,
    ) {
        match effect {
            Effect::Start { slot, incarnation, from, .. } => {
                let begun = match from {
                    Blueprint::Cell(cell) => self.enqueue(slot, incarnation, cell),
                    Blueprint::Supervisor(supervision) => self.start_supervisor(slot, incarnation, supervision, ctx),
                };
                if let Err(error) = begun {
                    events.push_back(self.not_started(slot, incarnation, &error));
                }
            }
            Effect::Stop { incarnation, how } => events.extend(self.stop(incarnation, how)),
            Effect::SetTimer { timer, after } => {
                let waiting = self.clock.sleep(after).into_actor(self);
                ctx.spawn(waiting.map(move |(), actor, ctx| actor.drive(Event::Elapsed(timer), ctx)));
            }
            Effect::Reply { to, answer } => {
                if let Some(call) = self.calls.remove(&to) {
                    // Whoever asked may have stopped waiting.
                    let _ = call.send(answer.map(|answer| self.told(answer)).map_err(CallError::from));
                }
            }
            Effect::Vacated { slot, reason, kept: true } => {
                if let Some(place) = self.places.get_mut(&slot) {
                    if let Some(slot) = &place.slot {
                        slot.close(&reason);
                    }
                    place.vacated = Some(reason);
                }
            }
            Effect::Vacated { slot, reason, kept: false } => {
                if let Some(place) = self.places.remove(&slot) {
                    self.remove(&place, &reason);
                }
            }
            Effect::Report(report) => self.report(&report),
            Effect::Ready => {
                self.publish(events::Event::Started { slot: self.own.id(), cell: self.id });
                if let Some(ready) = self.ready.take() {
                    // Whoever started it may have stopped waiting.
                    let _ = ready.send(());
                }
            }
            Effect::Done(reason) => self.done(&reason, ctx),
            // The machine of this version has no others.
            _ => {}
        }
    }

    /// A cell is to be started, in its turn.
    fn enqueue(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        cell: Arc<CellBlueprint>,
    ) -> Result<(), SpawnError> {
        if !self.places.contains_key(&slot) {
            let place = self.new_place(&cell)?;
            self.places.insert(slot, place);
        }
        self.lives.insert(incarnation, Life { slot, state: State::Waiting(cell) });
        self.waiting.push_back(incarnation);
        Ok(())
    }

    fn new_place(&self, cell: &CellBlueprint) -> Result<Place, SpawnError> {
        let shared = self.executor.upgrade().ok_or(SpawnError::Stopped)?;
        let directory = shared.runtime.directory();
        let size = cell.spec.limits.as_ref().unwrap_or(&self.limits).message_size;
        let slot = directory.new_slot(cell.serving.mailbox, cell.serving.overflow, size);
        for name in &cell.spec.names {
            if let Err(error) = directory.name_slot(&slot, name.clone()) {
                directory.remove_slot(&slot, &Reason::start_failed(&error));
                return Err(SpawnError::Refused(error.into()));
            }
        }
        if let Some(Err(why)) = cell.spec.publish.as_ref().map(|publish| publish(&slot)) {
            directory.remove_slot(&slot, &Reason::start_failed(&why));
            return Err(SpawnError::NotPublished(why));
        }
        Ok(Place { id: slot.id(), slot: Some(slot), last: None, vacated: None })
    }

    /// Starts as many of the cells that wait as may start at the same time.
    fn start_waiting(&mut self, ctx: &mut Context<Self>) {
        while self.starting < STARTING_AT_ONCE {
            let Some(incarnation) = self.waiting.pop_front() else { return };
            let Some(Life { slot, state: State::Waiting(cell) }) = self.lives.remove(&incarnation) else { continue };
            let place = self.places.get(&slot).and_then(|place| place.slot.clone());
            let (Some(shared), Some(place)) = (self.executor.upgrade(), place) else {
                let event = self.not_started(slot, incarnation, &SpawnError::Stopped);
                return self.drive(event, ctx);
            };
            let (id, stop) = (shared.runtime.directory().next_id(), Stop::default());
            let limits = cell.spec.limits.clone().unwrap_or_else(|| self.limits.clone());
            let request = StartCell {
                owner: Owner::Cell(self.id),
                id,
                spec: Spec { limits: Some(limits), ..cell.spec.clone() },
                task: Task::Serve(cell.serving, Stderr::Tail(tail::tail(id).0)),
                stop: stop.clone(),
                supervised: Some(Supervised { slot: place, supervisor: ctx.address().recipient() }),
                executor: Weak::clone(&self.executor),
            };
            self.starting += 1;
            self.ids.insert(id, incarnation);
            self.lives.insert(incarnation, Life { slot, state: State::Loading(stop) });
            let starting = shared.actor.send(request);
            let starting = async move { starting.await.map_err(|_| SpawnError::Stopped).flatten() };
            ctx.spawn(starting.into_actor(self).map(move |started, actor, ctx| {
                actor.starting -= 1;
                actor.loaded(slot, incarnation, id, started, ctx);
            }));
        }
    }

    /// A cell has been loaded, and its instance is on its way.
    fn loaded(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        id: CellId,
        started: Result<Started, SpawnError>,
        ctx: &mut Context<Self>,
    ) {
        match started {
            Err(error) => {
                self.ids.remove(&id);
                self.lives.remove(&incarnation);
                let event = self.not_started(slot, incarnation, &error);
                self.drive(event, ctx);
            }
            // Its end may be known already.
            Ok(Started { cell, exit }) => {
                if let Some(life) = self.lives.get_mut(&incarnation) {
                    let process = Process { cell: cell.clone(), exit, executor: None, kept: None };
                    life.state = State::Cell { process, ready: false };
                    let serving = async move { cell.serving().await };
                    ctx.spawn(serving.into_actor(self).map(move |serving, actor, ctx| {
                        // If it has ended instead, its end is on its way.
                        if serving.is_ok() {
                            actor.has_started(incarnation, ctx);
                        }
                    }));
                }
                self.start_waiting(ctx);
            }
        }
    }

    fn start_supervisor(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        supervision: Arc<Supervision>,
        ctx: &mut Context<Self>,
    ) -> Result<(), SpawnError> {
        let shared = self.executor.upgrade().ok_or(SpawnError::Stopped)?;
        let handle = create(&shared, &supervision, Some(ctx.address().recipient()))?;
        let place =
            self.places.entry(slot).or_insert(Place { id: handle.slot(), slot: None, last: None, vacated: None });
        place.id = handle.slot();
        self.ids.insert(handle.id(), incarnation);
        self.lives.insert(incarnation, Life { slot, state: State::Joining(handle.clone(), None) });
        let owner = Owner::Cell(self.id);
        let limits = supervision.limits.clone();
        let joining = async move {
            let joined = join(&shared, owner, limits, &handle).await;
            (handle, joined)
        };
        ctx.spawn(joining.into_actor(self).map(move |(handle, joined), actor, ctx| {
            actor.joined(slot, incarnation, handle, joined, ctx);
        }));
        Ok(())
    }

    /// A supervisor has its place in the tree, or has none.
    fn joined(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        handle: SupervisorHandle,
        joined: Result<oneshot::Receiver<()>, SpawnError>,
        ctx: &mut Context<Self>,
    ) {
        let ready = match joined {
            Ok(ready) => ready,
            Err(error) => {
                self.ids.remove(&handle.id());
                self.lives.remove(&incarnation);
                let event = self.not_started(slot, incarnation, &error);
                return self.drive(event, ctx);
            }
        };
        let Some(life) = self.lives.get_mut(&incarnation) else { return };
        let joining = State::Supervisor { handle: handle.clone(), ready: false };
        if let State::Joining(_, Some(how)) = std::mem::replace(&mut life.state, joining) {
            tell(&handle, how);
            return;
        }
        let beginning = async move { started(&handle, ready).await };
        ctx.spawn(beginning.into_actor(self).map(move |begun, actor, ctx| {
            // If it has ended instead, its end is on its way.
            if begun.is_ok() {
                actor.has_started(incarnation, ctx);
            }
        }));
    }

    fn has_started(&mut self, incarnation: Incarnation, ctx: &mut Context<Self>) {
        let Some(life) = self.lives.get_mut(&incarnation) else { return };
        match &mut life.state {
            State::Cell { ready, .. } | State::Supervisor { ready, .. } => *ready = true,
            State::Waiting(_) | State::Loading(_) | State::Joining(..) => return,
        }
        if let Some(place) = self.places.get_mut(&life.slot) {
            place.last = Some(incarnation);
            place.vacated = None;
        }
        self.drive(Event::Started(incarnation), ctx);
    }

    /// A child could not be started.
    fn not_started(&self, slot: machine::Slot, incarnation: Incarnation, error: &SpawnError) -> Event<Blueprint> {
        let reason = match error {
            SpawnError::Cancelled(reason) | SpawnError::NotStarted(reason) => reason.clone(),
            error => Reason::start_failed(error),
        };
        if let Some(place) = self.places.get(&slot) {
            self.publish(events::Event::StartFailed { slot: place.id, reason: reason.clone() });
        }
        Event::StartFailed(incarnation, reason)
    }

    /// Stops an incarnation. What its end is, if it is known at once.
    fn stop(&mut self, incarnation: Incarnation, how: machine::Stop) -> Option<Event<Blueprint>> {
        let reason = match how {
            machine::Stop::Shutdown => Reason::Shutdown,
            machine::Stop::Kill => Reason::Killed,
        };
        let shared = self.executor.upgrade();
        match &mut self.lives.get_mut(&incarnation)?.state {
            State::Waiting(_) => {
                self.lives.remove(&incarnation);
                return Some(Event::StartFailed(incarnation, reason));
            }
            State::Loading(stop) => stop.request(reason),
            State::Cell { process, .. } => {
                let cell = process.cell();
                // A cell that traps exits is told, and ends by itself.
                let told = how == machine::Stop::Shutdown
                    && shared.is_some_and(|shared| {
                        shared.runtime.directory().exit(self.id, cell.id(), Exit::With(Reason::Shutdown))
                    });
                if !told {
                    cell.stop(reason);
                }
            }
            State::Joining(_, told) => *told = Some(how),
            State::Supervisor { handle, .. } => tell(handle, how),
        }
        None
    }

    fn call(&self, ask: Ask) -> Result<Call<Blueprint>, CallError> {
        Ok(match ask {
            Ask::Start(spec) => Call::StartChild(spec),
            Ask::StartInstance(from) => Call::StartInstance(from),
            Ask::Terminate(Which::Id(id)) => Call::TerminateChild(Target::Id(id)),
            Ask::Terminate(Which::Instance(slot)) => {
                let place = self.places.values().find(|place| place.id == slot);
                let last = place.and_then(|place| place.last).ok_or(machine::Error::NotFound)?;
                Call::TerminateChild(Target::Instance(last))
            }
            Ask::Restart(id) => Call::RestartChild(id),
            Ask::Delete(id) => Call::DeleteChild(id),
            Ask::Children => Call::WhichChildren,
            Ask::Count => Call::CountChildren,
        })
    }

    fn told(&self, answer: Answer) -> Told {
        match answer {
            Answer::Started(incarnation) => {
                let slot = self.lives.get(&incarnation).map(|life| life.slot);
                Told::Child(ChildInfo {
                    id: None,
                    slot: slot.and_then(|slot| self.places.get(&slot)).map(|place| place.id),
                    kind: machine::Kind::Worker,
                    status: self.child(incarnation).map_or(ChildStatus::Stopped, ChildStatus::Running),
                })
            }
            Answer::Children(children) => Told::Children(children.into_iter().map(|child| self.info(child)).collect()),
            Answer::Counts(counts) => Told::Counts(counts),
            // The machine of this version has no others.
            Answer::Done | _ => Told::Done,
        }
    }

    fn info(&self, machine::Child { slot, id, status, kind }: machine::Child) -> ChildInfo {
        let status = match status {
            machine::Status::Starting(_) => ChildStatus::Starting,
            machine::Status::Running(incarnation) => {
                // Its end is known to this actor before the machine has heard of it.
                self.child(incarnation).map_or(ChildStatus::Stopped, ChildStatus::Running)
            }
            machine::Status::Stopping(_) => ChildStatus::Stopping,
            machine::Status::Restarting => ChildStatus::Restarting,
            machine::Status::Undefined => ChildStatus::Stopped,
        };
        ChildInfo { id, slot: self.places.get(&slot).map(|place| place.id), kind, status }
    }

    fn child(&self, incarnation: Incarnation) -> Option<Child> {
        match &self.lives.get(&incarnation)?.state {
            State::Cell { process, .. } => Some(Child::Cell(process.observer())),
            State::Joining(handle, _) | State::Supervisor { handle, .. } => Some(Child::Supervisor(handle.clone())),
            State::Waiting(_) | State::Loading(_) => None,
        }
    }

    fn report(&self, report: &Report) {
        match report {
            Report::Restart { slot, after, count } => {
                if let Some(place) = self.places.get(slot) {
                    self.publish(events::Event::Restarting { slot: place.id, after: *after, count: *count });
                }
            }
            Report::Escalated { why, .. } => {
                self.publish(events::Event::Escalated { slot: self.own.id(), why: *why });
            }
            // The machine of this version has no others.
            _ => {}
        }
    }

    fn publish(&self, event: events::Event) {
        if let Some(shared) = self.executor.upgrade() {
            shared.runtime.directory().events().publish(event);
        }
    }

    fn remove(&self, place: &Place, reason: &Reason) {
        if let (Some(shared), Some(slot)) = (self.executor.upgrade(), &place.slot) {
            shared.runtime.directory().remove_slot(slot, reason);
        }
    }

    /// The machine has ended, after all its children: names, events, then the news.
    fn done(&mut self, reason: &Reason, ctx: &mut Context<Self>) {
        for place in std::mem::take(&mut self.places).into_values() {
            self.remove(&place, place.vacated.as_ref().unwrap_or(reason));
        }
        self.ready = None;
        if let Some(shared) = self.executor.upgrade() {
            let directory = shared.runtime.directory();
            directory.remove_slot(&self.own, reason);
            directory.events().publish(events::Event::Exited {
                slot: self.own.id(),
                cell: self.id,
                reason: reason.clone(),
            });
            if let Some(waiters) = self.waiters.take() {
                let supervisor = self.supervisor.take();
                shared.actor.do_send(SupervisorEnded { id: self.id, reason: reason.clone(), supervisor, waiters });
            }
        }
        actix::ActorContext::stop(ctx);
    }
}

fn tell(handle: &SupervisorHandle, how: machine::Stop) {
    let how = match how {
        machine::Stop::Shutdown => Tell::Stop,
        machine::Stop::Kill => Tell::Kill,
    };
    handle.driver().do_send(how);
}

#[cfg(test)]
mod tests;
