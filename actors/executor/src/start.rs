//! The start of one cell: its place, its slot and its names, then its program, its task, and what is done at its end.

use std::sync::Arc;

use bytes::Bytes;
use ww_cell::{Announced, Cell, Class, Program, Room, Slot, Stop, Work, cell};
use ww_core::{
    CellId,
    exit::{self, Reason},
};

use crate::{
    executor::{Executor, Serving, Shared, SpawnError, Task},
    ownership::{Ended, Ownership, Place},
    starter::Load,
    supervisor::Inbox,
    tree::Owner,
    vat::Guest,
};

/// What is to be started.
pub(crate) struct Request {
    pub(crate) owner: Owner,
    pub(crate) id: CellId,
    pub(crate) spec: crate::Spec,
    pub(crate) task: Task,
    pub(crate) stop: Stop,
    pub(crate) supervised: Option<Supervised>,
}

/// Where a supervised cell lives, and who is told of its end.
pub(crate) struct Supervised {
    pub(crate) slot: Slot,
    pub(crate) supervisor: Inbox,
}

/// A cell that has its place, its slot and its names.
pub(crate) struct Start {
    pub(crate) owner: Owner,
    pub(crate) stop: Stop,
    pub(crate) wasm: Bytes,
    guest: Guest,
    supervisor: Option<Inbox>,
    /// Dropped before the place: its names are free first.
    announced: Announced,
    pub(crate) place: Place,
}

/// A cell that runs, and how its end is learned of once its place is free.
pub(crate) struct Started {
    pub(crate) cell: Cell,
    pub(crate) exit: exit::Watch,
}

/// How far a start is.
pub(crate) enum Begun {
    /// The cell runs.
    Started(Started),
    /// Its program has to be loaded: to be sent to the starter.
    Loading(Box<Load>),
}

impl Shared {
    /// Takes a place for a cell, lets it be seen, and starts it if its program is there.
    pub(crate) fn begin(self: &Arc<Self>, mut request: Request) -> Result<Begun, SpawnError> {
        let limits = request.spec.limits.take();
        let place = self.ownership.reserve(request.owner, request.id, limits, &request.stop)?;
        let class = Class::for_memory(place.limits().memory);
        let ready = request.spec.program.take().filter(|program| program.class() == class);
        let start = request.announce(self, place)?;
        match ready {
            Some(program) => Ok(Begun::Started(start.launch(Some(Arc::clone(self)), Ok(program))?)),
            None => Ok(Begun::Loading(Box::new(Load { start, executor: Arc::downgrade(self) }))),
        }
    }
}

impl Request {
    /// Gives the cell its slot, or one of its own, with its names and what is published for it.
    fn announce(self, shared: &Shared, place: Place) -> Result<Start, SpawnError> {
        let (limits, account) = (place.limits().clone(), place.account().clone());
        let Self { owner, id, spec, task, stop, supervised } = self;
        let files = spec.files.filter(|_| spec.grants.loader);
        let guest = Guest {
            id,
            grants: spec.grants.clone(),
            files: files.clone(),
            account: account.clone(),
            handed: spec.handed,
        };
        let cell_spec = cell::Spec {
            name: spec.name,
            names: spec.names,
            args: spec.args,
            env: spec.env,
            room: place
                .bounded_by()
                .map(|ownership| -> Arc<dyn Room> { Arc::new(InstanceRoom { ownership, id, memory: limits.memory }) }),
            limits,
            account,
            grants: spec.grants,
            files,
            kin: Some(Arc::clone(&shared.ownership) as _),
            ..cell::Spec::default()
        };
        let (cell_spec, work, publish) = match task {
            Task::Main(stdio) => (cell_spec, Work::Main(stdio), None),
            Task::Serve(Serving { mode, mailbox, overflow }, stderr) => {
                (cell::Spec { mode, mailbox, overflow, ..cell_spec }, Work::Serve(stderr), spec.publish)
            }
        };
        let runtime = &shared.runtime;
        let (announced, supervisor) = match supervised {
            // What its slot is called, and what is published for it, is its supervisor's affair.
            Some(Supervised { slot, supervisor }) => {
                (runtime.announce_in(slot, id, cell_spec, work, stop.clone()), Some(supervisor))
            }
            None => {
                let announced = runtime.announce(id, cell_spec, work, stop.clone())?;
                if let Some(Err(why)) = publish.map(|publish| publish(announced.cell().slot())) {
                    announced.withdraw(Reason::start_failed(&why), || drop(place));
                    return Err(SpawnError::NotPublished(why));
                }
                (announced, None)
            }
        };
        Ok(Start { owner, stop, wasm: spec.wasm, guest, supervisor, announced, place })
    }
}

impl Start {
    /// Starts the cell, if it is still wanted, or tells those that wait for it why not.
    pub(crate) fn launch(
        self,
        executor: Option<Arc<Shared>>,
        program: Result<Program, SpawnError>,
    ) -> Result<Started, SpawnError> {
        let ready = self.place.check().and(program).and_then(|program| {
            self.check(&program)?;
            Ok((program, executor.map(Executor).ok_or(SpawnError::Stopped)?))
        });
        let Self { owner, guest, supervisor, place, mut announced, .. } = self;
        let id = guest.id;
        let (program, executor) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                tracing::debug!(cell = %id, %error, "a cell was not started");
                // An owner that starts it again once it is gone finds its names free, and its place.
                announced.withdraw(error.reason(), || drop(place));
                return Err(error);
            }
        };
        announced.connect(Arc::new(move |connection| executor.0.vat.serve(&executor, guest.clone(), connection)));
        let cell = announced.start(program);
        tracing::debug!(cell = %id, name = cell.name(), ?owner, "a cell was started");
        let (waiters, news) = exit::channel();
        let (ownership, ending) = (place.take(), cell.clone());
        cell.exit().then(move |reason| {
            report(owner, &ending, &reason);
            ownership.ended(id, Ended { reason, started: ending.has_served(), supervisor, waiters });
        });
        Ok(Started { cell, exit: news })
    }

    /// Whether a program does what the cell is for.
    fn check(&self, program: &Program) -> Result<(), SpawnError> {
        let exports = program.exports();
        match self.announced.cell().mode() {
            None if !exports.run => Err(SpawnError::NoMain(exports)),
            None => Ok(()),
            Some(mode) => Ok(mode.check(exports).map_err(cell::Refusal::from)?),
        }
    }
}

/// Room for further instances of a cell that serves its messages with fresh ones.
struct InstanceRoom {
    ownership: Arc<Ownership>,
    id: CellId,
    memory: u64,
}

impl Room for InstanceRoom {
    fn take(&self) -> bool {
        self.ownership.take_memory(self.id, self.memory)
    }

    fn give_back(&self) {
        self.ownership.give_memory(self.id, self.memory);
    }
}

/// Says more of an end than the event of it, where nobody else may be told why; not of the node's own cells, whose end
/// it awaits itself.
fn report(owner: Owner, cell: &Cell, reason: &Reason) {
    let (id, name) = (cell.id(), cell.name());
    // Its owner answers for how often it starts something that ends like this.
    let Owner::Cell(owner) = owner else { return };
    match reason {
        Reason::Trap(trap) => {
            tracing::warn!(%owner, cell = %id, name, %reason, backtrace = %trap.backtrace.trim_end(), "a cell ended");
        }
        Reason::HostFault(_) => tracing::error!(%owner, cell = %id, name, %reason, "a cell ended"),
        Reason::Limit(_) => tracing::warn!(%owner, cell = %id, name, %reason, "a cell ended"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
