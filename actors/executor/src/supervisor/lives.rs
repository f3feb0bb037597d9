//! The lives of children: how incarnations are started in their slots, and how they are told to stop.

use std::sync::{Arc, Weak};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use tokio::sync::oneshot;
use ww_cell::{Slot, Stderr, Stop, tail};
use ww_core::{
    CellId, events,
    exit::Reason,
    links::Exit,
    supervisor::{self as machine, Event, Incarnation},
};

use super::{
    Driver, STARTING_AT_ONCE, SupervisorHandle, Tell,
    start::{create, join, started},
};
use crate::{
    Owner, Process, SpawnError, Spec, Supervision,
    blueprint::{Blueprint, CellBlueprint, Work},
    executor::Task,
    starter::{StartCell, Started, Supervised},
};

/// One life of a child.
pub(super) struct Life {
    pub(super) slot: machine::Slot,
    pub(super) state: State,
}

pub(super) enum State {
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

impl Driver {
    /// Starts an incarnation in the slot of its child.
    pub(super) fn start(
        &mut self,
        slot: machine::Slot,
        incarnation: Incarnation,
        from: Blueprint,
        ctx: &mut Context<Self>,
    ) -> Result<(), SpawnError> {
        let place = self.place(slot, &from)?;
        match from {
            Blueprint::Cell(cell) => {
                // In its turn.
                self.lives.insert(incarnation, Life { slot, state: State::Waiting(cell) });
                self.waiting.push_back(incarnation);
                Ok(())
            }
            Blueprint::Supervisor(supervision) => self.start_supervisor(slot, place, incarnation, supervision, ctx),
        }
    }

    /// Starts as many of the cells that wait as may start at the same time.
    pub(super) fn start_waiting(&mut self, ctx: &mut Context<Self>) {
        while self.starting < STARTING_AT_ONCE {
            let Some(incarnation) = self.waiting.pop_front() else { return };
            let Some(Life { slot, state: State::Waiting(cell) }) = self.lives.remove(&incarnation) else { continue };
            let place = self.places.get(&slot).map(|place| place.slot.clone());
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
                task: match &cell.work {
                    Work::Serve(serving) => Task::Serve(*serving, Stderr::Tail(tail::tail(id).0)),
                    Work::Main(stdio) => Task::Main(stdio.clone()),
                },
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
        place: Slot,
        incarnation: Incarnation,
        supervision: Arc<Supervision>,
        ctx: &mut Context<Self>,
    ) -> Result<(), SpawnError> {
        let shared = self.executor.upgrade().ok_or(SpawnError::Stopped)?;
        let handle = create(&shared, &supervision, place, Some(ctx.address().recipient()))?;
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

    /// An incarnation has started. Nothing if that is known.
    pub(super) fn has_started(&mut self, incarnation: Incarnation, ctx: &mut Context<Self>) {
        let Some(life) = self.lives.get_mut(&incarnation) else { return };
        match &mut life.state {
            State::Cell { ready, .. } | State::Supervisor { ready, .. } => {
                if std::mem::replace(ready, true) {
                    return;
                }
            }
            // Its end was faster than the news of its start.
            State::Loading(_) | State::Joining(..) => {}
            State::Waiting(_) => return,
        }
        if let Some(place) = self.places.get_mut(&life.slot) {
            place.taken();
        }
        self.drive(Event::Started(incarnation), ctx);
    }

    /// A child could not be started.
    pub(super) fn not_started(
        &self,
        slot: machine::Slot,
        incarnation: Incarnation,
        error: &SpawnError,
    ) -> Event<Blueprint> {
        let reason = match error {
            SpawnError::Cancelled(reason) | SpawnError::NotStarted(reason) => reason.clone(),
            error => Reason::start_failed(error),
        };
        if let Some(place) = self.places.get(&slot) {
            self.publish(events::Event::StartFailed { slot: place.id(), reason: reason.clone() });
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
}

fn tell(handle: &SupervisorHandle, how: machine::Stop) {
    let how = match how {
        machine::Stop::Shutdown => Tell::Stop,
        machine::Stop::Kill => Tell::Kill,
    };
    handle.driver().do_send(how);
}
