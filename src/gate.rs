//! The way into a cell for messages from outside.
//!
//! A cell that is free takes a message as soon as something of it is there. One that is busy takes only messages that
//! are whole, or as large as what is read ahead: so a peer that sends a byte now and then waits outside while others are
//! served. As many may be inside as the cell serves at once and [`WAITING`] more; the next is refused. Outside, streams
//! are bounded by the network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Messages that wait for a cell besides those that it serves.
pub const WAITING: usize = 64;

/// The gate of one cell. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Messages that the cell serves at once.
    at_once: usize,
    state: Mutex<State>,
    /// The cell may be free.
    free: Notify,
    /// Nothing may be inside.
    empty: Notify,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    /// Messages that wait until the cell is free.
    outside: usize,
}

/// The place of one message inside. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Pass(Gate);

/// A message that waits outside.
struct Outside<'a>(&'a Gate);

impl Gate {
    /// The gate of a cell that serves `at_once` messages at the same time.
    pub(crate) fn new(at_once: usize) -> Self {
        let (state, free, empty) = Default::default();
        Self(Arc::new(Inner { at_once: at_once.max(1), state, free, empty }))
    }

    /// How many messages the cell serves at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.0.at_once
    }

    /// Whether both are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A place for a message that is whole; `None` where too many wait.
    pub(crate) fn enter(&self) -> Option<Pass> {
        self.enter_below(self.0.at_once.saturating_add(WAITING))
    }

    /// A place for a message that has only begun, once the cell is free. Cancel safe.
    pub(crate) async fn enter_free(&self) -> Pass {
        self.lock().outside += 1;
        let outside = Outside(self);
        loop {
            if let Some(pass) = self.enter_below(self.0.at_once) {
                drop(outside);
                return pass;
            }
            self.0.free.notified().await;
        }
    }

    /// Whether a message waits for those that are served now.
    pub(crate) fn is_crowded(&self) -> bool {
        let state = self.lock();
        state.inside > self.0.at_once || state.outside > 0
    }

    /// Waits until nothing is inside. Cancel safe.
    pub(crate) async fn drained(&self) {
        loop {
            let mut empty = std::pin::pin!(self.0.empty.notified());
            empty.as_mut().enable();
            if self.lock().inside == 0 {
                return;
            }
            empty.await;
        }
    }

    fn enter_below(&self, most: usize) -> Option<Pass> {
        let mut state = self.lock();
        if state.inside >= most {
            return None;
        }
        state.inside += 1;
        // One notice may stand for several places.
        if state.inside < self.0.at_once {
            self.0.free.notify_one();
        }
        Some(Pass(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inside -= 1;
        let (free, empty) = (state.inside < self.0.0.at_once, state.inside == 0);
        drop(state);
        if free {
            self.0.0.free.notify_one();
        }
        if empty {
            self.0.0.empty.notify_waiters();
        }
    }
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.0.lock().outside -= 1;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn exactly_as_many_wait_as_may() {
        for at_once in [1, 4] {
            let gate = Gate::new(at_once);
            let mut inside: Vec<_> = (0..at_once + WAITING).map(|_| gate.enter().expect("there is room")).collect();
            assert!(gate.enter().is_none(), "one more");
            inside.pop();
            assert!(gate.enter().is_some());
            assert!(gate.drained().now_or_never().is_none());
            inside.clear();
            assert!(gate.drained().now_or_never().is_some());
        }
    }

    #[test]
    fn what_has_only_begun_waits_until_the_cell_is_free() {
        let gate = Gate::new(2);
        let one = gate.enter_free().now_or_never().expect("the cell is free");
        let other = gate.enter().expect("there is room");
        let mut begun: Vec<_> = (0..3).map(|_| Box::pin(gate.enter_free())).collect();
        let mut entered = |first: usize| -> Vec<Pass> {
            begun[first..].iter_mut().filter_map(|begun| begun.as_mut().now_or_never()).collect()
        };
        assert!(entered(0).is_empty());
        let whole = gate.enter().expect("it overtakes them");
        assert!(gate.is_crowded());
        drop(one);
        assert!(entered(0).is_empty(), "the whole one has the place");
        drop((other, whole));
        let inside = entered(0);
        assert_eq!(inside.len(), 2);
        drop(inside);
        assert_eq!(entered(2).len(), 1);
        drop(begun);
        assert!(!gate.is_crowded());
    }
}
