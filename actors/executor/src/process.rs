//! A started cell as its owner sees it.

use std::{any::Any, fmt, sync::Weak};

use ww_cell::{Cell, pipe, tail};
use ww_core::{
    CellId,
    exit::{self, Reason},
};

use crate::ownership::Ownership;

/// A started cell. Dropping it ends the cell with `shutdown`, unless it is detached or has a supervisor.
pub struct Process {
    pub(crate) cell: Cell,
    pub(crate) exit: exit::Watch,
    /// What is told that nobody holds it any more; `None` if that does not matter to the cell.
    pub(crate) ownership: Option<Weak<Ownership>>,
    pub(crate) kept: Kept,
}

/// What lives as long as the cell, whoever holds the process.
pub(crate) type Kept = Option<Box<dyn Any + Send>>;

/// The owner's ends of a cell's standard streams.
#[derive(Debug)]
pub struct Streams {
    /// The writing end of its standard input.
    pub stdin: pipe::Writer,
    /// The reading end of its standard output; what nobody reads holds the cell up.
    pub stdout: pipe::Reader,
    /// The reading end of its standard error; what nobody reads is in the log.
    pub stderr: tail::Reader,
    /// The same of one whose owner asked for [`Errors::Held`], where what nobody reads holds the cell up.
    pub held: Option<pipe::Reader>,
}

/// How an owner connects itself with the standard streams of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// What becomes of standard error.
    pub errors: Errors,
    /// Whether the cell is told that its standard input comes from a terminal.
    pub stdin_terminal: bool,
    /// Whether its standard output goes to one.
    pub stdout_terminal: bool,
    /// Whether its standard error goes to one, where it is [held](Errors::Held).
    pub stderr_terminal: bool,
}

/// What becomes of a cell's standard error, besides that it goes to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errors {
    /// The newest bytes wait for a reader. The cell never waits.
    #[default]
    Tail,
    /// All of them wait for a reader, and the cell as well.
    Held,
    /// They are part of standard output, in the order in which the cell wrote to both.
    Merged,
}

impl Process {
    /// Identifies the cell.
    pub fn id(&self) -> CellId {
        self.cell.id()
    }

    /// The cell itself: its mailbox, and what it has done.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// A process of a cell that belongs to somebody else: it does not keep it alive.
    pub fn of(cell: Cell) -> Self {
        let exit = cell.exit().clone();
        Self { cell, exit, ownership: None, kept: None }
    }

    /// Keeps something until the cell has ended, also when the process is dropped before: its streams, so that it is
    /// shut down and does not fail because nobody listens any more.
    pub fn keep(&mut self, something: impl Any + Send) {
        self.kept = Some(Box::new(something));
    }

    /// Lets the cell outlive the process. It ends by itself, when it is stopped, or with its owner.
    pub fn detach(&mut self) {
        self.ownership = None;
    }

    /// Another process of the same cell, which does not keep it alive.
    #[must_use]
    pub fn observer(&self) -> Self {
        Self { cell: self.cell.clone(), exit: self.exit.clone(), ownership: None, kept: None }
    }

    /// Learns of its end, now or later, any number of times.
    pub fn exit(&self) -> &exit::Watch {
        &self.exit
    }

    /// Ends it with the reason `shutdown` and waits for the end. Cancel safe.
    pub async fn shut_down(&self) -> Reason {
        self.cell.stop(Reason::Shutdown);
        self.exit.wait().await
    }

    /// Ends it with the reason `killed` and waits for the end. Cancel safe.
    pub async fn kill(&self) -> Reason {
        self.cell.stop(Reason::Killed);
        self.exit.wait().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The tree knows whether its owner is ending as well: then it has its place in the order of ends.
        let Some(ownership) = &self.ownership else { return };
        match ownership.upgrade() {
            Some(ownership) => ownership.release(self.id(), self.kept.take()),
            None => self.cell.stop(Reason::Shutdown),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("id", &self.id()).field("exit", &self.exit).finish_non_exhaustive()
    }
}
