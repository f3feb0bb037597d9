//! Links, monitors and exit signals between cells, as in Erlang.
//!
//! [`Links`] is a pure table: it is told what a cell does or what became of it, and says what is to be done, as a
//! list of [`Effect`]s in order. Whoever owns the table carries the effects out in that order, one call after
//! another; so the signals from one cell to another keep their order.
//!
//! - A link has two ends and no direction, and there is at most one per pair. When one end ends abnormally, that is
//!   with anything but `normal`, the other is taken down with the reason [`Reason::Link`], unless it traps exits:
//!   then it gets a message, and that also of a normal end. A reason that already is a link's goes on unchanged, so
//!   that at the end of a chain one still sees its beginning.
//! - A monitor has a direction, there may be many per pair, and each yields one message when its target ends.
//! - A kill that is sent to a cell cannot be trapped. The end of a killed cell can: to those linked to it, it is an
//!   end like any other.
//!
//! Bounded: [`MAX_LINKS`] and [`MAX_MONITORS`] per cell. The messages that wait for a cell are bounded by these too,
//! except for exit signals sent directly, which whoever may send them answers for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use thiserror::Error;

use crate::{CellId, exit::Reason};

/// Links that a cell may have at once: each costs memory at both ends, and work at the end of either.
pub const MAX_LINKS: usize = 1_024;

/// Monitors that a cell may have at once on others: each is memory, and a message that will wait for the cell.
pub const MAX_MONITORS: usize = 1_024;

/// A monitor. Never used twice by one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Monitor(u64);

impl Monitor {
    /// Wraps a number that [`Monitor::get`] returned.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number behind the monitor.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A message about another cell, in the lane before all other messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// A linked cell has ended or somebody has sent an exit signal, and the receiver traps exits.
    Exit {
        /// The other cell.
        from: CellId,
        /// Why it ended, or what it sent.
        reason: Reason,
    },
    /// A monitored cell has ended, or was not there to begin with.
    Down {
        /// The monitor, which is gone now.
        monitor: Monitor,
        /// The cell.
        cell: CellId,
        /// Why it ended; `no-process` if it was not there.
        reason: Reason,
    },
}

impl Signal {
    /// The other cell.
    pub fn cell(&self) -> CellId {
        match self {
            Self::Exit { from: cell, .. } | Self::Down { cell, .. } => *cell,
        }
    }

    /// Why it ended, or what it sent.
    pub fn reason(&self) -> &Reason {
        match self {
            Self::Exit { reason, .. } | Self::Down { reason, .. } => reason,
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Put a message into the signal lane of a cell.
    Deliver {
        /// Whose.
        to: CellId,
        /// What.
        signal: Signal,
    },
    /// End a cell with this reason. There may be a second one for the same cell, to kill it.
    TakeDown {
        /// Which.
        cell: CellId,
        /// Why.
        reason: Reason,
    },
    /// Tell whoever is at the other end of the streams of a cell that has ended.
    TellStreams(CellId, Reason),
    /// Release the names of a cell that has ended.
    ReleaseNames(CellId),
    /// Tell the supervisor of a cell that has ended.
    TellSupervisor(CellId, Reason),
    /// Tell who waits for the end of a cell.
    TellWaiters(CellId, Reason),
}

/// An exit signal that one cell sends to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Cannot be trapped; the cell ends with `killed`.
    Kill,
    /// Taken for the end of a linked cell with this reason, except that it needs no link and that who does not trap it
    /// ends with the reason itself.
    With(Reason),
}

/// Why a link or a monitor was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// One of the two has too many.
    #[error("cell {0} has {MAX_LINKS} links, as many as it may have: unlink one first")]
    Links(CellId),
    /// The cell has too many.
    #[error("cell {0} has {MAX_MONITORS} monitors, as many as it may have: take one back first")]
    Monitors(CellId),
    /// The cell that asks does not handle its signals.
    #[error("too many signals wait for cell {0}: handle them first")]
    Signals(CellId),
    /// The cell that asks has ended.
    #[error("cell {0} has ended")]
    Ended(CellId),
}

/// The links and monitors of all cells of a node.
#[derive(Clone, Debug, Default)]
pub struct Links {
    cells: BTreeMap<CellId, Cell>,
    next_monitor: u64,
}

#[derive(Clone, Debug, Default)]
struct Cell {
    links: BTreeSet<CellId>,
    /// Its monitors on others.
    watches: BTreeMap<Monitor, CellId>,
    /// Others' monitors on it.
    watched: BTreeMap<Monitor, CellId>,
    traps: bool,
    /// How it is being taken down already.
    doomed: Option<Doom>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doom {
    Ending,
    Killed,
}

impl Links {
    /// A cell has started. To the table it is there from now on.
    pub fn started(&mut self, cell: CellId) {
        self.cells.entry(cell).or_default();
    }

    /// Whether a cell has started and not ended.
    pub fn is_alive(&self, cell: CellId) -> bool {
        self.cells.contains_key(&cell)
    }

    /// Links two cells. Nothing happens if they are linked already, or the same. A link to a cell that is not there
    /// is an end of that cell with `no-process`, at once.
    ///
    /// # Errors
    ///
    /// Where `a`, who asks, has ended, or one of the two has as many links as it may have.
    pub fn link(&mut self, a: CellId, b: CellId) -> Result<Vec<Effect>, Refused> {
        let cell = self.cells.get(&a).ok_or(Refused::Ended(a))?;
        if a == b || cell.links.contains(&b) {
            return Ok(Vec::new());
        }
        let Some(other) = self.cells.get(&b) else {
            return Ok(self.exit_through_link(b, a, &Reason::NoProcess).into_iter().collect());
        };
        for (id, cell) in [(a, cell), (b, other)] {
            if cell.links.len() >= MAX_LINKS {
                return Err(Refused::Links(id));
            }
        }
        for (id, other) in [(a, b), (b, a)] {
            self.cells.entry(id).or_default().links.insert(other);
        }
        Ok(Vec::new())
    }

    /// Whether two cells are linked.
    pub fn is_linked(&self, a: CellId, b: CellId) -> bool {
        self.cells.get(&a).is_some_and(|cell| cell.links.contains(&b))
    }

    /// Takes a link back. From now on the end of either does nothing to the other.
    pub fn unlink(&mut self, a: CellId, b: CellId) {
        for (id, other) in [(a, b), (b, a)] {
            if let Some(cell) = self.cells.get_mut(&id) {
                cell.links.remove(&other);
            }
        }
    }

    /// Monitors a cell. If it is not there, the message comes at once.
    ///
    /// # Errors
    ///
    /// Where the watcher has ended, or has as many monitors as it may have.
    pub fn monitor(&mut self, watcher: CellId, target: CellId) -> Result<(Monitor, Vec<Effect>), Refused> {
        let monitor = Monitor(self.next_monitor);
        let cell = self.cells.get_mut(&watcher).ok_or(Refused::Ended(watcher))?;
        if cell.watches.len() >= MAX_MONITORS {
            return Err(Refused::Monitors(watcher));
        }
        self.next_monitor += 1;
        let Some(other) = self.cells.get_mut(&target) else {
            let signal = Signal::Down { monitor, cell: target, reason: Reason::NoProcess };
            return Ok((monitor, vec![Effect::Deliver { to: watcher, signal }]));
        };
        other.watched.insert(monitor, watcher);
        self.cells.entry(watcher).or_default().watches.insert(monitor, target);
        Ok((monitor, Vec::new()))
    }

    /// Takes a monitor back. Whether it was there: if not, its message has been sent.
    pub fn demonitor(&mut self, watcher: CellId, monitor: Monitor) -> bool {
        let target = self.cells.get_mut(&watcher).and_then(|cell| cell.watches.remove(&monitor));
        if let Some(cell) = target.and_then(|target| self.cells.get_mut(&target)) {
            cell.watched.remove(&monitor);
        }
        target.is_some()
    }

    /// Says whether a cell traps exits; cells do not unless they say so. Whether it did before.
    pub fn trap_exits(&mut self, cell: CellId, traps: bool) -> bool {
        self.cells.get_mut(&cell).is_some_and(|cell| std::mem::replace(&mut cell.traps, traps))
    }

    /// Sends an exit signal. To a cell that is not there: nothing.
    pub fn exit(&mut self, from: CellId, to: CellId, exit: Exit) -> Option<Effect> {
        let cell = self.cells.get_mut(&to)?;
        match exit {
            Exit::Kill if cell.doomed == Some(Doom::Killed) => None,
            Exit::Kill => {
                cell.doomed = Some(Doom::Killed);
                Some(Effect::TakeDown { cell: to, reason: Reason::Killed })
            }
            Exit::With(reason) => Self::arrive(to, cell, from, reason.clone(), reason),
        }
    }

    /// A cell has ended. What is to be done about it, in the order in which the news travels: stream peers, names,
    /// monitors and links, supervisor, waiters. Nothing if the cell is not there.
    pub fn ended(&mut self, cell: CellId, reason: &Reason) -> Vec<Effect> {
        let Some(gone) = self.cells.remove(&cell) else { return Vec::new() };
        let mut effects = vec![Effect::TellStreams(cell, reason.clone()), Effect::ReleaseNames(cell)];
        for (monitor, watcher) in gone.watched {
            if let Some(watching) = self.cells.get_mut(&watcher) {
                watching.watches.remove(&monitor);
                let signal = Signal::Down { monitor, cell, reason: reason.clone() };
                effects.push(Effect::Deliver { to: watcher, signal });
            }
        }
        for (monitor, target) in gone.watches {
            if let Some(watched) = self.cells.get_mut(&target) {
                watched.watched.remove(&monitor);
            }
        }
        for other in gone.links {
            if let Some(linked) = self.cells.get_mut(&other) {
                linked.links.remove(&cell);
            }
            effects.extend(self.exit_through_link(cell, other, reason));
        }
        effects.push(Effect::TellSupervisor(cell, reason.clone()));
        effects.push(Effect::TellWaiters(cell, reason.clone()));
        effects
    }

    fn exit_through_link(&mut self, from: CellId, to: CellId, reason: &Reason) -> Option<Effect> {
        let end = match reason {
            Reason::Link { .. } | Reason::Normal => reason.clone(),
            reason => Reason::Link { cell: from, reason: Arc::new(reason.clone()) },
        };
        Self::arrive(to, self.cells.get_mut(&to)?, from, reason.clone(), end)
    }

    /// An exit signal arrives: a message with `reason`, or the end with `end`.
    fn arrive(to: CellId, cell: &mut Cell, from: CellId, reason: Reason, end: Reason) -> Option<Effect> {
        if cell.doomed.is_some() {
            return None;
        }
        if cell.traps {
            return Some(Effect::Deliver { to, signal: Signal::Exit { from, reason } });
        }
        if reason == Reason::Normal {
            return None;
        }
        cell.doomed = Some(Doom::Ending);
        Some(Effect::TakeDown { cell: to, reason: end })
    }
}

#[cfg(test)]
mod tests;
