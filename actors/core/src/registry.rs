//! Names of cells.
//!
//! A name belongs to a slot, whose spec it comes from, or to an incarnation, which registered it while it ran. The
//! first kind stays while the slot does, whoever lives in it; the second goes with the incarnation.
//!
//! Whoever owns names is announced first, with [`Registry::open`], and leaves with [`Registry::close`], after which
//! it can have no names: a cell that registers a name while it ends leaves none behind.
//!
//! Bounded: [`MAX_NAMES`] on a node, [`MAX_NAMES_EACH`] per owner. A [part](crate::Account::part) of the node has at most as
//! many names as are left for all others. So no part takes all of them, with any number of owners. Safe to use from any
//! thread; nothing waits.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use dashmap::{DashMap, Entry};
use thiserror::Error;

use crate::{CellId, Name, id::SlotId};

/// Names on a node: four times the cells that a large node has.
pub const MAX_NAMES: usize = 65_536;

/// Names of one owner: more than roles that one actor can play, few enough that its end is cheap.
pub const MAX_NAMES_EACH: usize = 64;

/// How many edits a suggestion may be away from what was asked for: a typing error or two.
const MAX_EDITS: usize = 2;

/// To whom a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A slot: the name is in its spec.
    Slot(SlotId),
    /// An incarnation: it took the name while it ran.
    Cell(CellId),
}

/// Why a name was not registered or released.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Somebody has it.
    #[error("the name {0} is taken: choose another one, or unregister it first")]
    Taken(Name, Owner),
    /// Nobody has it, or somebody else has.
    #[error("the name {0} is not registered by whom it is to be taken from")]
    NotRegistered(Name),
    /// The owner has as many names as it may have.
    #[error("{MAX_NAMES_EACH} names, as many as one owner may have")]
    TooMany,
    /// The part of the node that the owner is in has as many names as are left for all others.
    #[error("{0} names here, as many as are left for all others on the node: unregister some")]
    PartFull(usize),
    /// The node has as many names as it may have.
    #[error("the node has {0} names, as many as it may have")]
    Full(usize),
    /// The owner has ended, or was never announced.
    #[error("whoever wants the name {0} has ended")]
    NoProcess(Name),
}

/// The names of a node.
#[derive(Debug)]
pub struct Registry {
    names: DashMap<Name, Owner>,
    /// Locked before `names`, always.
    owners: DashMap<Owner, Held>,
    counts: Mutex<Counts>,
    most: usize,
}

/// How many names there are. Locked for moments, and last.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// By parts of the node that have some.
    parts: HashMap<usize, usize>,
}

#[derive(Debug)]
struct Held {
    /// The part of the node that it is in.
    part: usize,
    names: BTreeSet<Name>,
    /// Who lives in it, if it is a slot.
    cell: Option<CellId>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new(MAX_NAMES)
    }
}

impl Registry {
    /// A registry for at most `most` names.
    pub fn new(most: usize) -> Self {
        Self { names: DashMap::new(), owners: DashMap::new(), counts: Mutex::default(), most }
    }

    /// Announces an owner in a [part](crate::Account::part) of the node.
    pub fn open(&self, owner: Owner, part: usize) {
        self.owners.entry(owner).or_insert_with(|| Held { part, names: BTreeSet::new(), cell: None });
    }

    /// Releases all names of an owner, who has ended. Which they were, in alphabetical order.
    pub fn close(&self, owner: Owner) -> Vec<Name> {
        let Some((_, held)) = self.owners.remove(&owner) else { return Vec::new() };
        for name in &held.names {
            self.names.remove(name);
        }
        self.counts().give_back(held.part, held.names.len());
        held.names.into_iter().collect()
    }

    /// Says who lives in a slot now; `None` if nobody does. Nothing if the slot was not announced.
    pub fn occupy(&self, slot: SlotId, cell: Option<CellId>) {
        if let Some(mut held) = self.owners.get_mut(&Owner::Slot(slot)) {
            held.cell = cell;
        }
    }

    /// Registers a name.
    ///
    /// # Errors
    ///
    /// Where it is taken, also by the same owner; where there are too many names; where the owner has ended.
    pub fn register(&self, name: Name, owner: Owner) -> Result<(), Error> {
        let Some(mut held) = self.owners.get_mut(&owner) else { return Err(Error::NoProcess(name)) };
        if let Some(taken) = self.names.get(&name) {
            return Err(Error::Taken(name, *taken));
        }
        if held.names.len() >= MAX_NAMES_EACH {
            return Err(Error::TooMany);
        }
        self.counts().take(held.part, self.most)?;
        match self.names.entry(name.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(owner);
                held.names.insert(name);
                Ok(())
            }
            Entry::Occupied(entry) => {
                self.counts().give_back(held.part, 1);
                Err(Error::Taken(name, *entry.get()))
            }
        }
    }

    /// Releases one name.
    ///
    /// # Errors
    ///
    /// Where the owner does not have it.
    pub fn unregister(&self, name: &Name, owner: Owner) -> Result<(), Error> {
        let held = self.owners.get_mut(&owner);
        if !held.is_some_and(|mut held| {
            let had = held.names.remove(name);
            if had {
                self.names.remove(name);
                self.counts().give_back(held.part, 1);
            }
            had
        }) {
            return Err(Error::NotRegistered(name.clone()));
        }
        Ok(())
    }

    /// To whom a name belongs.
    pub fn owner(&self, name: &Name) -> Option<Owner> {
        self.names.get(name).map(|owner| *owner)
    }

    /// The names of an owner, in alphabetical order.
    pub fn names_of(&self, owner: Owner) -> Vec<Name> {
        self.owners.get(&owner).map(|held| held.names.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether an owner has one of these names.
    pub fn has_one_of(&self, owner: Owner, names: &BTreeSet<Name>) -> bool {
        self.owners.get(&owner).is_some_and(|held| held.names.iter().any(|name| names.contains(name)))
    }

    /// The cell behind a name: of a slot, whoever lives in it at the moment.
    pub fn whereis(&self, name: &Name) -> Option<CellId> {
        match self.owner(name)? {
            Owner::Cell(cell) => Some(cell),
            slot @ Owner::Slot(_) => self.owners.get(&slot)?.cell,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Nothing panics while the lock is held.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All names, in no order.
    pub fn all(&self) -> Vec<Name> {
        self.names.iter().map(|entry| entry.key().clone()).collect()
    }

    /// Names in use.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name is in use.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The registered name that looks most like `wanted`, for the message to whom it was not found for.
    ///
    /// Reads all names: for errors that a person sees, not for those of a guest or a peer, whom it would also tell
    /// names that they were not given.
    pub fn nearest(&self, wanted: &str) -> Option<Name> {
        nearest(self.names.iter().map(|entry| entry.key().clone()), wanted)
    }
}

impl Counts {
    /// One more name in a part of the node.
    fn take(&mut self, part: usize, most: usize) -> Result<(), Error> {
        if self.all >= most {
            return Err(Error::Full(most));
        }
        let here = self.parts.get(&part).copied().unwrap_or_default();
        if here > 0 && here >= most - self.all {
            return Err(Error::PartFull(here));
        }
        self.parts.insert(part, here + 1);
        self.all += 1;
        Ok(())
    }

    fn give_back(&mut self, part: usize, names: usize) {
        self.all -= names;
        if let Some(here) = self.parts.get_mut(&part) {
            *here -= names;
            if *here == 0 {
                self.parts.remove(&part);
            }
        }
    }
}

/// The name that looks most like `wanted`, if one does.
pub fn nearest<N: AsRef<str> + Ord>(names: impl IntoIterator<Item = N>, wanted: &str) -> Option<N> {
    names
        .into_iter()
        .filter(|name| name.as_ref().len().abs_diff(wanted.len()) <= MAX_EDITS)
        .map(|name| (edits(name.as_ref(), wanted), name))
        .filter(|(edits, _)| *edits <= MAX_EDITS)
        .min()
        .map(|(_, name)| name)
}

/// The edit distance of Levenshtein (1965), in bytes.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let best = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
