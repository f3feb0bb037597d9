//! The way into a published cell, for messages of peers and of this node's own cells and clients, each a `Caller`.
//!
//! A cell that is free takes a message as soon as something of it is there. One that is busy takes messages that are
//! whole, and one of each caller that is larger than what is read ahead: so a caller that sends a byte now and then, or
//! messages without end, waits outside while others are served. Of a caller that made others wait it takes
//! one message that is whole at a time, and any other one only when it is free; strangers of one address that did are
//! remembered together, and each has its own turn. As many may be inside as the cell serves at once and [`WAITING`] more; the
//! next is refused. [`RESERVED`] places besides are for callers of which nothing is inside, so that none can keep all others
//! out. Outside, streams are bounded by the network.
//!
//! Streams of one caller have no order among them: one that is whole overtakes one that has only begun.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};
use ww_cell::Failure;
use ww_core::{CellId, exit::Reason};
use ww_net::{Origin, PeerId};

use crate::{laggards::Laggards, poison::Poison, serve::NotServed};

/// Messages that wait for a cell besides those that it serves.
pub const WAITING: usize = 64;

/// Further places, for callers of which nothing is inside: a few, because callers can be many.
pub const RESERVED: usize = 16;

/// Of these, those that all strangers together may have: half, because a key costs nothing.
pub const RESERVED_OF_STRANGERS: usize = RESERVED / 2;

/// The same of strangers from one address, so that two addresses do not keep a third one out.
pub const RESERVED_OF_ADDRESS: usize = RESERVED_OF_STRANGERS / 4;

/// Who sends a message: what it does is held against nobody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// A peer of the network that the node knows.
    Peer(PeerId),
    /// Another one, and where it comes from: what it does is held against its address as well, as its id costs nothing.
    Stranger(PeerId, Origin),
    /// A cell or client of this node, by its place in the tree.
    Cell(CellId),
}

/// The party that answers for what a caller does with the time of others, and pays for what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Principal {
    /// The caller itself.
    Known(Caller),
    /// The address of strangers.
    Address(Origin),
}

impl Caller {
    /// A peer, and where it comes from if the node does not know it.
    pub(crate) fn of_peer(peer: PeerId, stranger: Option<Origin>) -> Self {
        stranger.map_or(Self::Peer(peer), |origin| Self::Stranger(peer, origin))
    }

    /// Who answers for it.
    pub(crate) fn principal(self) -> Principal {
        match self {
            Self::Stranger(_, origin) => Principal::Address(origin),
            known => Principal::Known(known),
        }
    }
}

/// The gate of one cell. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Messages that the cell serves at once.
    at_once: usize,
    state: Mutex<State>,
    poison: Poison,
    laggards: Laggards,
    /// The cell may be free.
    free: Notify,
    /// A large message has left.
    large: Notify,
    /// Nobody may be left to be told.
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    inside: usize,
    /// The same of each caller of which something is inside.
    callers: HashMap<Caller, usize>,
    /// Callers of which a large message is inside.
    large: HashSet<Caller>,
    /// Reserved places that strangers have, by their address.
    reserved: HashMap<Origin, usize>,
    /// Messages inside, and those that have left, whose senders are still to be told.
    telling: usize,
}

/// The sender of a message is still to be told what became of it. Dropped when that is done.
#[derive(Debug)]
pub(crate) struct Telling(Gate);

/// The place of one message inside. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    caller: Caller,
    /// That it is the large message of its caller.
    large: Option<Large>,
    /// That it has a reserved place, and is a stranger from there.
    reserved: Option<Origin>,
}

/// The right of a caller to one large message inside.
#[derive(Debug)]
struct Large {
    gate: Gate,
    caller: Caller,
}

impl Gate {
    /// The gate of a cell that serves `at_once` messages at the same time.
    pub(crate) fn new(at_once: usize) -> Self {
        let (state, poison, laggards, free, large, told) = Default::default();
        Self(Arc::new(Inner { at_once: at_once.max(1), state, poison, laggards, free, large, told }))
    }

    /// How many messages the cell serves at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.0.at_once
    }

    /// Whether a caller is kept out, because its messages ended the cell.
    pub(crate) fn refuses(&self, caller: &Caller) -> bool {
        self.0.poison.refuses(caller, Instant::now())
    }

    /// Whether a caller was given up lately, because it made others wait.
    pub(crate) fn has_lagged(&self, caller: &Caller) -> bool {
        self.0.laggards.has(caller, Instant::now())
    }

    /// What became of a message of a caller: if it ended the cell, the caller is kept out for a while; if others had to
    /// wait for it, it has no credit for a while.
    pub(crate) fn judge(&self, caller: Caller, served: &Result<(), NotServed>) {
        let Err(NotServed::Failed(failure)) = served else { return };
        match failure {
            Failure::Ended(Reason::Trap(_) | Reason::Limit(_) | Reason::Exit(_) | Reason::HostFault(_)) => {
                tracing::debug!(?caller, "a message of a caller ended the cell: it is kept out for a while");
                self.0.poison.blame(caller, Instant::now());
            }
            Failure::TooSlow => {
                tracing::debug!(?caller, "a caller made others wait: it has no credit for a while");
                self.0.laggards.note(caller, Instant::now());
            }
            _ => {}
        }
    }

    /// A place for a message of a caller that is whole; `None` where too many wait.
    pub(crate) fn enter(&self, caller: Caller) -> Option<Pass> {
        let most = self.0.at_once.saturating_add(WAITING);
        self.enter_below(caller, most, RESERVED)
    }

    /// A place for a message of a caller that has only begun, once the cell is free. Cancel safe.
    pub(crate) async fn enter_free(&self, caller: Caller) -> Pass {
        loop {
            if let Some(pass) = self.enter_below(caller, self.0.at_once, 0) {
                return pass;
            }
            self.0.free.notified().await;
        }
    }

    /// A place for a message of a caller that is larger than what is read ahead: one of each, and of the others when the
    /// cell is free. `None` where too many wait. Cancel safe.
    pub(crate) async fn enter_large(&self, caller: Caller) -> Option<Pass> {
        let claiming = async {
            loop {
                let mut left = std::pin::pin!(self.0.large.notified());
                left.as_mut().enable();
                if self.lock().large.insert(caller) {
                    return Large { gate: self.clone(), caller };
                }
                left.await;
            }
        };
        let large = tokio::select! {
            biased;
            large = claiming => large,
            pass = self.enter_free(caller) => return Some(pass),
        };
        let mut pass = self.enter(caller)?;
        pass.large = Some(large);
        Some(pass)
    }

    /// Notes that a sender is to be told of its message, until it was.
    pub(crate) fn telling(&self) -> Telling {
        self.lock().telling += 1;
        Telling(self.clone())
    }

    /// Waits until everybody was told who [is to be](Self::telling). Cancel safe.
    pub(crate) async fn drained(&self) {
        loop {
            let mut told = std::pin::pin!(self.0.told.notified());
            told.as_mut().enable();
            if self.lock().telling == 0 {
                return;
            }
            told.await;
        }
    }

    /// A place where fewer than `most` are inside, or one of `further` ones for a caller of which nothing is.
    fn enter_below(&self, caller: Caller, most: usize, further: usize) -> Option<Pass> {
        let mut state = self.lock();
        let mut reserved = None;
        if state.inside >= most {
            if state.inside >= most.saturating_add(further) || state.callers.contains_key(&caller) {
                return None;
            }
            if let Caller::Stranger(_, origin) = caller {
                reserved = Some(state.reserve(origin)?);
            }
        }
        state.inside += 1;
        *state.callers.entry(caller).or_default() += 1;
        // One notice may stand for several places.
        if state.inside < self.0.at_once {
            self.0.free.notify_one();
        }
        Some(Pass { gate: self.clone(), caller, large: None, reserved })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a reserved place for a stranger from an address; `None` where strangers have as many as they may.
    fn reserve(&mut self, origin: Origin) -> Option<Origin> {
        let own = self.reserved.get(&origin).copied().unwrap_or_default();
        if own >= RESERVED_OF_ADDRESS || self.reserved.values().sum::<usize>() >= RESERVED_OF_STRANGERS {
            return None;
        }
        self.reserved.insert(origin, own + 1);
        Some(origin)
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.telling -= 1;
        let all = state.telling == 0;
        drop(state);
        if all {
            self.0.0.told.notify_waiters();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let gate = &self.gate;
        let mut state = gate.lock();
        state.inside -= 1;
        if let Entry::Occupied(mut inside) = state.callers.entry(self.caller) {
            *inside.get_mut() -= 1;
            if *inside.get() == 0 {
                inside.remove();
            }
        }
        if let Some(Entry::Occupied(mut reserved)) = self.reserved.map(|origin| state.reserved.entry(origin)) {
            *reserved.get_mut() -= 1;
            if *reserved.get() == 0 {
                reserved.remove();
            }
        }
        let free = state.inside < gate.0.at_once;
        drop(state);
        if free {
            gate.0.free.notify_one();
        }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.gate.lock().large.remove(&self.caller);
        self.gate.0.large.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn random() -> Caller {
        Caller::Peer(PeerId::random())
    }

    #[test]
    fn exactly_as_many_wait_as_may() {
        for at_once in [1, 4] {
            let (gate, peer) = (Gate::new(at_once), random());
            let mut inside: Vec<_> = (0..at_once + WAITING).map(|_| gate.enter(peer).expect("there is room")).collect();
            assert!(gate.enter(peer).is_none(), "one more");
            inside.pop();
            assert!(gate.enter(peer).is_some());
        }
    }

    #[test]
    fn who_is_to_be_told_is_waited_for_and_nobody_else() {
        let (gate, peer) = (Gate::new(1), random());
        let typed = gate.enter(peer).expect("there is room");
        assert!(gate.drained().now_or_never().is_some());
        let telling = gate.telling();
        drop(typed);
        let mut drained = Box::pin(gate.drained());
        assert!(drained.as_mut().now_or_never().is_none(), "somebody is to be told");
        drop(telling);
        assert!(drained.as_mut().now_or_never().is_some());
    }

    #[test]
    fn no_peer_keeps_all_others_out() {
        let (gate, peer) = (Gate::new(1), random());
        let mut inside: Vec<_> = std::iter::from_fn(|| gate.enter(peer)).collect();
        let others: Vec<_> = (0..RESERVED).map(|_| random()).collect();
        for other in others {
            inside.push(gate.enter(other).expect("it is the first of its peer"));
            assert!(gate.enter(other).is_none(), "it is the second");
        }
        assert!(gate.enter(random()).is_none(), "also these places are bounded");
        inside.clear();
        assert!(gate.lock().callers.is_empty());
    }

    #[test]
    fn as_many_keys_as_one_likes_leave_places_to_other_addresses_and_to_those_who_are_known() {
        let gate = Gate::new(1);
        let stranger = |last| Caller::Stranger(PeerId::random(), Origin::V4([192, 0, 2, last].into()));
        let mut inside: Vec<_> = std::iter::from_fn(|| gate.enter(stranger(1))).collect();
        assert_eq!(inside.len(), 1 + WAITING + RESERVED_OF_ADDRESS);
        inside.extend((2..=255).filter_map(|last| gate.enter(stranger(last))));
        assert_eq!(inside.len(), 1 + WAITING + RESERVED_OF_STRANGERS, "all strangers together");
        inside.extend(std::iter::from_fn(|| gate.enter(random())));
        assert_eq!(inside.len(), 1 + WAITING + RESERVED, "the rest is for those who are known");
        inside.clear();
        assert!(gate.lock().reserved.is_empty());
    }

    #[test]
    fn one_large_message_of_each_peer_waits_inside() {
        let (gate, one, other) = (Gate::new(1), random(), random());
        let served = gate.enter(one).expect("there is room");
        let large = gate.enter_large(one).now_or_never().expect("it is the first").expect("there is room");
        let mut second = Box::pin(gate.enter_large(one));
        assert!(second.as_mut().now_or_never().is_none(), "it waits outside");
        let others = gate.enter_large(other).now_or_never().expect("it is the first").expect("there is room");
        drop(large);
        let large = second.as_mut().now_or_never().expect("its turn has come").expect("there is room");
        let mut third = Box::pin(gate.enter_large(one));
        assert!(third.as_mut().now_or_never().is_none());
        drop((served, others));
        assert!(third.as_mut().now_or_never().is_none(), "the other one is served");
        drop(large);
        assert!(third.as_mut().now_or_never().flatten().is_some());
        drop(third);
        assert!(gate.lock().large.is_empty());
    }

    #[test]
    fn what_has_only_begun_waits_until_the_cell_is_free() {
        let (gate, peer) = (Gate::new(2), random());
        let one = gate.enter_free(peer).now_or_never().expect("the cell is free");
        let other = gate.enter(peer).expect("there is room");
        let mut begun: Vec<_> = (0..3).map(|_| Box::pin(gate.enter_free(peer))).collect();
        let mut entered = |first: usize| -> Vec<Pass> {
            begun[first..].iter_mut().filter_map(|begun| begun.as_mut().now_or_never()).collect()
        };
        assert!(entered(0).is_empty());
        let whole = gate.enter(peer).expect("it overtakes them");
        drop(one);
        assert!(entered(0).is_empty(), "the whole one has the place");
        drop((other, whole));
        let inside = entered(0);
        assert_eq!(inside.len(), 2);
        drop(inside);
        assert_eq!(entered(2).len(), 1);
    }
}
