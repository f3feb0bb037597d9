//! Who compiles next: a place for each owner, and always one that no single owner has taken.
//!
//! Owners are in a tree, so turns are given from its top: first among the parts of the node, then among the parts of the
//! part, and so on to the owner itself. At each level the part goes first that has the fewest compilations under way,
//! then the one whose last turn is the longest ago, then the one that came first. No part of the tree gets all places,
//! and at each level below one fewer, so that a neighbour of a busy part waits for no end of its work.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;
use ww_core::CellId;

/// Compilations at once. More than two keep no core busier, but leave places: what has started goes on beside them.
pub(crate) const PLACES: usize = 4;

/// Programs that one owner may have waiting.
pub(crate) const MAX_WAITING: usize = 64;

/// Programs that may wait in all parts below the node together.
const MAX_WAITING_BELOW: usize = 1_024;

/// Levels of the tree at which turns are shared out. Owners further down share those of the lowest.
const MAX_LEVELS: usize = 8;

/// On whose behalf a program is compiled: the cells above, the topmost first, and the owner last. Empty for the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Lineage(Arc<[CellId]>);

impl Lineage {
    /// Of the node itself.
    pub fn node() -> Self {
        Self::default()
    }

    /// From the topmost cell down to the owner.
    pub fn new(cells: &[CellId]) -> Self {
        match cells {
            [above @ .., owner] => Self(above.iter().take(MAX_LEVELS).chain([owner]).copied().collect()),
            [] => Self::node(),
        }
    }

    /// The parts of the tree that an owner is in, from the largest down to the owner itself.
    fn parts(&self) -> impl Iterator<Item = (usize, Part)> {
        let own = Part::Own(self.0.last().copied());
        self.0.iter().map(|&cell| Part::Below(cell)).chain([own]).enumerate()
    }
}

/// A part of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    /// A cell and all below it.
    Below(CellId),
    /// A cell alone, or the node.
    Own(Option<CellId>),
}

impl Part {
    /// Compilations that it may have under way, at its level below the node.
    fn places(self, level: usize) -> usize {
        match self {
            Self::Own(Some(_)) => 1,
            Self::Own(None) => PLACES,
            Self::Below(_) => PLACES.saturating_sub(level + 1).max(1),
        }
    }

    /// Programs that it may have waiting: half as many at each level.
    fn waiting(self, level: usize) -> usize {
        match self {
            Self::Own(_) => MAX_WAITING,
            Self::Below(_) => (MAX_WAITING_BELOW >> (level + 1).min(usize::BITS as usize - 1)).max(MAX_WAITING),
        }
    }
}

/// The places, and who waits for one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// In the order of their arrival.
    waiting: Vec<Waiting>,
    parts: HashMap<Part, Counts>,
    taken: usize,
    /// Counts turns and arrivals.
    now: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    lineage: Lineage,
    tell: oneshot::Sender<Turn>,
}

/// Of a part that has something waiting or under way.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    waiting: usize,
    under_way: usize,
    /// When it last got a turn.
    served: u64,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    /// `None` once the place has been given back.
    lineage: Option<Lineage>,
}

/// As many programs of the owner, or of a part of the tree that it is in, wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy(pub(crate) usize);

/// Leaves the queue.
struct Leaving<'a>(&'a Turns, u64);

impl Turns {
    /// A place, when it is the owner's turn. Cancel safe: who is dropped leaves the queue.
    ///
    /// # Errors
    ///
    /// Where too many wait.
    pub(crate) async fn take(&self, lineage: &Lineage) -> Result<Turn, Busy> {
        let (tell, turn) = oneshot::channel();
        let number = self.state().join(lineage, tell)?;
        let _leaving = Leaving(self, number);
        self.advance();
        // The sender is in the queue until it has told.
        turn.await.map_err(|_| Busy(MAX_WAITING))
    }

    /// Gives places to those whose turn it is. Those who have left meanwhile give them back.
    fn advance(&self) {
        loop {
            let Some(next) = self.state().next() else { return };
            let turn = Turn { turns: self.clone(), lineage: Some(next.lineage) };
            if let Err(mut turn) = next.tell.send(turn)
                && let Some(lineage) = turn.lineage.take()
            {
                self.state().give_back(&lineage);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn join(&mut self, lineage: &Lineage, tell: oneshot::Sender<Turn>) -> Result<u64, Busy> {
        for (level, part) in lineage.parts() {
            let most = part.waiting(level);
            if self.parts.get(&part).is_some_and(|counts| counts.waiting >= most) {
                return Err(Busy(most));
            }
        }
        for (_, part) in lineage.parts() {
            self.parts.entry(part).or_default().waiting += 1;
        }
        self.now += 1;
        self.waiting.push(Waiting { number: self.now, lineage: lineage.clone(), tell });
        Ok(self.now)
    }

    /// Takes a place for the one whose turn it is.
    fn next(&mut self) -> Option<Waiting> {
        if self.taken >= PLACES {
            return None;
        }
        let counts = |part| self.parts.get(&part).copied().unwrap_or_default();
        let rank = |waiting: &Waiting| {
            let mut ranks = Vec::new();
            for (level, part) in waiting.lineage.parts() {
                let Counts { under_way, served, .. } = counts(part);
                if under_way >= part.places(level) {
                    return None;
                }
                ranks.push((under_way, served));
            }
            Some(ranks)
        };
        let ranked = self.waiting.iter().enumerate().filter_map(|(at, waiting)| Some((rank(waiting)?, at)));
        let (_, at) = ranked.min()?;
        let next = self.waiting.remove(at);
        self.taken += 1;
        self.now += 1;
        for (_, part) in next.lineage.parts() {
            let counts = self.parts.entry(part).or_default();
            counts.waiting -= 1;
            counts.under_way += 1;
            counts.served = self.now;
        }
        Some(next)
    }

    fn leave(&mut self, number: u64) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.number == number) else { return };
        let left = self.waiting.remove(at);
        for (_, part) in left.lineage.parts() {
            self.change(part, |counts| counts.waiting -= 1);
        }
    }

    fn give_back(&mut self, lineage: &Lineage) {
        self.taken -= 1;
        for (_, part) in lineage.parts() {
            self.change(part, |counts| counts.under_way -= 1);
        }
    }

    /// Nothing is kept of a part that has nothing to do.
    fn change(&mut self, part: Part, change: impl FnOnce(&mut Counts)) {
        if let Some(counts) = self.parts.get_mut(&part) {
            change(counts);
            if (counts.waiting, counts.under_way) == (0, 0) {
                self.parts.remove(&part);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(lineage) = self.lineage.take() {
            self.turns.state().give_back(&lineage);
            self.turns.advance();
        }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.state().leave(self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::FutureExt as _;

    use super::*;

    fn lineage(cells: &[u64]) -> Lineage {
        Lineage::new(&cells.iter().copied().map(CellId::new).collect::<Vec<_>>())
    }

    /// Takes a place that is free.
    fn now(turns: &Turns, cells: &[u64]) -> Option<Turn> {
        turns.take(&lineage(cells)).now_or_never().map(|turn| turn.expect("few wait"))
    }

    #[test]
    fn each_owner_has_one_place_and_no_part_of_the_tree_has_all() {
        let turns = Turns::default();
        let first = now(&turns, &[1]).expect("a place");
        assert!(now(&turns, &[1]).is_none(), "one at a time for each owner");
        let below: Vec<_> = (10..20).filter_map(|child| now(&turns, &[1, child])).collect();
        assert_eq!(below.len(), PLACES - 2, "one place is left for the neighbours of a part");
        let neighbour = now(&turns, &[2]).expect("the place that is left");
        assert!(now(&turns, &[3]).is_none(), "there are no more");
        drop(neighbour);
        assert!(now(&turns, &[3]).is_some(), "it was given back, and nobody waits who has left");
        drop((first, below));
        assert!(turns.state().parts.is_empty(), "nothing is kept of those who have nothing to do");
        assert_eq!(turns.state().taken, 0);
    }

    #[test]
    fn a_tenant_of_a_cell_leaves_a_place_to_the_other_tenants() {
        let turns = Turns::default();
        let _hostile: Vec<_> = (10..20).filter_map(|child| now(&turns, &[1, 2, child])).collect();
        assert_eq!(_hostile.len(), PLACES - 2);
        let _neighbour = now(&turns, &[1, 3]).expect("beside it");
        let _outside = now(&turns, &[4]).expect("outside");
    }

    #[test]
    fn those_with_less_go_first_then_those_who_have_waited_longest() {
        let turns = Turns::default();
        // Two places stay taken, so that two are given.
        let _others = [now(&turns, &[8]).expect("a place"), now(&turns, &[9]).expect("a place")];
        let mut held: VecDeque<_> = [now(&turns, &[1]).expect("a place"), now(&turns, &[2]).expect("a place")].into();
        let mut waiting: Vec<_> = [1, 1, 1, 1, 2, 3, 2, 3]
            .map(|owner| (owner, Box::pin(turns.take(Box::leak(Box::new(lineage(&[owner])))))))
            .into();
        for (_, turn) in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        let mut order = Vec::new();
        while let Some(oldest) = held.pop_front() {
            drop(oldest);
            waiting.retain_mut(|(owner, turn)| match turn.as_mut().now_or_never() {
                Some(turn) => {
                    order.push(*owner);
                    held.push_back(turn.expect("a place"));
                    false
                }
                None => true,
            });
        }
        assert_eq!(order, [3, 1, 2, 3, 1, 2, 1, 1]);
    }

    #[test]
    fn a_queue_is_bounded_for_each_owner_and_for_each_part() {
        let turns = Turns::default();
        let _all: Vec<_> = (1..=PLACES as u64).map(|owner| now(&turns, &[owner]).expect("a place")).collect();
        let mut waiting = Vec::new();
        let mut wait = |cells: &[u64]| {
            let (turns, lineage) = (turns.clone(), lineage(cells));
            let mut turn = Box::pin(async move { turns.take(&lineage).await.map(drop) });
            let refused = turn.as_mut().now_or_never();
            waiting.push(turn);
            refused.map(|turn| turn.expect_err("all places are taken"))
        };
        for _ in 0..MAX_WAITING {
            assert_eq!(wait(&[1]), None);
        }
        assert_eq!(wait(&[1]), Some(Busy(MAX_WAITING)));
        let most = MAX_WAITING_BELOW / 2;
        let refused = (100..2_000).find_map(|child| wait(&[5, child]).map(|refused| (child - 100, refused)));
        assert_eq!(refused, Some((most as u64, Busy(most))));
        assert_eq!(wait(&[6]), None, "others are not refused");
        drop(waiting);
        assert!(turns.state().waiting.is_empty(), "who is dropped leaves the queue");
    }
}
