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

    /// Counts the ticks that fall into a turn of a guest, for its cell and for this instance.
    pub(crate) fn turn<T>(&self, computed: &Computed, turn: impl FnOnce() -> T) -> T {
        let before = computed.begin_turn();
        let done = turn();
        let passed = computed.end_turn(before);
        if passed != 0 {
            self.0.cpu.fetch_add(passed, Ordering::Relaxed);
        }
        done
    }
}

/// What one instance has computed for the message in progress, in ticks. Clones are the same.
///
/// The thread that gives the instance its turn counts, and the callback of the engine reads within that turn. So a
/// long step counts for all that it took, at the first look after it.
#[derive(Clone, Debug)]
pub(crate) struct Computed(Arc<Turns>);

#[derive(Debug)]
struct Turns {
    ticks: Ticks,
    /// Ticks within turns that have ended.
    before: AtomicU64,
    /// The tick at which the turn in progress began; [`NO_TURN`] between two.
    began: AtomicU64,
}

/// No tick: the clock would need half a billion years to come to it.
const NO_TURN: u64 = u64::MAX;

impl Computed {
    pub(crate) fn new(ticks: Ticks) -> Self {
        Self(Arc::new(Turns { ticks, before: AtomicU64::new(0), began: AtomicU64::new(NO_TURN) }))
    }

    /// From nothing, for a new message.
    pub(crate) fn reset(&self) {
        self.0.before.store(0, Ordering::Relaxed);
    }

    /// Ticks until now, those of the turn in progress as well.
    pub(crate) fn ticks(&self) -> u64 {
        let began = self.0.began.load(Ordering::Relaxed);
        let in_turn = if began == NO_TURN { 0 } else { self.0.ticks.now().wrapping_sub(began) };
        self.0.before.load(Ordering::Relaxed).saturating_add(in_turn)
    }

    fn begin_turn(&self) -> u64 {
        let now = self.0.ticks.now();
        self.0.began.store(now, Ordering::Relaxed);
        now
    }

    /// How many ticks it took.
    fn end_turn(&self, began: u64) -> u64 {
        let passed = self.0.ticks.now().wrapping_sub(began);
        self.0.began.store(NO_TURN, Ordering::Relaxed);
        if passed != 0 {
            self.0.before.fetch_add(passed, Ordering::Relaxed);
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_counts_for_as_long_as_it_took_also_while_it_lasts() {
        let (ticks, meters) = (Ticks::default(), Meters::default());
        let computed = Computed::new(ticks.clone());
        ticks.advance(7);
        assert_eq!(computed.ticks(), 0, "what passes between two turns is not its own");
        meters.turn(&computed, || {
            ticks.advance(900);
            assert_eq!(computed.ticks(), 900, "one long step");
        });
        ticks.advance(7);
        meters.turn(&computed, || ticks.advance(3));
        assert_eq!((computed.ticks(), meters.cpu()), (903, 903));
        computed.reset();
        assert_eq!((computed.ticks(), meters.cpu()), (0, 903), "a message has a share of its own, the cell a sum");
    }
}
