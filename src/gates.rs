//! The gates of a node: one for each cell that callers come to, whatever the way.
//!
//! Bounded by the cells that live: the gates of those that have ended go when as many have come again as there were.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use ww_cell::Slot;
use ww_core::{SlotId, exit};

use crate::gate::Gate;

/// Gates that are kept before those of cells that have ended are looked for.
const FEW: usize = 64;

/// The gates of all cells, by their slot.
#[derive(Debug, Default)]
pub(crate) struct Gates(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    gates: HashMap<SlotId, (Gate, exit::Watch)>,
    /// How many there may be before the next look.
    most: usize,
}

impl Gates {
    /// The gate of a cell that serves `at_once` messages at the same time: always the same one.
    pub(crate) fn of(&self, slot: &Slot, at_once: usize) -> Gate {
        // Nothing panics while the lock is held.
        let Inner { gates, most } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((gate, _)) = gates.get(&slot.id()) {
            debug_assert_eq!(gate.at_once(), at_once.max(1), "a slot serves as many at once whatever the way");
            return gate.clone();
        }
        if gates.len() >= *most {
            gates.retain(|_, (_, exit)| exit.reason().is_none());
            *most = FEW.max(2 * gates.len());
        }
        let gate = Gate::new(at_once);
        gates.insert(slot.id(), (gate.clone(), slot.exit().clone()));
        gate
    }
}
