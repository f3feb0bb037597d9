//! How many connections a node has refused or closed to make room, since it started.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What became of connections that found no place, since the node started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Dropped in their handshake: as many waited as may, and these had waited longest.
    pub pending_dropped: u64,
    /// Closed while idle, to make room for another one.
    pub made_room: u64,
    /// Closed at work, for a stranger from an address with less: their own address had more than its share.
    pub over_share: u64,
    /// Refused because the peer had as many as one may have, all at work.
    pub refused_by_peer: u64,
    /// Refused because strangers from the address had as many as they may have, all at work.
    pub refused_by_address: u64,
    /// Refused because all strangers together had as many as they may have, all at work.
    pub refused_strangers: u64,
    /// Refused because of a limit of the node: all connections, those that it dialled, or its dials.
    pub refused_by_node: u64,
}

/// Where these are counted. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Refusals(Arc<Mutex<ConnectionCounts>>);

impl Refusals {
    /// What was counted so far.
    pub(crate) fn counts(&self) -> ConnectionCounts {
        *self.lock()
    }

    /// Counts a handshake that was dropped.
    pub(crate) fn pending(&self) {
        self.lock().pending_dropped += 1;
    }

    /// Counts something else.
    pub(crate) fn count(&self, which: impl FnOnce(&mut ConnectionCounts) -> &mut u64) {
        *which(&mut self.lock()) += 1;
    }

    fn lock(&self) -> MutexGuard<'_, ConnectionCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
