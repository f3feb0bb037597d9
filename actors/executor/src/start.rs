//! The start of one cell: its place, its program, its task, and what is done at its end.

use std::sync::Arc;

use ww_cell::{
    Cell, Class, Connect, Program, Room, Slot, Stop,
    cell::{self, Refusal},
};
use ww_core::{
    CellId,
    exit::{self, Reason},
};

use crate::{
    executor::{Executor, Serving, Shared, SpawnError, Spec, Task},
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
    pub(crate) spec: Spec,
    pub(crate) task: Task,
    pub(crate) stop: Stop,
    pub(crate) supervised: Option<Supervised>,
}

/// Where a supervised cell lives, and who is told of its end.
pub(crate) struct Supervised {
    pub(crate) slot: Slot,
    pub(crate) supervisor: Inbox,
}

/// A cell that has its place.
pub(crate) struct Start {
    pub(crate) request: Request,
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
    /// Takes a place for a cell, and starts it if its program is there.
    pub(crate) fn begin(self: &Arc<Self>, mut request: Request) -> Result<Begun, SpawnError> {
        let limits = request.spec.limits.take();
        let place = self.ownership.reserve(request.owner, request.id, limits, &request.stop)?;
        let class = Class::for_memory(place.limits().memory);
        let ready = request.spec.program.take().filter(|program| program.class() == class);
        let start = Start { request, place };
        match ready {
            Some(program) => Ok(Begun::Started(start.launch(Some(Arc::clone(self)), Ok(program))?)),
            None => Ok(Begun::Loading(Box::new(Load { start, executor: Arc::downgrade(self) }))),
        }
    }
}

impl Start {
    /// Starts the cell, if it is still wanted.
    pub(crate) fn launch(
        self,
        executor: Option<Arc<Shared>>,
        program: Result<Program, SpawnError>,
    ) -> Result<Started, SpawnError> {
        let Self { mut request, place } = self;
        let (owner, id) = (request.owner, request.id);
        let (slot, supervisor) = match request.supervised.take() {
            Some(Supervised { slot, supervisor }) => (Some(slot), Some(supervisor)),
            None => (None, None),
        };
        let started = place.check().and(program).and_then(|program| {
            let executor = executor.map(Executor).ok_or(SpawnError::Stopped)?;
            request.run(executor, &place, program, slot)
        });
        let cell = match started {
            Ok(cell) => cell,
            Err(error) => {
                tracing::debug!(cell = %id, %error, "a cell was not started");
                return Err(error);
            }
        };
        tracing::debug!(cell = %id, name = cell.name(), ?owner, "a cell was started");
        let (waiters, news) = exit::channel();
        let (ownership, ending) = (place.take(), cell.clone());
        cell.exit().then(move |reason| {
            report(owner, &ending, &reason);
            ownership.ended(id, Ended { reason, started: ending.has_served(), supervisor, waiters });
        });
        Ok(Started { cell, exit: news })
    }
}

impl Request {
    /// Starts the task of the cell, in this slot or one of its own.
    fn run(self, executor: Executor, place: &Place, program: Program, slot: Option<Slot>) -> Result<Cell, SpawnError> {
        let (limits, account) = (place.limits().clone(), place.account().clone());
        let Self { id, spec, task, stop, .. } = self;
        let files = spec.files.filter(|_| spec.grants.loader);
        let guest = Guest {
            id,
            grants: spec.grants.clone(),
            files: files.clone(),
            account: account.clone(),
            handed: spec.handed,
        };
        let runtime = executor.0.runtime.clone();
        let kin = Arc::clone(&executor.0.ownership) as _;
        let connect: Connect = Arc::new(move |connection| executor.0.vat.serve(&executor, guest.clone(), connection));
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
            connect: Some(connect),
            files,
            kin: Some(kin),
            ..cell::Spec::default()
        };
        match (task, slot) {
            (Task::Main(_), _) if !program.exports().run => Err(SpawnError::NoMain(program.exports())),
            (Task::Main(stdio), Some(slot)) => Ok(runtime.run_main_in(slot, id, program, cell_spec, stdio, stop)),
            (Task::Main(stdio), None) => Ok(runtime.run_main(id, program, cell_spec, stdio, stop)?),
            (Task::Serve(serving, stderr), slot) => {
                let Serving { mode, mailbox, overflow } = serving;
                let cell_spec = cell::Spec { mode, mailbox, overflow, ..cell_spec };
                match slot {
                    // What is published for it is its supervisor's affair.
                    Some(slot) => {
                        let started = runtime.spawn_in(slot, id, program, cell_spec, stderr, stop);
                        Ok(started.map_err(Refusal::from)?)
                    }
                    None => {
                        let cell = runtime.spawn(id, program, cell_spec, stderr, stop)?;
                        match spec.publish.map_or(Ok(()), |publish| publish(cell.slot())) {
                            Ok(()) => Ok(cell),
                            Err(why) => {
                                cell.stop(Reason::start_failed(&why));
                                Err(SpawnError::NotPublished(why))
                            }
                        }
                    }
                }
            }
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
