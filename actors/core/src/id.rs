//! Identities of cells.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Identifies one incarnation of a cell on its node. Ids are never used twice while the node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CellId(u64);

impl CellId {
    /// Wraps a number that [`CellId::get`] returned.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the id.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hands out the ids of one node, starting with 1.
#[derive(Debug)]
pub struct CellIds(AtomicU64);

impl CellIds {
    /// The next id.
    pub fn next(&self) -> CellId {
        CellId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for CellIds {
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}

/// Identifies the slot of a child on its node, which stays while incarnations come and go. Never used twice while the
/// node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(u64);

impl SlotId {
    /// Wraps a number that [`SlotId::get`] returned.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the id.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hands out the ids of the slots of one node, starting with 1.
#[derive(Debug)]
pub struct SlotIds(AtomicU64);

impl SlotIds {
    /// The next id.
    pub fn next(&self) -> SlotId {
        SlotId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for SlotIds {
    fn default() -> Self {
        Self(AtomicU64::new(1))
    }
}
