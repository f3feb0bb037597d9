//! Callers whose messages ended a cell: they are kept out for a while, and longer each time.
//!
//! A cell that serves callers is started again whatever ends it, so that no caller can end it for good. What is left to a caller
//! is to keep it busy with starting: the one whose message ended the cell is refused for [`FIRST`], then twice as long each
//! time, at most [`LONGEST`], until nothing of it has done harm for [`FORGOTTEN`]. Nobody else notices more than the
//! restart. Bounded by [`MAX_CALLERS`]: of more, the one that did harm longest ago is forgotten.
//!
//! A key costs a stranger nothing. So from an address of which more than [`SPARED`] strangers did harm, none is heard for
//! a while, and longer with each further one.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use ww_net::Origin;

use crate::gate::Caller;

/// How long a caller is refused after its first message that ended a cell: longer than a restart takes.
pub(crate) const FIRST: Duration = Duration::from_millis(100);

/// The longest that it is refused at once: a few messages a minute do no harm.
const LONGEST: Duration = Duration::from_secs(30);

/// After this time without harm a caller is as good as new.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Callers that are remembered: more do not connect in that time.
const MAX_CALLERS: usize = 1_024;

/// Strangers from one address that may do harm before others from there are refused for it: some programs of one house
/// or office may have the same fault.
const SPARED: u32 = 8;

/// The callers that did harm to one cell.
#[derive(Debug, Default)]
pub(crate) struct Poison(Mutex<Harmful>);

#[derive(Debug, Default)]
struct Harmful {
    callers: HashMap<Caller, Harm>,
    /// The same of addresses: how many strangers from there did harm, and when the last of them began to.
    addresses: HashMap<Origin, Harm>,
}

#[derive(Clone, Copy, Debug)]
struct Harm {
    times: u32,
    last: Instant,
}

impl Poison {
    /// Whether messages of a caller are refused now.
    pub(crate) fn refuses(&self, caller: &Caller, now: Instant) -> bool {
        let harmful = self.lock();
        // As a rule there is none.
        let itself = harmful.callers.get(caller).is_some_and(|harm| harm.refuses(0, now));
        itself
            || matches!(caller, Caller::Stranger(_, origin)
                if harmful.addresses.get(origin).is_some_and(|harm| harm.refuses(SPARED, now)))
    }

    /// A message of a caller has ended the cell.
    pub(crate) fn blame(&self, caller: Caller, now: Instant) {
        let mut harmful = self.lock();
        let Harmful { callers, addresses } = &mut *harmful;
        forget(callers, &caller, now);
        let is_new = !callers.contains_key(&caller);
        callers.entry(caller).or_insert(Harm::none(now)).again(now);
        if let Caller::Stranger(_, origin) = caller
            && is_new
        {
            forget(addresses, &origin, now);
            addresses.entry(origin).or_insert(Harm::none(now)).again(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Harmful> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Harm {
    fn none(now: Instant) -> Self {
        Self { times: 0, last: now }
    }

    fn again(&mut self, now: Instant) {
        *self = Self { times: self.times.saturating_add(1), last: now };
    }

    /// Whether it is refused now, where it is spared some times.
    fn refuses(self, spared: u32, now: Instant) -> bool {
        let times = self.times.saturating_sub(spared);
        times > 0 && now < self.last + FIRST.saturating_mul(2_u32.saturating_pow(times - 1)).min(LONGEST)
    }
}

/// Forgets what was long ago, and makes room for one more.
fn forget<K: Copy + Eq + Hash>(harms: &mut HashMap<K, Harm>, one: &K, now: Instant) {
    harms.retain(|_, harm| now < harm.last + FORGOTTEN);
    if harms.len() >= MAX_CALLERS
        && !harms.contains_key(one)
        && let Some(oldest) = harms.iter().min_by_key(|(_, harm)| harm.last).map(|(one, _)| *one)
    {
        harms.remove(&oldest);
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
    fn as_many_keys_as_one_likes_do_no_more_harm_than_their_address_may() {
        let (poison, start) = (Poison::default(), Instant::now());
        let stranger = |last| Caller::Stranger(PeerId::random(), Origin::V4([192, 0, 2, last].into()));
        for _ in 0..SPARED {
            poison.blame(stranger(1), start);
        }
        assert!(!poison.refuses(&stranger(1), start), "some may have the same fault");
        let mut now = start;
        for harm in 0..12 {
            poison.blame(stranger(1), now);
            let penalty = FIRST.saturating_mul(1 << harm).min(LONGEST);
            assert!(poison.refuses(&stranger(1), now + penalty - Duration::from_millis(1)), "{harm}");
            assert!(!poison.refuses(&stranger(1), now + penalty), "{harm}");
            assert_eq!([stranger(2), random()].map(|caller| poison.refuses(&caller, now)), [false, false]);
            now += penalty;
        }
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
        assert_eq!(poison.lock().callers.len(), MAX_CALLERS);
    }
}
