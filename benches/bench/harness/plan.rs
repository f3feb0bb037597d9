//! For how long to measure.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Batches of each side, in turn.
    pub(crate) pairs: usize,
    /// Time of one batch: long enough for the clock and for the scheduler, short enough that both sides see the same
    /// machine.
    pub(crate) batch: Duration,
    /// For a profile: this side takes the other one's turns as well.
    pub(crate) only: Option<Only>,
    /// For a profile: the records that are measured of rows with many.
    cases: Option<String>,
    smoke: bool,
}

/// One of the two sides.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Only {
    Floor,
    Node,
}

impl Plan {
    /// What a figure needs.
    pub(crate) fn full() -> Self {
        Self { pairs: 30, batch: Duration::from_millis(25), only: None, cases: None, smoke: false }
    }

    /// What it takes to see that a row works.
    pub(crate) fn smoke() -> Self {
        Self { pairs: 2, batch: Duration::from_millis(1), only: None, cases: None, smoke: true }
    }

    /// The same with so many batches at the most.
    pub(crate) fn at_most(self, pairs: usize) -> Self {
        Self { pairs: self.pairs.min(pairs), ..self }
    }

    /// The same with one side alone.
    pub(crate) fn only(self, only: Option<Only>) -> Self {
        Self { only, ..self }
    }

    /// The same for records whose names contain this.
    pub(crate) fn cases(self, cases: Option<String>) -> Self {
        Self { cases, ..self }
    }

    /// Whether a record is wanted.
    pub(crate) fn wants(&self, record: &str) -> bool {
        self.cases.as_ref().is_none_or(|cases| record.contains(cases))
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
