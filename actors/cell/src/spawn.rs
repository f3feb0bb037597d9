//! From a spec to a running cell, and what happens at its end.

use std::{future::Future, sync::Arc};

use futures::FutureExt;
use ww_core::{
    CellId,
    exit::{self, Reason},
    lend, task,
};

use crate::{
    cell::{Cell, Mode, NotExported, Parts, Refusal, Spec},
    history::History,
    incarnation::Start,
    own::Own,
    program::Program,
    runtime::Runtime,
    slot::Slot,
    stdio::{Input, Output, Stderr, Stdio},
    stop::Stop,
};

/// Whether a slot ends with its incarnation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SlotOwner {
    /// It does.
    Cell,
    /// It is for somebody else to say.
    Other,
}

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
        let slot = self.named(self.directory().new_slot_not_served(), &spec)?;
        Ok(self.main_in(slot, SlotOwner::Cell, id, program, spec, stdio, stop))
    }

    /// Runs the `main` of a program in a slot that is there already, and stays when the cell ends: see
    /// [`Runtime::run_main`]. The names of the slot are what they are, whatever the spec says.
    pub fn run_main_in(&self, slot: Slot, id: CellId, program: Program, spec: Spec, stdio: Stdio, stop: Stop) -> Cell {
        self.main_in(slot, SlotOwner::Other, id, program, spec, stdio, stop)
    }

    #[expect(clippy::too_many_arguments, reason = "what two public functions have in common")]
    fn main_in(
        &self,
        slot: Slot,
        owner: SlotOwner,
        id: CellId,
        program: Program,
        spec: Spec,
        stdio: Stdio,
        stop: Stop,
    ) -> Cell {
        stdio.stderr.charge_to(&spec.account);
        let (stderr, history) = Output::stderr(stdio.stderr);
        let (cell, notifier) = self.new_cell(id, None, &spec, slot, history, stop);
        stdio.stdin.charge_to(cell.account());
        stdio.stdout.charge_to(cell.account());
        let stdio = (Input::new(stdio.stdin), Output::new(stdio.stdout), stderr);
        let own = self.own(&cell, spec);
        let start = Start { own, stdio, current: None };
        let (runtime, stop, pace) = (self.clone(), cell.stopping().clone(), program.pace().clone());
        let running = async move { runtime.main(&program, start, &stop, None).await };
        let (kind, living) = self.living(cell.clone(), owner, notifier, running);
        // Ends by its stop, its limits or by itself, so that nobody has to hold the task.
        lend::spawn_busy(&self.handle, kind, &pace, living);
        // There is nothing that it would have to be ready for.
        cell.serve();
        cell
    }

    /// Starts a cell in a slot of its own, which ends with it. It serves its mailbox until it ends or `stop` is
    /// requested.
    ///
    /// # Errors
    ///
    /// Where the program does not export what the mode needs, or a name cannot be registered.
    pub fn spawn(&self, id: CellId, program: Program, spec: Spec, stderr: Stderr, stop: Stop) -> Result<Cell, Refusal> {
        spec.mode.check(program.exports())?;
        let slot = self.directory().new_slot(spec.mailbox, spec.overflow, spec.limits.message_size, &spec.account);
        let slot = self.named(slot, &spec)?;
        Ok(self.serve(id, program, spec, slot, SlotOwner::Cell, stderr, stop))
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
        Ok(self.serve(id, program, spec, slot, SlotOwner::Other, stderr, stop))
    }

    #[expect(clippy::too_many_arguments, reason = "what two public functions have in common")]
    fn serve(
        &self,
        id: CellId,
        program: Program,
        spec: Spec,
        slot: Slot,
        owner: SlotOwner,
        stderr: Stderr,
        stop: Stop,
    ) -> Cell {
        let mode = spec.mode;
        let (stderr, history) = Output::stderr(stderr);
        let (cell, notifier) = self.new_cell(id, Some(mode), &spec, slot, history, stop);
        let (runtime, served, pace) = (self.clone(), cell.clone(), program.pace().clone());
        let serving = async move {
            match mode {
                Mode::Async => runtime.serve_live(&served, program, spec, stderr).await,
                Mode::Sync => runtime.serve_fresh(&served, program, spec, stderr).await,
            }
        };
        let (kind, living) = self.living(cell.clone(), owner, notifier, serving);
        lend::spawn(&self.handle, kind, &pace, living);
        cell
    }

    /// Gives a new slot the names of a spec, or ends it.
    fn named(&self, slot: Slot, spec: &Spec) -> Result<Slot, Refusal> {
        for name in &spec.names {
            if let Err(error) = self.directory().name_slot(&slot, name.clone()) {
                self.directory().remove_slot(&slot, &Reason::start_failed(&error));
                return Err(error.into());
            }
        }
        Ok(slot)
    }

    fn new_cell(
        &self,
        id: CellId,
        mode: Option<Mode>,
        spec: &Spec,
        slot: Slot,
        history: History,
        stop: Stop,
    ) -> (Cell, exit::Notifier) {
        let (notifier, exit) = exit::channel();
        let (name, limits, account) = (spec.name.clone(), spec.limits.clone(), spec.account.clone());
        history.charge_to(&account);
        slot.occupy(id);
        let cell = Cell::new(Parts { id, name, mode, limits, account, slot, history, exit, stop });
        self.directory().started(&cell);
        (cell, notifier)
    }

    /// What the instances of a cell share.
    pub(crate) fn own(&self, cell: &Cell, spec: Spec) -> Arc<Own> {
        Arc::new(Own::new(cell, spec, self.directory().clone()))
    }

    /// The task of a cell: its life, and the news of its end.
    fn living(
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
