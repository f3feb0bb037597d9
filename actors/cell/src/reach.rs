//! What one cell may do with others by their numbers and names: links, monitors, signals, and
//! asking for the cell that has a name.
//!
//! A number is no authority. A cell reaches
//!
//! | what | who says so |
//! |---|---|
//! | itself | |
//! | all cells and supervisors below it | the [tree of owners](Kinship) |
//! | the sender of the message in progress | its envelope |
//! | those that have a name that the grant `process` lists, while they have it | the registry |
//!
//! Everything else answers as if it had never been there. A cell that had another one in reach is
//! told that it is gone when it has ended: the tree remembers the last that ended, and each cell the
//! last [`MAX_MET`] that it had to do with.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use ww_core::{CellId, Name, grants::Reach};

use crate::{
    message::{Current, Sender},
    own::Own,
};

/// Cells that one cell had to do with, and that it can still ask for after their end: 512 bytes each.
pub const MAX_MET: usize = 64;

/// The tree of owners of all that runs on a node. Known to what starts cells.
pub trait Kinship: Send + Sync {
    /// Whether a cell is below another one in the tree of owners, or is one of the last that ended there. It is not below
    /// itself.
    fn is_below(&self, cell: CellId, above: CellId) -> bool;
}

/// The cells that one cell had to do with lately, each once.
#[derive(Debug, Default)]
pub(crate) struct Met(Mutex<VecDeque<CellId>>);

impl Met {
    fn note(&self, cell: CellId) {
        let mut met = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if met.contains(&cell) {
            return;
        }
        if met.len() >= MAX_MET {
            met.pop_front();
        }
        met.push_back(cell);
    }

    fn has(&self, cell: CellId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&cell)
    }
}

impl Own {
    /// Whether this cell may link with another one, monitor and signal it. Notes that it has to do with it.
    pub(crate) fn reaches(&self, current: Option<&Current>, cell: CellId) -> bool {
        let Some(named) = &self.spec.grants.process else { return false };
        if cell == self.id() {
            return true;
        }
        let reached = self.is_near(current, cell) || self.is_named(named, cell);
        if reached {
            self.met.note(cell);
        }
        reached || (self.met.has(cell) && !self.directory.is_alive(cell))
    }

    /// Whether this cell may take a link with another one back: also one with a cell that it does not reach any more.
    pub(crate) fn may_unlink(&self, current: Option<&Current>, cell: CellId) -> bool {
        self.spec.grants.process.is_some()
            && (self.met.has(cell) || self.directory.is_linked(self.id(), cell) || self.reaches(current, cell))
    }

    /// The cell that has a name, if this one may know that: one that is near, that it may send to, or that it may signal.
    pub(crate) fn whereis(&self, current: Option<&Current>, name: &Name) -> Option<CellId> {
        let cell = self.directory.names().whereis(name)?;
        let grants = &self.spec.grants;
        let named = grants.process.as_ref().is_some_and(|named| named.has(name));
        let near = cell == self.id() || self.is_near(current, cell);
        if named || near {
            self.met.note(cell);
        }
        (near || named || grants.mail.has(name)).then_some(cell)
    }

    /// Whether a cell sent the message in progress, or is below this one.
    fn is_near(&self, current: Option<&Current>, cell: CellId) -> bool {
        current.is_some_and(|current| current.envelope.sender == Sender::Cell(cell))
            || self.spec.kin.as_ref().is_some_and(|kin| kin.is_below(cell, self.id()))
    }

    fn is_named(&self, named: &Reach, cell: CellId) -> bool {
        match named {
            Reach::Nobody => false,
            Reach::Names(names) => self.directory.has_one_of(cell, names),
            Reach::Everybody => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_that_were_met_are_remembered_and_each_once() {
        let met = Met::default();
        for _ in 0..2 {
            met.note(CellId::new(1));
        }
        for cell in 2..=MAX_MET as u64 {
            met.note(CellId::new(cell));
        }
        assert!(met.has(CellId::new(1)), "as many as there is room for");
        met.note(CellId::new(4711));
        assert!(!met.has(CellId::new(1)) && met.has(CellId::new(2)) && met.has(CellId::new(4711)));
    }
}
