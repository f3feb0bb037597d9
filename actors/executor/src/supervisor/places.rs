//! What stays of a child while incarnations come and go: its slot, with the names of its spec and what is published for it.

use ww_cell::Slot;
use ww_core::{SlotId, exit::Reason, supervisor as machine};

use super::{Driver, start};
use crate::{
    SpawnError,
    blueprint::{Blueprint, CellBlueprint},
    executor::Shared,
};

/// The place of one child.
pub(super) struct Place {
    pub(super) slot: Slot,
    /// Why nobody lives there, if nobody is coming.
    vacated: Option<Reason>,
}

impl Place {
    pub(super) fn id(&self) -> SlotId {
        self.slot.id()
    }

    /// An incarnation has started there.
    pub(super) fn taken(&mut self) {
        self.vacated = None;
    }

    /// Nobody is coming, unless somebody asks for it.
    pub(super) fn vacate(&mut self, reason: Reason) {
        self.slot.close(&reason);
        self.vacated = Some(reason);
    }
}

impl Driver {
    /// The slot of a child: the one that it had, or a new one.
    pub(super) fn place(&mut self, child: machine::Slot, from: &Blueprint) -> Result<Slot, SpawnError> {
        if let Some(place) = self.places.get(&child) {
            return Ok(place.slot.clone());
        }
        let shared = self.executor.upgrade().ok_or(SpawnError::Stopped)?;
        let slot = match from {
            Blueprint::Cell(cell) => self.slot_of_cell(&shared, cell)?,
            Blueprint::Supervisor(supervision) => start::new_slot(&shared, supervision.name.as_ref(), &self.account)?,
        };
        self.places.insert(child, Place { slot: slot.clone(), vacated: None });
        Ok(slot)
    }

    fn slot_of_cell(&self, shared: &Shared, cell: &CellBlueprint) -> Result<Slot, SpawnError> {
        let directory = shared.runtime.directory();
        let limits = cell.spec.limits.as_ref().unwrap_or(&self.limits);
        let slot = cell.slot.clone().unwrap_or_else(|| cell.work.new_slot(directory, limits, &self.account));
        let furnished = (cell.spec.names.iter())
            .try_for_each(|name| directory.name_slot(&slot, name.clone()))
            .map_err(|error| SpawnError::Refused(error.into()))
            .and_then(|()| match &cell.spec.publish {
                Some(publish) => publish(&slot).map_err(SpawnError::NotPublished),
                None => Ok(()),
            });
        match furnished {
            Ok(()) => Ok(slot),
            Err(error) => {
                directory.remove_slot(&slot, &Reason::start_failed(&error));
                Err(error)
            }
        }
    }

    /// A child is forgotten, and its slot ends.
    pub(super) fn give_up(&mut self, child: machine::Slot, reason: &Reason) {
        self.retries.end(child);
        if let Some(place) = self.places.remove(&child) {
            self.remove(&place, reason);
        }
    }

    /// All children are forgotten. The slots of those that ended before say why they did.
    pub(super) fn give_up_all(&mut self, reason: &Reason) {
        for place in std::mem::take(&mut self.places).into_values() {
            self.remove(&place, place.vacated.as_ref().unwrap_or(reason));
        }
    }

    fn remove(&self, place: &Place, reason: &Reason) {
        if let Some(shared) = self.executor.upgrade() {
            shared.runtime.directory().remove_slot(&place.slot, reason);
        }
    }
}
