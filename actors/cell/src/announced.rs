//! A cell that has its slot and its names, and whose program is not there yet.
//!
//! It is announced when its start is asked for, so that it is seen, found by its names, and sent to while its program is
//! compiled: what arrives waits in the mailbox of its slot. Then it starts, or it is withdrawn with a reason, which those
//! learn that waited. What is dropped in between is withdrawn with `shutdown`.
//!
//! Bounded by what may start at once: whoever announces has counted the cell before.

use std::sync::Arc;

use ww_core::{
    CellId,
    exit::{self, Reason},
};

use crate::{
    cell::{Cell, Parts, Refusal, Spec},
    pipe,
    program::Program,
    runtime::Runtime,
    slot::Slot,
    stdio::{Output, Stderr, Stdio},
    stop::Stop,
    streams::Connect,
};

/// What a cell does, and with which streams.
#[derive(Debug)]
pub enum Work {
    /// It runs its `main` once.
    Main(Stdio),
    /// It serves its mailbox, in the mode of its spec, and reports here.
    Serve(Stderr),
}

/// Whether a slot ends with its incarnation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SlotOwner {
    /// It does.
    Cell,
    /// It is for somebody else to say.
    Other,
}

/// An announced cell. Dropping it withdraws it.
#[must_use = "what is dropped is withdrawn"]
pub struct Announced {
    cell: Cell,
    /// `None` once it has started or was withdrawn.
    pending: Option<Pending>,
}

/// What an announced cell is started from.
pub(crate) struct Pending {
    pub(crate) runtime: Runtime,
    pub(crate) cell: Cell,
    pub(crate) owner: SlotOwner,
    pub(crate) notifier: exit::Notifier,
    pub(crate) spec: Spec,
    pub(crate) task: Task,
}

/// What it will do. Its standard error is connected already: what the node keeps of that is the cell's.
pub(crate) enum Task {
    Main { stdin: Arc<pipe::Reader>, stdout: Arc<pipe::Writer>, stderr: Output },
    Serve { stderr: Output },
}

impl Runtime {
    /// Announces a cell in a slot of its own, which ends with it.
    ///
    /// # Errors
    ///
    /// Where a name of the spec cannot be registered.
    pub fn announce(&self, id: CellId, spec: Spec, work: Work, stop: Stop) -> Result<Announced, Refusal> {
        let directory = self.directory();
        let slot = match &work {
            Work::Main(_) => directory.new_slot_not_served(&spec.account),
            Work::Serve(_) => directory.new_slot(spec.mailbox, spec.overflow, spec.limits.message_size, &spec.account),
        };
        for name in &spec.names {
            if let Err(error) = directory.name_slot(&slot, name.clone()) {
                directory.remove_slot(&slot, &Reason::start_failed(&error));
                return Err(error.into());
            }
        }
        Ok(self.announced(slot, SlotOwner::Cell, id, spec, work, stop))
    }

    /// Announces a cell in a slot that is there already, and stays when the cell ends. The slot's mailbox and names are
    /// what they are, whatever the spec says.
    pub fn announce_in(&self, slot: Slot, id: CellId, spec: Spec, work: Work, stop: Stop) -> Announced {
        self.announced(slot, SlotOwner::Other, id, spec, work, stop)
    }

    fn announced(&self, slot: Slot, owner: SlotOwner, id: CellId, spec: Spec, work: Work, stop: Stop) -> Announced {
        let (notifier, exit) = exit::channel();
        let (name, limits, account) = (spec.name.clone(), spec.limits.clone(), spec.account.clone());
        let (mode, task, history) = match work {
            Work::Main(Stdio { stdin, stdout, stderr }) => {
                stderr.charge_to(&account);
                let (stderr, history) = Output::stderr(stderr);
                (None, Task::Main { stdin, stdout, stderr }, history)
            }
            Work::Serve(stderr) => {
                let (stderr, history) = Output::stderr(stderr);
                (Some(spec.mode), Task::Serve { stderr }, history)
            }
        };
        history.charge_to(&account);
        let cell = Cell::new(Parts { id, name, mode, limits, account, slot, history, exit, stop });
        // A slot that was closed, as nobody was coming, takes messages again.
        cell.slot().reopen();
        self.directory().announced(&cell);
        let pending = Pending { runtime: self.clone(), cell: cell.clone(), owner, notifier, spec, task };
        Announced { cell, pending: Some(pending) }
    }
}

impl Announced {
    /// The cell, as others see it by now.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Serves its connection to its node, which only a cell that starts can make.
    pub fn connect(&mut self, connect: Connect) {
        if let Some(pending) = &mut self.pending {
            pending.spec.connect = Some(connect);
        }
    }

    /// It does not start: those that wait for it are told why. What it held elsewhere is `freed` after its names and before
    /// its end is news: nobody who learns of either finds it half gone.
    pub fn withdraw(mut self, reason: Reason, freed: impl FnOnce()) {
        if let Some(pending) = self.pending.take() {
            pending.withdraw(reason, freed);
        }
    }

    /// Starts it, as a task of its own, with a program that does what the cell is for: one without the export that it needs
    /// fails to start.
    #[must_use]
    pub fn start(mut self, program: Program) -> Cell {
        if let Some(pending) = self.pending.take() {
            pending.start(program);
        }
        self.cell.clone()
    }
}

impl Pending {
    fn withdraw(self, reason: Reason, freed: impl FnOnce()) {
        let Self { runtime, cell, owner, notifier, spec, task } = self;
        cell.stopping().set_ending();
        runtime.directory().withdrawn(&cell, &reason, owner == SlotOwner::Cell);
        // Its streams end before its end is news, as those of a cell that has started.
        drop((spec, task));
        freed();
        notifier.notify(reason);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.withdraw(Reason::Shutdown, || ());
        }
    }
}
