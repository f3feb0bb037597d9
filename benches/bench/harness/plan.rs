//! For how long to measure.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Batches of each side, in turn.
    pub(crate) pairs: usize,
    /// Time of one batch: long enough for the clock and for the scheduler, short enough that both sides see the same
    /// machine.
    pub(crate) batch: Duration,
    smoke: bool,
}

impl Plan {
    /// What a figure needs.
    pub(crate) fn full() -> Self {
        Self { pairs: 30, batch: Duration::from_millis(25), smoke: false }
    }

    /// What it takes to see that a row works.
    pub(crate) fn smoke() -> Self {
        Self { pairs: 2, batch: Duration::from_millis(1), smoke: true }
    }

    /// The same with so many batches at the most.
    pub(crate) fn at_most(self, pairs: usize) -> Self {
        Self { pairs: self.pairs.min(pairs), ..self }
    }

    /// Whether figures mean nothing.
    pub(crate) fn is_smoke(&self) -> bool {
        self.smoke
    }

    /// One size or another.
    pub(crate) fn pick<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }
}
