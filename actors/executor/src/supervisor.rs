//! A supervisor: an actor of its own kind, which drives the state machine of [`ww_core::supervisor`].
//!
//! It owns its children: cells in slots, and supervisors. In come the answers to starts, the ends of children, elapsed
//! timers, calls, and the word of its own supervisor or owner; out go starts, stops, answers and events. Its own place
//! is in the [tree](crate::ownership), below its owner and above its children. It ends when its machine is
//! done, after all its children. Nothing that it does waits, so that it answers while children start, stop or wait for their
//! restart.
//!
//! Among the cells it has an id, which is its incarnation's, so that others can monitor it and link with it. It traps
//! exits, and no exit signal but a kill moves it: who ends it is whoever it belongs to.
//!
//! It belongs to no thread: as with cells, its turn is taken where somebody asks it for something, or where a child has just
//! ended ([`ww_core::lend`]), and the first turn of the cell that it starts comes next there.
//!
//! | file | what |
//! |---|---|
//! | `start` | how it comes to be |
//! | `inbox` | what reaches it, and what it waits for |
//! | `places` | the slots of its children |
//! | `lives` | the incarnations in them |
//! | `retries` | how long a start waits that has failed again and again |
//! | `answers` | its calls |
//! | `handle` | what holds it from outside |
//!
//! Bounded are its children, by its options and its owner's limits; calls that wait, by the machine,
//! and on their way, by its inbox; and starts, at the same time and in one turn, by
//! [`STARTING_AT_ONCE`]. When its owner has ended it has [`GRACE`] to end.

mod answers;
mod handle;
mod inbox;
mod lives;
mod places;
mod retries;
mod start;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{AbortHandle, abortable},
};
use tokio::sync::oneshot;
use ww_cell::{Native, Slot};
use ww_core::{
    Account, CellId, Limits, events,
    exit::{self, Reason},
    supervisor::{self as machine, CallId, Effect, Event, Incarnation, Report, Supervisor, Timer},
};

pub use handle::{CallError, Child, ChildInfo, ChildStatus, SupervisorHandle, Which};
pub(crate) use inbox::{ChildEnded, Inbox, Tell};
pub(crate) use start::start;

use self::{
    inbox::{Ask, Told, Waited, Waiting},
    lives::{Life, State},
    places::Place,
    retries::{Retries, was_ended},
};
use crate::{
    Clock,
    blueprint::Blueprint,
    executor::{MAX_STARTING, Shared},
    ownership::Ended,
};

/// How long a supervisor may take to end its children, in its order and each with its own time, when
/// its owner has ended or the node stops. What is left below it then is killed. More than the 5 s that
/// one worker has, and less than the 10 s after which a container is ended by force.
const GRACE: Duration = Duration::from_secs(8);

/// Cells that one supervisor starts at the same time, and in one turn: a thousand that trap together
/// come back in turn, each start finds a place in the queue of their owner, and what others have to say
/// is heard in between.
const STARTING_AT_ONCE: usize = 8;

const _: () = assert!(STARTING_AT_ONCE <= MAX_STARTING);

/// The driver of one supervisor.
pub(crate) struct Driver {
    id: CellId,
    /// Holds its name, and stands for it in events, whichever incarnation this is. Nobody serves it.
    own: Slot,
    /// Itself, as others see it; taken by its end.
    native: Option<Native>,
    /// How its children reach it.
    inbox: Inbox,
    waiting_for: Waiting,
    machine: Supervisor<Blueprint>,
    limits: Limits,
    /// What the mailboxes of its children are charged to.
    account: Account,
    executor: Weak<Shared>,
    clock: Arc<dyn Clock>,
    places: HashMap<machine::Slot, Place>,
    lives: HashMap<Incarnation, Life>,
    /// Which incarnation a cell or supervisor is.
    ids: HashMap<CellId, Incarnation>,
    /// Cells whose turn to be started has not come.
    waiting: VecDeque<Incarnation>,
    /// Cells that are being loaded.
    starting: usize,
    /// It has told itself to start more of them.
    more: bool,
    /// Starts that fail again and again.
    retries: Retries,
    /// How to take back what the machine waits for.
    timers: HashMap<Timer, AbortHandle>,
    calls: HashMap<CallId, oneshot::Sender<Result<Told, CallError>>>,
    next_call: u64,
    ready: Option<oneshot::Sender<()>>,
    /// Its first children have started.
    started: bool,
    supervisor: Option<Inbox>,
    waiters: Option<exit::Notifier>,
    /// Its machine has ended.
    done: bool,
}

impl Driver {
    fn child_ended(&mut self, ChildEnded { id, reason, started }: ChildEnded) {
        let Some(incarnation) = self.ids.remove(&id) else { return };
        if started {
            self.has_started(incarnation);
        }
        let life = self.lives.remove(&incarnation);
        if let (Some(life), false) = (life, started)
            && !was_ended(&reason)
        {
            self.retries.failed(life.slot);
        }
        let event = if started { Event::Exited } else { Event::StartFailed };
        self.drive(event(incarnation, reason));
    }

    fn asked(&mut self, ask: Ask, answer: oneshot::Sender<Result<Told, CallError>>) {
        match self.call(ask) {
            Ok(call) => {
                let id = CallId(self.next_call);
                self.next_call += 1;
                self.calls.insert(id, answer);
                self.drive(Event::Called(id, call));
            }
            // Whoever asked may have stopped waiting.
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    /// Tells the machine what happened, and does what it says.
    fn drive(&mut self, event: Event<Blueprint>) {
        self.go_on(VecDeque::from([event]));
    }

    fn go_on(&mut self, mut events: VecDeque<Event<Blueprint>>) {
        let mut started_now = 0;
        loop {
            while let Some(event) = events.pop_front() {
                for effect in self.machine.handle(self.clock.now(), event) {
                    self.carry_out(effect, &mut events);
                }
            }
            self.start_waiting(&mut started_now, &mut events);
            if events.is_empty() {
                return;
            }
        }
    }

    fn carry_out(&mut self, effect: Effect<Blueprint>, events: &mut VecDeque<Event<Blueprint>>) {
        match effect {
            Effect::Start { slot, incarnation, from, .. } => {
                let pause = self.retries.pause(slot);
                if pause.is_zero() {
                    events.extend(self.start(slot, incarnation, from));
                } else {
                    self.lives.insert(incarnation, Life { slot, state: State::Paused(from) });
                    self.waiting_for.push(self.clock.sleep(pause).map(move |()| Waited::Paused(incarnation)).boxed());
                }
            }
            Effect::Stop { incarnation, how } => events.extend(self.stop(incarnation, how)),
            Effect::SetTimer { timer, after } => {
                let (sleep, handle) = abortable(self.clock.sleep(after));
                self.timers.insert(timer, handle);
                // One that was taken back is nothing to the machine.
                self.waiting_for.push(sleep.map(move |_| Waited::Elapsed(timer)).boxed());
            }
            Effect::TakeBack { timer } => {
                if let Some(handle) = self.timers.remove(&timer) {
                    handle.abort();
                }
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
            Effect::Done(reason) => self.done(&reason),
            // The machine of this version has no others.
            _ => {}
        }
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Restart { slot, after, count } => {
                self.retries.decided(*slot, *after);
                if let Some(place) = self.places.get(slot) {
                    let event = events::Event::Restarting { slot: place.id(), after: *after, count: *count };
                    self.publish_of(*slot, event);
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

    /// Publishes what is no news to the log if the child could not be started for a while.
    fn publish_of(&self, child: machine::Slot, event: events::Event) {
        if let Some(shared) = self.executor.upgrade() {
            let events = shared.runtime.directory().events();
            if self.retries.is_old_news(child) { events.publish_quietly(event) } else { events.publish(event) }
        }
    }

    /// The machine has ended, after all its children: names, events, then the news.
    fn done(&mut self, reason: &Reason) {
        self.done = true;
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
                let (supervisor, reason) = (self.supervisor.take(), reason.clone());
                shared.ownership.ended(self.id, Ended { reason, started: self.started, supervisor, waiters });
            }
        }
    }
}

#[cfg(test)]
mod tests;
