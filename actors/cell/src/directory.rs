//! The cells of a node: who lives where, under which names, linked to whom.
//!
//! It holds what lives, cells and [native actors](crate::native). A cell enters it when its start is asked for, before its
//! program is compiled, and leaves it when it ends; then the news travels in this order: those that wait for an answer of
//! the cell, its names, its monitors and links. Supervisors and those that wait for the end come after that, and learn of
//! it elsewhere. The last that ended can still be asked for why, and for what they reported.
//!
//! Bounded by the cells that run, which their owners' limits bound, by [`KEPT_ENDED`] and by the registry's own bounds.
//! Usable from any thread; the lock around links is held for moments, and carries their effects out in order.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dashmap::DashMap;
use tokio::sync::Notify;
use ww_core::{
    Account, CellId, Name, SlotId,
    events::{Event, Events},
    exit::Reason,
    id::{CellIds, SlotIds},
    links::Links,
    mailbox::Overflow,
    registry::{self, Owner, Registry},
};

use crate::{cell::Cell, native::Lane, slot::Slot};

mod signals;

/// Cells that have ended and can still be asked about: as many as one looks back at, and at most 4 MiB of what they
/// reported.
pub const KEPT_ENDED: usize = 64;

/// How many of them may never have started: starts that fail again and again do not push all others out.
pub const KEPT_NOT_STARTED: usize = 16;

/// The cells of a node. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct Directory(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cell_ids: CellIds,
    ids: SlotIds,
    cells: DashMap<CellId, Cell>,
    /// The last that ended, the oldest first.
    ended: Mutex<VecDeque<Cell>>,
    slots: DashMap<SlotId, Slot>,
    names: Registry,
    /// Told whenever somebody may have come to live behind a name.
    arrivals: Notify,
    /// Rust actors, which are no cells.
    natives: DashMap<CellId, Lane>,
    links: Mutex<Links>,
    events: Events,
}

impl Directory {
    /// An id for a new cell, or for whatever else has a place among them.
    pub fn next_id(&self) -> CellId {
        self.0.cell_ids.next()
    }

    /// The cell with an id, if it lives.
    pub fn cell(&self, id: CellId) -> Option<Cell> {
        self.0.cells.get(&id).map(|cell| cell.clone())
    }

    /// The slot that a cell lives in, if it lives.
    pub(crate) fn slot_of(&self, id: CellId) -> Option<Slot> {
        self.0.cells.get(&id).map(|cell| cell.slot().clone())
    }

    /// The cell with an id, if it lives, or is one of the last that ended.
    pub fn cell_or_ended(&self, id: CellId) -> Option<Cell> {
        self.cell(id).or_else(|| self.last_ended().iter().find(|cell| cell.id() == id).cloned())
    }

    /// The slot with an id, if it is there.
    pub fn slot(&self, id: SlotId) -> Option<Slot> {
        self.0.slots.get(&id).map(|slot| slot.clone())
    }

    /// The slot behind a name.
    pub fn find(&self, name: &Name) -> Option<Slot> {
        match self.0.names.owner(name)? {
            Owner::Slot(slot) => self.slot(slot),
            Owner::Cell(cell) => self.slot_of(cell),
        }
    }

    /// Whether a cell or native actor has one of these names now, itself or by its slot.
    pub(crate) fn has_one_of(&self, id: CellId, names: &BTreeSet<Name>) -> bool {
        let slot = self.slot_of(id).or_else(|| self.native(id)?.slot().cloned());
        let owners = [Some(Owner::Cell(id)), slot.map(|slot| Owner::Slot(slot.id()))];
        owners.into_iter().flatten().any(|owner| self.0.names.has_one_of(owner, names))
    }

    /// All cells that live, in the order of their start.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.0.cells.iter().map(|cell| cell.clone()).collect();
        cells.sort_by_key(Cell::id);
        cells
    }

    /// Names, and who lives behind them.
    pub fn names(&self) -> &Registry {
        &self.0.names
    }

    /// Waits until somebody lives behind a name. Cancel safe.
    pub async fn arrival(&self, name: &Name) -> CellId {
        loop {
            // Before the look, so that nobody comes unseen in between.
            let mut arrived = std::pin::pin!(self.0.arrivals.notified());
            arrived.as_mut().enable();
            if let Some(cell) = self.0.names.whereis(name) {
                return cell;
            }
            arrived.await;
        }
    }

    /// What happens to cells.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Makes a slot whose mailbox holds `mailbox` messages of at most `message_size` bytes each, which are charged to
    /// `account`. It is there until [`Directory::remove_slot`].
    pub fn new_slot(&self, mailbox: usize, overflow: Overflow, message_size: u32, account: &Account) -> Slot {
        self.open_slot(Slot::new(self.0.ids.next(), mailbox, overflow, message_size, account), account)
    }

    /// A slot for what takes no messages: a program that runs once, or a supervisor. Its names are those of the part of the
    /// node that `account` is in.
    pub fn new_slot_not_served(&self, account: &Account) -> Slot {
        self.open_slot(Slot::not_served(self.0.ids.next()), account)
    }

    fn open_slot(&self, slot: Slot, account: &Account) -> Slot {
        self.0.names.open(Owner::Slot(slot.id()), account.part());
        self.0.slots.insert(slot.id(), slot.clone());
        slot
    }

    /// Gives a slot a name, which stays as long as the slot.
    ///
    /// # Errors
    ///
    /// Where the name is taken, or there are too many.
    pub fn name_slot(&self, slot: &Slot, name: Name) -> Result<(), registry::Error> {
        self.0.names.register(name.clone(), Owner::Slot(slot.id()))?;
        self.0.arrivals.notify_waiters();
        self.0.events.publish(Event::Registered { name, cell: None });
        Ok(())
    }

    /// Ends a slot: whatever waits in it is refused with the reason, and its names are free.
    pub fn remove_slot(&self, slot: &Slot, reason: &Reason) {
        slot.end(reason);
        self.0.slots.remove(&slot.id());
        self.release(Owner::Slot(slot.id()));
    }

    /// The start of a cell was asked for: from now on it is found by its id and its names.
    pub(crate) fn announced(&self, cell: &Cell) {
        self.0.names.open(Owner::Cell(cell.id()), cell.account().part());
        self.0.cells.insert(cell.id(), cell.clone());
        self.links().started(cell.id());
        self.occupied(cell.slot(), cell.id());
    }

    /// Somebody lives in a slot, and behind its names.
    fn occupied(&self, slot: &Slot, cell: CellId) {
        self.0.names.occupy(slot.id(), Some(cell));
        self.0.arrivals.notify_waiters();
    }

    /// A cell that was announced has started.
    pub(crate) fn started(&self, cell: &Cell) {
        self.0.events.publish(Event::Started { slot: cell.slot().id(), cell: cell.id() });
    }

    /// A cell has ended. Its slot is left to its owner, unless `with_slot`.
    pub(crate) fn ended(&self, cell: &Cell, reason: &Reason, with_slot: bool) {
        self.left(cell, reason, with_slot);
        self.0.events.publish(Event::Exited { slot: cell.slot().id(), cell: cell.id(), reason: reason.clone() });
    }

    /// A cell that was announced has not started, and is not going to. It is among the last that ended all the same, so
    /// that those who have its id learn why.
    pub(crate) fn withdrawn(&self, cell: &Cell, reason: &Reason, with_slot: bool) {
        self.left(cell, reason, with_slot);
        // What lives in the slot of somebody else is that one's to tell. Here the owner has the error.
        if with_slot {
            self.0.events.publish_quietly(Event::StartFailed { slot: cell.slot().id(), reason: reason.clone() });
        }
    }

    fn left(&self, cell: &Cell, reason: &Reason, with_slot: bool) {
        self.keep(cell);
        self.0.cells.remove(&cell.id());
        self.0.names.occupy(cell.slot().id(), None);
        if with_slot {
            self.remove_slot(cell.slot(), reason);
        }
        self.release(Owner::Cell(cell.id()));
        self.tell_of_end(cell.id(), reason);
    }

    /// Registers a name for a cell while it lives.
    ///
    /// # Errors
    ///
    /// Where the name is taken, there are too many, or the cell has ended.
    pub fn register(&self, name: Name, cell: CellId) -> Result<(), registry::Error> {
        self.0.names.register(name.clone(), Owner::Cell(cell))?;
        self.0.arrivals.notify_waiters();
        self.0.events.publish(Event::Registered { name, cell: Some(cell) });
        Ok(())
    }

    /// Takes a name of a cell back.
    ///
    /// # Errors
    ///
    /// Where the cell does not have it.
    pub fn unregister(&self, name: &Name, cell: CellId) -> Result<(), registry::Error> {
        self.0.names.unregister(name, Owner::Cell(cell))?;
        self.0.events.publish(Event::Unregistered { name: name.clone() });
        Ok(())
    }

    fn release(&self, owner: Owner) {
        for name in self.0.names.close(owner) {
            self.0.events.publish(Event::Unregistered { name });
        }
    }

    /// Keeps a cell among the last that ended, and drops what has to go for it.
    fn keep(&self, cell: &Cell) {
        let mut last = self.last_ended();
        if !cell.has_served() {
            // The last start of a slot that failed tells as much as all of them.
            last.retain(|other| other.has_served() || other.slot().id() != cell.slot().id());
            let not_started = last.iter().filter(|other| !other.has_served()).count();
            let oldest = last.iter().position(|other| !other.has_served());
            if let Some(oldest) = oldest.filter(|_| not_started >= KEPT_NOT_STARTED) {
                last.remove(oldest);
            }
        }
        if last.len() >= KEPT_ENDED {
            last.pop_front();
        }
        last.push_back(cell.clone());
    }

    fn last_ended(&self) -> MutexGuard<'_, VecDeque<Cell>> {
        // Nothing panics while the lock is held.
        self.0.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
