//! The newest bytes that a cell reported, for whoever looks: reading takes nothing away.
//!
//! At most [`CAPACITY`] bytes are kept, and no more than [`UNPAID`] if the cell's account has no room for them. A reader
//! has a position of its own, and is told how much it was too slow for.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use ww_core::{Account, account::Capacity};

use crate::wakers::Wakers;

/// Bytes that are kept: enough for the last screens of a log.
pub const CAPACITY: usize = 64 * 1024;

/// Bytes that are kept of a cell whose account has no room for more: its last words.
pub const UNPAID: usize = 4 * 1024;

/// What a cell has reported. Clones are the same history.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    kept: VecDeque<u8>,
    /// For more than [`UNPAID`] bytes.
    capacity: Capacity,
    /// Bytes that were recorded since the start.
    end: u64,
    closed: bool,
    waiting: Wakers,
}

/// What one look at a history gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The next bytes; empty at the end.
    pub bytes: Bytes,
    /// Bytes before them that are gone, because they were not read in time.
    pub lost: u64,
}

impl History {
    /// What is kept is charged to this account from now on.
    pub(crate) fn charge_to(&self, payer: &Account) {
        self.lock().capacity = Capacity::of(payer);
    }

    /// Adds bytes.
    pub(crate) fn record(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.end += bytes.len() as u64;
        let capacity = state.capacity(bytes.len());
        let newest = &bytes[bytes.len().saturating_sub(capacity)..];
        let excess = (state.kept.len() + newest.len()).saturating_sub(capacity);
        state.kept.drain(..excess);
        state.kept.extend(newest);
        let waiting = state.waiting.take();
        drop(state);
        waiting.wake();
    }

    /// Nothing is added any more.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = state.waiting.take();
        drop(state);
        waiting.wake();
    }

    /// The position of the oldest byte that is kept.
    pub fn start(&self) -> u64 {
        self.lock().start()
    }

    /// At most `max` bytes from a position on, which moves behind them. Waits for at least one. Cancel safe.
    pub async fn read(&self, position: &mut u64, max: usize) -> Part {
        poll_fn(|cx| self.poll_read(cx, position, max)).await
    }

    /// What is there now from a position on, at most `max` bytes.
    pub fn now(&self, position: &mut u64, max: usize) -> Part {
        self.lock().take(position, max)
    }

    pub(crate) fn poll_read(&self, cx: &Context<'_>, position: &mut u64, max: usize) -> Poll<Part> {
        let mut state = self.lock();
        if state.end > *position || state.closed {
            return Poll::Ready(state.take(position, max));
        }
        let crowd = state.waiting.register(cx);
        drop(state);
        crowd.wake();
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held, so a poisoned state is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Bytes that may be kept when so many more come. What is paid for once stays so.
    fn capacity(&mut self, more: usize) -> usize {
        let is_needed = self.kept.len() + more > UNPAID;
        if self.capacity.covers(is_needed, CAPACITY) { CAPACITY } else { UNPAID }
    }

    fn start(&self) -> u64 {
        self.end - self.kept.len() as u64
    }

    fn take(&self, position: &mut u64, max: usize) -> Part {
        let lost = self.start().saturating_sub(*position);
        let from = (*position).clamp(self.start(), self.end);
        let skipped = usize::try_from(from - self.start()).unwrap_or(usize::MAX).min(self.kept.len());
        let bytes: Bytes = self.kept.iter().skip(skipped).take(max).copied().collect();
        *position = from + bytes.len() as u64;
        Part { bytes, lost }
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("History")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ww_core::account::Holder;

    use super::*;

    #[test]
    fn a_cell_whose_account_is_used_up_keeps_its_last_words() {
        let account = Account::root(Holder::Node, CAPACITY as u64);
        let history = History::default();
        history.charge_to(&account);
        history.record(&[b'a'; UNPAID]);
        assert_eq!((account.held(), history.start()), (0, 0), "a little costs nothing");
        let elsewhere = account.charge(1).expect("room");
        history.record(b"bc");
        assert_eq!((account.held(), history.start()), (1, 2));
        drop(elsewhere);
        history.record(&[b'd'; 2 * UNPAID]);
        assert_eq!((account.held(), history.start()), (CAPACITY as u64, 2));
        drop(history);
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn every_reader_sees_all_that_is_kept() {
        let history = History::default();
        history.record(b"one ");
        history.record(b"two");
        for _ in 0..2 {
            let mut position = history.start();
            assert_eq!(history.now(&mut position, 4), Part { bytes: Bytes::from_static(b"one "), lost: 0 });
            assert_eq!(history.now(&mut position, 99), Part { bytes: Bytes::from_static(b"two"), lost: 0 });
            assert_eq!(history.now(&mut position, 99), Part::default());
        }
    }

    #[test]
    fn a_slow_reader_goes_on_with_the_oldest_that_is_kept() {
        let history = History::default();
        let mut position = history.start();
        history.record(b"abc");
        history.record(&vec![b'x'; CAPACITY - 1]);
        assert_eq!(history.now(&mut position, 1), Part { bytes: Bytes::from_static(b"c"), lost: 2 });
        history.record(&vec![b'y'; CAPACITY * 2]);
        let part = history.now(&mut position, usize::MAX);
        assert_eq!((part.bytes.len(), part.lost), (CAPACITY, 2 * CAPACITY as u64 - 1));
        assert!(part.bytes.iter().all(|&byte| byte == b'y'));
    }

    #[tokio::test]
    async fn a_reader_waits_for_more_and_learns_of_the_end() {
        let history = History::default();
        let mut position = 0;
        assert!(history.read(&mut position, 9).now_or_never().is_none());
        let more = async { history.record(b"more") };
        let (part, ()) = tokio::join!(history.read(&mut position, 9), more);
        assert_eq!(part.bytes, "more");
        let (part, ()) = tokio::join!(history.read(&mut position, 9), async { history.close() });
        assert_eq!(part, Part::default());
    }
}
