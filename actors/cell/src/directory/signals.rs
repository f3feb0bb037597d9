//! Links, monitors and exit signals between whoever lives on a node, cells and native actors alike.
//!
//! The table of [`Links`] says what is to be done, and it is done here, in order and under the table's lock: none of it
//! waits. So the signals of one to another keep their order.

use std::{
    collections::VecDeque,
    sync::{MutexGuard, PoisonError},
};

use ww_core::{
    CellId,
    exit::Reason,
    links::{Effect, Exit, Links, Monitor, Refused},
    registry::Owner,
};

use super::Directory;
use crate::{
    native::{Lane, Native, Notices},
    slot::Slot,
};

impl Directory {
    /// A place among the cells for a Rust actor, and the signals that will arrive there.
    pub fn enter(&self) -> (Native, Notices) {
        self.enter_in(None)
    }

    /// The same for one that lives in a slot: whoever asks for a name of the slot finds it.
    pub fn enter_slot(&self, slot: &Slot) -> (Native, Notices) {
        self.enter_in(Some(slot.clone()))
    }

    fn enter_in(&self, slot: Option<Slot>) -> (Native, Notices) {
        let id = self.next_id();
        if let Some(slot) = &slot {
            slot.occupy(id);
            self.occupied(slot, id);
        }
        let (native, lane) = Native::new(id, self.clone(), slot);
        let notices = lane.notices();
        // The node's own.
        self.names().open(Owner::Cell(id), 0);
        self.0.natives.insert(id, lane);
        self.links().started(id);
        (native, notices)
    }

    /// Ends a native actor. Nothing if it has ended before.
    pub(crate) fn end(&self, id: CellId, reason: &Reason) {
        let mut links = self.links();
        let effects = self.end_native(&mut links, id, reason);
        self.carry_out(&mut links, effects);
    }

    /// A cell has ended: its monitors and links are told.
    pub(super) fn tell_of_end(&self, cell: CellId, reason: &Reason) {
        let mut links = self.links();
        let effects = links.ended(cell, reason);
        self.carry_out(&mut links, effects);
    }

    /// Links two: see [`Links::link`].
    ///
    /// # Errors
    ///
    /// Where one of them has too many links, or who asks has ended or does not handle its signals.
    pub fn link(&self, a: CellId, b: CellId) -> Result<(), Refused> {
        self.check_room(a)?;
        let mut links = self.links();
        let effects = links.link(a, b)?;
        self.carry_out(&mut links, effects);
        Ok(())
    }

    /// Whether a cell or native actor lives.
    pub(crate) fn is_alive(&self, id: CellId) -> bool {
        self.links().is_alive(id)
    }

    /// Whether two are linked.
    pub(crate) fn is_linked(&self, a: CellId, b: CellId) -> bool {
        self.links().is_linked(a, b)
    }

    /// Takes a link back.
    pub fn unlink(&self, a: CellId, b: CellId) {
        self.links().unlink(a, b);
    }

    /// Monitors one on behalf of another: see [`Links::monitor`].
    ///
    /// # Errors
    ///
    /// Where the watcher has too many monitors, has ended, or does not handle its signals.
    pub fn monitor(&self, watcher: CellId, target: CellId) -> Result<Monitor, Refused> {
        self.check_room(watcher)?;
        let mut links = self.links();
        let (monitor, effects) = links.monitor(watcher, target)?;
        self.carry_out(&mut links, effects);
        Ok(monitor)
    }

    /// Takes a monitor back. Whether it was there.
    pub fn demonitor(&self, watcher: CellId, monitor: Monitor) -> bool {
        self.links().demonitor(watcher, monitor)
    }

    /// Says whether a cell traps exits. Whether it did before.
    pub fn trap_exits(&self, cell: CellId, on: bool) -> bool {
        self.links().trap_exits(cell, on)
    }

    /// Sends an exit signal. Whether there was room for it: one that traps exits and does not read them is not filled.
    pub fn exit(&self, from: CellId, to: CellId, exit: Exit) -> bool {
        if exit != Exit::Kill && !self.has_room(to) {
            return false;
        }
        let mut links = self.links();
        let effect = links.exit(from, to, exit);
        self.carry_out(&mut links, effect);
        true
    }

    fn has_room(&self, id: CellId) -> bool {
        match self.0.cells.get(&id) {
            Some(cell) => cell.signals().has_room(),
            None => self.native(id).is_none_or(|native| native.has_room()),
        }
    }

    /// A monitor of, or a link with, one that is not there is a signal at once: without this, one that asks again and again
    /// would fill its own lane.
    fn check_room(&self, asker: CellId) -> Result<(), Refused> {
        if self.has_room(asker) { Ok(()) } else { Err(Refused::Signals(asker)) }
    }

    /// Carries effects out, and what follows from them.
    fn carry_out(&self, links: &mut Links, effects: impl IntoIterator<Item = Effect>) {
        let mut effects: VecDeque<Effect> = effects.into_iter().collect();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Deliver { to, signal } => {
                    if let Some(cell) = self.0.cells.get(&to) {
                        cell.signals().push(signal);
                    } else if let Some(native) = self.native(to) {
                        native.push(signal);
                    }
                }
                Effect::TakeDown { cell: id, reason } => {
                    if let Some(cell) = self.0.cells.get(&id) {
                        cell.stop(reason);
                    } else {
                        effects.extend(self.end_native(links, id, &reason));
                    }
                }
                // Told in `Directory::ended` and by who runs the cell, in this same order.
                _ => {}
            }
        }
    }

    /// The end of a native actor: its names, then its monitors and links, then who waits for it.
    fn end_native(&self, links: &mut Links, id: CellId, reason: &Reason) -> Vec<Effect> {
        let Some((_, native)) = self.0.natives.remove(&id) else { return Vec::new() };
        if let Some(slot) = native.slot() {
            self.names().occupy(slot.id(), None);
        }
        self.release(Owner::Cell(id));
        let effects = links.ended(id, reason);
        native.close(reason);
        effects
    }

    pub(super) fn native(&self, id: CellId) -> Option<Lane> {
        self.0.natives.get(&id).map(|native| native.clone())
    }

    pub(super) fn links(&self) -> MutexGuard<'_, Links> {
        // Nothing panics while the lock is held.
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
