//! What one cell has done and holds, for whoever looks: plain counters that cost the cell next to nothing.
//!
//! Computing time is sampled: a tick of the node's clock that falls into a turn of a cell counts as a millisecond of
//! that cell. Over many turns this is what the cell has used, without reading a clock at each.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::preemption::Ticks;

/// Counters of one cell, all its incarnation's instances together. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Meters(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    answered: AtomicU64,
    failed: AtomicU64,
    memory: AtomicU64,
    cpu: AtomicU64,
}

impl Meters {
    /// Messages that were answered.
    pub fn answered(&self) -> u64 {
        self.0.answered.load(Ordering::Relaxed)
    }

    /// Messages that were begun and not answered.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::Relaxed)
    }

    /// Bytes of linear memory in use.
    pub fn memory(&self) -> u64 {
        self.0.memory.load(Ordering::Relaxed)
    }

    /// Milliseconds of computing, sampled.
    pub fn cpu(&self) -> u64 {
        self.0.cpu.load(Ordering::Relaxed)
    }

    pub(crate) fn count(&self, answered: bool) {
        let counter = if answered { &self.0.answered } else { &self.0.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn grew(&self, bytes: u64) {
        self.0.memory.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn shrank(&self, bytes: u64) {
        self.0.memory.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts the ticks that fall into a turn of a guest.
    pub(crate) fn turn<T>(&self, ticks: &Ticks, turn: impl FnOnce() -> T) -> T {
        let before = ticks.now();
        let done = turn();
        let passed = ticks.now().wrapping_sub(before);
        if passed != 0 {
            self.0.cpu.fetch_add(passed, Ordering::Relaxed);
        }
        done
    }
}
