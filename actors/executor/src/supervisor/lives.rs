//! The lives of children: how incarnations are started in their slots, and how they are told to stop.

use std::{collections::VecDeque, sync::Arc};

use futures::FutureExt;
use ww_cell::{Slot, Stderr, Stop, tail};
use ww_core::{
    CellId, events,
    exit::Reason,
    links::Exit,
    supervisor::{self as machine, Event, Incarnation},
};

use super::{
    Driver, STARTING_AT_ONCE, SupervisorHandle, Tell,
    inbox::Waited,
    retries::was_ended,
    start::{create, join, started},
};
use crate::{
    Owner, Process, SpawnError, Spec, Supervision,
    blueprint::{Blueprint, CellBlueprint, Work},
    executor::Task,
    start::{Begun, Request, Started, Supervised},
};

/// One life of a child.
pub(super) struct Life {
    pub(super) slot: machine::Slot,
    pub(super) state: State,
}

pub(super) enum State {
    /// A child that waits because its start has failed again and again.
    Paused(Blueprint),
    /// A cell that has to wait until others have started.
    Waiting(Arc<CellBlueprint>),
    /// A cell that is being loaded.
    Loading(Stop),
    /// A cell; `ready` when its instance is there.
    Cell { process: Process, ready: bool },
    /// A supervisor; `ready` when its first children have started.
    Supervisor { handle: SupervisorHandle, ready: bool },
}

impl Driver {
    /// Starts an incarnation in the slot of its child. What came of it, if it could not be.
    pub(super) fn start(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        from: Blueprint,
    ) -> Option<Event<Blueprint>> {
        let begun = self.place(slot, &from).and_then(|place| match from {
            Blueprint::Cell(cell) => {
                // In its turn.
                self.lives.insert(incarnation, Life { slot, state: State::Waiting(cell) });
                self.waiting.push_back(incarnation);
                Ok(())
            }
            Blueprint::Supervisor(supervision) => self.start_supervisor(slot, place, incarnation, &supervision),
        });
        begun.err().map(|error| self.not_started(slot, incarnation, &error))
    }

    /// Starts an incarnation that has waited long enough after those that could not be started.
    pub(super) fn start_paused(&mut self, incarnation: Incarnation) -> Option<Event<Blueprint>> {
        match self.lives.remove(&incarnation)? {
            Life { slot, state: State::Paused(from) } => self.start(slot, incarnation, from),
            other => {
                self.lives.insert(incarnation, other);
                None
            }
        }
    }

    /// Starts as many of the cells that wait as may start at the same time, or within one message: `started_now` of them
    /// have been.
    pub(super) fn start_waiting(&mut self, started_now: &mut usize, events: &mut VecDeque<Event<Blueprint>>) {
        while self.starting + *started_now < STARTING_AT_ONCE {
            let Some(incarnation) = self.waiting.pop_front() else { return };
            let Some(Life { slot, state: State::Waiting(cell) }) = self.lives.remove(&incarnation) else { continue };
            let place = self.places.get(&slot).map(|place| place.slot.clone());
            let (Some(shared), Some(place)) = (self.executor.upgrade(), place) else {
                events.push_back(self.not_started(slot, incarnation, &SpawnError::Stopped));
                continue;
            };
            let (id, stop) = (shared.runtime.directory().next_id(), Stop::default());
            let limits = cell.spec.limits.clone().unwrap_or_else(|| self.limits.clone());
            let request = Request {
                owner: Owner::Cell(self.id),
                id,
                spec: Spec { limits: Some(limits), program: cell.program(), ..cell.spec.clone() },
                task: match &cell.work {
                    Work::Serve(serving) => Task::Serve(*serving, Stderr::Tail(tail::tail(id).0)),
                    Work::Main(stdio) => Task::Main(stdio.clone()),
                },
                stop: stop.clone(),
                supervised: Some(Supervised { slot: place, supervisor: self.inbox.clone() }),
            };
            self.ids.insert(id, incarnation);
            self.lives.insert(incarnation, Life { slot, state: State::Loading(stop) });
            let started = match shared.begin(request) {
                Ok(Begun::Loading(load)) => {
                    self.starting += 1;
                    let loading = shared.actor.send(*load);
                    let loaded = async move {
                        let started = loading.await.map_err(|_| SpawnError::Stopped).flatten();
                        Waited::Loaded(slot, incarnation, id, started)
                    };
                    self.waiting_for.push(loaded.boxed());
                    continue;
                }
                Ok(Begun::Started(started)) => Ok(started),
                Err(error) => Err(error),
            };
            *started_now += 1;
            events.extend(self.loaded(slot, incarnation, id, started));
        }
        if *started_now > 0 && !self.waiting.is_empty() && !std::mem::replace(&mut self.more, true) {
            // Others have their turn in between.
            self.inbox.start_more();
        }
    }

    /// A cell has been loaded, and its instance is on its way; or what became of it instead.
    pub(super) fn loaded(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        id: CellId,
        started: Result<Started, SpawnError>,
    ) -> Option<Event<Blueprint>> {
        match started {
            Err(error) => {
                self.ids.remove(&id);
                self.lives.remove(&incarnation);
                Some(self.not_started(slot, incarnation, &error))
            }
            Ok(Started { cell, exit }) => {
                // Its end may be known already.
                let life = self.lives.get_mut(&incarnation)?;
                let process = Process { cell: cell.clone(), exit, ownership: None, kept: None };
                life.state = State::Cell { process, ready: false };
                self.waiting_for.push(async move { Waited::Started(incarnation, cell.serving().await) }.boxed());
                None
            }
        }
    }

    fn start_supervisor(
        &mut self,
        slot: machine::Slot,
        place: Slot,
        incarnation: Incarnation,
        supervision: &Supervision,
    ) -> Result<(), SpawnError> {
        let shared = self.executor.upgrade().ok_or(SpawnError::Stopped)?;
        let (handle, driver) = create(&shared, supervision, place, Some(self.inbox.clone()))?;
        let ready = join(&shared, Owner::Cell(self.id), supervision.limits.clone(), &handle, driver)?;
        self.ids.insert(handle.id(), incarnation);
        self.lives
            .insert(incarnation, Life { slot, state: State::Supervisor { handle: handle.clone(), ready: false } });
        self.waiting_for.push(async move { Waited::Started(incarnation, started(&handle, ready).await) }.boxed());
        Ok(())
    }

    /// An incarnation has started. Nothing if that is known.
    pub(super) fn has_started(&mut self, incarnation: Incarnation) {
        let Some(life) = self.lives.get_mut(&incarnation) else { return };
        match &mut life.state {
            State::Cell { ready, .. } | State::Supervisor { ready, .. } => {
                if std::mem::replace(ready, true) {
                    return;
                }
            }
            // Its end was faster than the news of its start.
            State::Loading(_) => {}
            State::Waiting(_) | State::Paused(_) => return,
        }
        self.retries.end(life.slot);
        if let Some(place) = self.places.get_mut(&life.slot) {
            place.taken();
        }
        self.drive(Event::Started(incarnation));
    }

    /// A child could not be started.
    pub(super) fn not_started(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        error: &SpawnError,
    ) -> Event<Blueprint> {
        let reason = error.reason();
        // Nobody has ended a start that a stopping node refuses: it is not tried again at once either.
        if matches!(error, SpawnError::Stopped) || !was_ended(&reason) {
            self.retries.failed(slot);
        }
        if let Some(place) = self.places.get(&slot) {
            self.publish_of(slot, events::Event::StartFailed { slot: place.id(), reason: reason.clone() });
        }
        Event::StartFailed(incarnation, reason)
    }

    /// Stops an incarnation. What its end is, if it is known at once.
    pub(super) fn stop(&mut self, incarnation: Incarnation, how: machine::Stop) -> Option<Event<Blueprint>> {
        let reason = match how {
            machine::Stop::Shutdown => Reason::Shutdown,
            machine::Stop::Kill => Reason::Killed,
        };
        let shared = self.executor.upgrade();
        match &mut self.lives.get_mut(&incarnation)?.state {
            State::Waiting(_) | State::Paused(_) => {
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
            State::Supervisor { handle, .. } => tell(handle, how),
        }
        None
    }
}

fn tell(handle: &SupervisorHandle, how: machine::Stop) {
    let how = match how {
        machine::Stop::Shutdown => Tell::Stop,
        machine::Stop::Kill => Tell::Kill,
    };
    handle.inbox().tell(how);
}
