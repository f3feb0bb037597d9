//! Callers that were given up because others had to wait for them: they have no credit for a while.
//!
//! Such a caller is one like any other as long as it keeps nobody waiting. Its messages get in when they are whole, one at a
//! time, and others only once the cell is free; and a message of it that makes others wait is given up sooner. It is
//! remembered from the first time on, and not for longer when it does it again. Strangers are remembered by their address,
//! because a key costs nothing; what an innocent one there notices is only that. A client that connects again is another one.
//! Bounded by [`MAX_LAGGARDS`]: of more, the one that lagged longest ago is forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::gate::{Caller, Principal};

/// How long a caller is remembered that made others wait: with the time in which it does so once, that is one percent.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(30);

/// Callers that are remembered: more do not connect in that time.
const MAX_LAGGARDS: usize = 1_024;

/// The callers that lagged at one cell, each with the moment until which that counts.
#[derive(Debug, Default)]
pub(crate) struct Laggards(Mutex<HashMap<Principal, Instant>>);

impl Laggards {
    /// Whether a caller was given up lately.
    pub(crate) fn has(&self, caller: &Caller, now: Instant) -> bool {
        let laggards = self.lock();
        // As a rule there is none.
        !laggards.is_empty() && laggards.get(&caller.principal()).is_some_and(|until| now < *until)
    }

    /// A caller is given up.
    pub(crate) fn note(&self, caller: Caller, now: Instant) {
        let (mut laggards, one) = (self.lock(), caller.principal());
        laggards.retain(|_, until| now < *until);
        if laggards.len() >= MAX_LAGGARDS
            && !laggards.contains_key(&one)
            && let Some(oldest) = laggards.iter().min_by_key(|(_, until)| **until).map(|(one, _)| *one)
        {
            laggards.remove(&oldest);
        }
        laggards.entry(one).or_insert(now + REMEMBERED);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, Instant>> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ww_core::CellId;
    use ww_net::{Origin, PeerId};

    use super::*;

    #[test]
    fn a_caller_is_remembered_for_a_while_and_a_stranger_by_its_address() {
        let (laggards, now) = (Laggards::default(), Instant::now());
        let stranger = |last| Caller::Stranger(PeerId::random(), Origin::V4([192, 0, 2, last].into()));
        let (peer, cell) = (Caller::Peer(PeerId::random()), Caller::Cell(CellId::new(1)));
        laggards.note(peer, now);
        laggards.note(stranger(1), now);
        let lag = |at| [peer, cell, stranger(1), stranger(2)].map(|caller| laggards.has(&caller, at));
        assert_eq!(lag(now), [true, false, true, false]);
        assert_eq!(lag(now + REMEMBERED), [false; 4]);
        laggards.note(peer, now + REMEMBERED / 2);
        assert_eq!(lag(now + REMEMBERED), [false; 4], "doing it again makes it no longer");
        laggards.note(peer, now + REMEMBERED);
        assert_eq!(lag(now + REMEMBERED), [true, false, false, false], "but it counts afterwards");
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (laggards, now) = (Laggards::default(), Instant::now());
        let first = Caller::Cell(CellId::new(1));
        laggards.note(first, now);
        for id in 2..=MAX_LAGGARDS as u64 + 1 {
            laggards.note(Caller::Cell(CellId::new(id)), now + Duration::from_millis(1));
        }
        assert!(!laggards.has(&first, now), "the one of longest ago is forgotten");
        assert_eq!(laggards.lock().len(), MAX_LAGGARDS);
    }
}
