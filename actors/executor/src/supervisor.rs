//! The supervisor actor: it drives the state machine of [`ww_core::supervisor`].
//!
//! It owns its children: cells in slots, and supervisors. In come the answers to starts, the ends of children, elapsed
//! timers, calls, and the word of its own supervisor or owner; out go starts, stops, answers and events. Its own place
//! is in the tree of the [starter](crate::starter), below its owner and above its children. It ends when its machine is
//! done, after all its children. No handler waits, so that it answers while children start, stop or wait for their
//! restart.
//!
//! Among the cells it has an id, which is its incarnation's, so that others can monitor it and link with it. It traps
//! exits, and no exit signal but a kill moves it: who ends it is whoever it belongs to.
//!
//! | file | what |
//! |---|---|
//! | `start` | how it comes to be |
//! | `places` | the slots of its children |
//! | `lives` | the incarnations in them |
//! | `answers` | its calls |
//! | `handle` | what holds it from outside |
//!
//! Bounded are its children, by its options and its owner's limits; calls that wait, by the machine; and starts at the
//! same time, by [`STARTING_AT_ONCE`].

mod answers;
mod handle;
mod lives;
mod places;
mod start;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
};

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, ResponseFuture, StreamHandler,
    WrapFuture,
};
use tokio::sync::oneshot;
use ww_cell::{Native, Notices, Slot};
use ww_core::{
    CellId, Limits, events,
    exit::{self, Reason},
    links::Signal,
    supervisor::{self as machine, CallId, ChildId, Effect, Event, Incarnation, Report, Supervisor},
};

pub use handle::{CallError, Child, ChildInfo, ChildStatus, SupervisorHandle, Which};
pub(crate) use start::start;

use self::{lives::Life, places::Place};
use crate::{
    Clock,
    blueprint::Blueprint,
    executor::{MAX_STARTING, Shared},
    starter::{ChildEnded, SupervisorEnded},
};

/// Cells that one supervisor starts at the same time: a thousand that trap together come back in turn, and each start
/// finds a place in the queue of their owner.
const STARTING_AT_ONCE: usize = 8;

const _: () = assert!(STARTING_AT_ONCE <= MAX_STARTING);

/// The driver of one supervisor.
pub(crate) struct Driver {
    id: CellId,
    /// Holds its name, and stands for it in events, whichever incarnation this is. Nobody serves it.
    own: Slot,
    /// Itself, as others see it; taken by its end.
    native: Option<Native>,
    /// What others send it; taken when it begins.
    notices: Option<Notices>,
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
    /// Its first children have started.
    started: bool,
    supervisor: Option<Recipient<ChildEnded>>,
    waiters: Option<exit::Notifier>,
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

impl Actor for Driver {
    type Context = Context<Self>;
}

impl Handler<Begin> for Driver {
    type Result = ();

    fn handle(&mut self, Begin { limits, ready }: Begin, ctx: &mut Self::Context) {
        self.limits = limits;
        self.ready = Some(ready);
        if let Some(notices) = self.notices.take() {
            ctx.add_stream(notices);
        }
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

    fn handle(&mut self, ChildEnded { id, reason, started }: ChildEnded, ctx: &mut Self::Context) {
        let Some(incarnation) = self.ids.remove(&id) else { return };
        if started {
            self.has_started(incarnation, ctx);
        }
        self.lives.remove(&incarnation);
        let event = if started { Event::Exited } else { Event::StartFailed };
        self.drive(event(incarnation, reason), ctx);
    }
}

impl StreamHandler<Signal> for Driver {
    /// As in OTP: it traps exits, and those of strangers are nothing to it. Its children tell it of their ends otherwise.
    fn handle(&mut self, _: Signal, _: &mut Self::Context) {}

    /// Somebody has killed it, unless this is its own end.
    fn finished(&mut self, ctx: &mut Self::Context) {
        if self.native.is_some() {
            self.drive(Event::Kill, ctx);
        }
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
                if let Err(error) = self.start(slot, incarnation, from, ctx) {
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
                    place.vacate(reason);
                }
            }
            Effect::Vacated { slot, reason, kept: false } => self.give_up(slot, &reason),
            Effect::Report(report) => self.report(&report),
            Effect::Ready => {
                self.started = true;
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

    fn report(&self, report: &Report) {
        match report {
            Report::Restart { slot, after, count } => {
                if let Some(place) = self.places.get(slot) {
                    self.publish(events::Event::Restarting { slot: place.id(), after: *after, count: *count });
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

    /// The machine has ended, after all its children: names, events, then the news.
    fn done(&mut self, reason: &Reason, ctx: &mut Context<Self>) {
        self.give_up_all(reason);
        self.ready = None;
        if let Some(shared) = self.executor.upgrade() {
            let directory = shared.runtime.directory();
            // The slot of one that has a supervisor is that one's.
            if self.supervisor.is_none() {
                directory.remove_slot(&self.own, reason);
            }
            if let Some(native) = self.native.take() {
                native.end(reason);
            }
            directory.events().publish(events::Event::Exited {
                slot: self.own.id(),
                cell: self.id,
                reason: reason.clone(),
            });
            if let Some(waiters) = self.waiters.take() {
                let supervisor = self.supervisor.take();
                let (id, reason, started) = (self.id, reason.clone(), self.started);
                shared.actor.do_send(SupervisorEnded { id, reason, started, supervisor, waiters });
            }
        }
        actix::ActorContext::stop(ctx);
    }
}

#[cfg(test)]
mod tests;
