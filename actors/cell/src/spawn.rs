//! From a spec to a running cell, and what happens at its end.

use std::{future::Future, sync::Arc};

use futures::FutureExt;
use ww_core::{
    CellId,
    exit::{self, Reason},
    lend, task,
};

use crate::{
    announced::{Pending, SlotOwner, Task, Work},
    cell::{Cell, Mode, NotExported, Refusal, Spec},
    incarnation::Start,
    own::Own,
    program::Program,
    runtime::Runtime,
    slot::Slot,
    stdio::{Input, Output, Stderr, Stdio},
    stop::Stop,
};

impl Runtime {
    /// Runs the `main` of a program once, as a task of its own, until it ends or `stop` is requested. A program
    /// without `main` ends with [`Reason::StartFailed`].
    ///
    /// # Errors
    ///
    /// Where a name of the spec cannot be registered.
    pub fn run_main(
        &self,
        id: CellId,
        program: Program,
        spec: Spec,
        stdio: Stdio,
        stop: Stop,
    ) -> Result<Cell, Refusal> {
        Ok(self.announce(id, spec, Work::Main(stdio), stop)?.start(program))
    }

    /// Starts a cell in a slot of its own, which ends with it. It serves its mailbox until it ends or `stop` is
    /// requested.
    ///
    /// # Errors
    ///
    /// Where the program does not export what the mode needs, or a name cannot be registered.
    pub fn spawn(&self, id: CellId, program: Program, spec: Spec, stderr: Stderr, stop: Stop) -> Result<Cell, Refusal> {
        spec.mode.check(program.exports())?;
        Ok(self.announce(id, spec, Work::Serve(stderr), stop)?.start(program))
    }

    /// Starts a cell in a slot that is there already, and stays when the cell ends. What waits in it is served by this
    /// one. The slot's mailbox and names are what they are, whatever the spec says.
    ///
    /// # Errors
    ///
    /// Where the program does not export what the mode needs.
    pub fn spawn_in(
        &self,
        slot: Slot,
        id: CellId,
        program: Program,
        spec: Spec,
        stderr: Stderr,
        stop: Stop,
    ) -> Result<Cell, NotExported> {
        spec.mode.check(program.exports())?;
        Ok(self.announce_in(slot, id, spec, Work::Serve(stderr), stop).start(program))
    }

    /// What the instances of a cell share.
    pub(crate) fn own(&self, cell: &Cell, spec: Spec) -> Arc<Own> {
        Arc::new(Own::new(cell, spec, self.directory().clone()))
    }

    /// The task of a cell: its life, and the news of its end.
    pub(crate) fn living(
        &self,
        cell: Cell,
        owner: SlotOwner,
        notifier: exit::Notifier,
        living: impl Future<Output = Reason> + Send + 'static,
    ) -> (task::Kind, impl Future<Output = ()> + Send + 'static) {
        let kind = task::Kind::detached("cell", cell.id());
        let living = task::catch(kind.clone(), living);
        let directory = self.directory().clone();
        // A combinator, because an `async` block would keep a second place for all that the cell is.
        let living = living.map(move |reason| {
            let reason = reason.unwrap_or_else(Reason::host_fault);
            cell.stopping().set_ending();
            directory.ended(&cell, &reason, owner == SlotOwner::Cell);
            notifier.notify(reason);
        });
        (kind, living)
    }
}

impl Pending {
    /// Starts the task of a cell whose program is there.
    pub(crate) fn start(self, program: Program) {
        let Self { runtime, cell, owner, notifier, spec, task } = self;
        cell.slot().occupy(cell.id());
        cell.loaded();
        runtime.directory().started(&cell);
        let pace = program.pace().clone();
        match task {
            Task::Main { stdin, stdout, stderr } => {
                stdin.charge_to(cell.account());
                stdout.charge_to(cell.account());
                let stdio = (Input::new(stdin), Output::new(stdout), stderr);
                let start = Start { own: runtime.own(&cell, spec), stdio, current: None };
                let (running, stop) = (runtime.clone(), cell.stopping().clone());
                let running = async move { running.main(&program, start, &stop, None).await };
                let (kind, living) = runtime.living(cell.clone(), owner, notifier, running);
                // Ends by its stop, its limits or by itself, so that nobody has to hold the task.
                lend::spawn_busy(&runtime.handle, kind, &pace, living);
                // There is nothing that it would have to be ready for.
                cell.serve();
            }
            Task::Serve { stderr } => {
                let (serves, served, mode) = (runtime.clone(), cell.clone(), spec.mode);
                let serving = async move {
                    match mode {
                        Mode::Async => serves.serve_live(&served, program, spec, stderr).await,
                        Mode::Sync => serves.serve_fresh(&served, program, spec, stderr).await,
                    }
                };
                let (kind, living) = runtime.living(cell, owner, notifier, serving);
                lend::spawn(&runtime.handle, kind, &pace, living);
            }
        }
    }
}
