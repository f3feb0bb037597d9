//! Callers whose messages ended a cell: they are kept out for a while, and longer each time.
//!
//! A cell that serves callers is started again whatever ends it, so that no caller can end it for good. What is left to a caller
//! is to keep it busy with starting: the one whose message ended the cell is refused for [`FIRST`], then twice as long each
//! time, at most [`LONGEST`], until nothing of it has done harm for [`FORGOTTEN`]. Nobody else notices more than the
//! restart. Bounded by [`MAX_CALLERS`]: of more, the one that did harm longest ago is forgotten.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::gate::Caller;

/// How long a caller is refused after its first message that ended a cell: longer than a restart takes.
pub(crate) const FIRST: Duration = Duration::from_millis(100);

/// The longest that it is refused at once: a few messages a minute do no harm.
const LONGEST: Duration = Duration::from_secs(30);

/// After this time without harm a caller is as good as new.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Callers that are remembered: more do not connect in that time.
const MAX_CALLERS: usize = 1_024;

/// The callers that did harm to one cell.
#[derive(Debug, Default)]
pub(crate) struct Poison(Mutex<HashMap<Caller, Harm>>);

#[derive(Clone, Copy, Debug)]
struct Harm {
    times: u32,
    last: Instant,
}

impl Poison {
    /// Whether messages of a caller are refused now.
    pub(crate) fn refuses(&self, caller: &Caller, now: Instant) -> bool {
        let callers = self.lock();
        // As a rule there is none.
        callers.get(caller).is_some_and(|harm| now < harm.last + harm.penalty())
    }

    /// A message of a caller has ended the cell.
    pub(crate) fn blame(&self, caller: Caller, now: Instant) {
        let mut callers = self.lock();
        callers.retain(|_, harm| now < harm.last + FORGOTTEN);
        if callers.len() >= MAX_CALLERS
            && !callers.contains_key(&caller)
            && let Some(oldest) = callers.iter().min_by_key(|(_, harm)| harm.last).map(|(caller, _)| *caller)
        {
            callers.remove(&oldest);
        }
        let harm = callers.entry(caller).or_insert(Harm { times: 0, last: now });
        *harm = Harm { times: harm.times.saturating_add(1), last: now };
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Caller, Harm>> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Harm {
    fn penalty(self) -> Duration {
        FIRST.saturating_mul(2_u32.saturating_pow(self.times.saturating_sub(1))).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use ww_core::CellId;
    use ww_net::PeerId;

    use super::*;

    fn random() -> Caller {
        Caller::Peer(PeerId::random())
    }

    #[test]
    fn a_peer_that_does_harm_is_refused_longer_each_time_and_forgiven_in_the_end() {
        let (poison, peer, other, mut now) = (Poison::default(), random(), random(), Instant::now());
        assert!(!poison.refuses(&peer, now));
        for millis in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000] {
            let penalty = Duration::from_millis(millis);
            poison.blame(peer, now);
            assert!(poison.refuses(&peer, now + penalty - Duration::from_millis(1)), "{millis}");
            assert!(!poison.refuses(&peer, now + penalty), "{millis}");
            assert!(!poison.refuses(&other, now));
            now += penalty;
        }
        now += FORGOTTEN;
        poison.blame(peer, now);
        assert!(!poison.refuses(&peer, now + FIRST), "it starts again");
    }

    #[test]
    fn the_cells_of_this_node_are_blamed_one_by_one() {
        let (poison, now) = (Poison::default(), Instant::now());
        let [one, other] = [1, 2].map(|cell| Caller::Cell(CellId::new(cell)));
        poison.blame(one, now);
        assert_eq!([&one, &other, &random()].map(|caller| poison.refuses(caller, now)), [true, false, false]);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let (poison, now) = (Poison::default(), Instant::now());
        let first = random();
        poison.blame(first, now);
        for _ in 0..MAX_CALLERS {
            poison.blame(random(), now + Duration::from_millis(1));
        }
        assert!(!poison.refuses(&first, now), "the one of longest ago is forgotten");
        assert_eq!(poison.lock().len(), MAX_CALLERS);
    }
}
