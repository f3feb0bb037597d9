//! The children of one supervisor, in the order of their start.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use super::{
    plan::PlanId,
    protocol::{Child as Line, Counts, Incarnation, Slot, Status, Timer},
    spec::{ChildId, ChildSpec, Kind},
};

/// A child, whether it lives or not.
#[derive(Clone, Debug)]
pub(super) struct Child<C> {
    pub(super) spec: ChildSpec<C>,
    pub(super) state: State,
    /// The plan that has to finish before anything else happens to the child.
    pub(super) plan: Option<PlanId>,
    /// Restarts in a row, for the backoff.
    pub(super) attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No incarnation. `coming`: it belongs to a group whose restart is not complete.
    Down { coming: bool },
    /// It is being started. If this is a restart, it was `last`.
    Starting { incarnation: Incarnation, last: Option<Incarnation> },
    /// It has started. `ended`: its end is known, and waits for its turn.
    Up { incarnation: Incarnation, since: Duration, ended: bool },
    /// It is being stopped.
    Stopping(Incarnation),
    /// It was `last`, and is going to be restarted: when the timer elapses, or in its turn.
    Restarting { last: Option<Incarnation>, timer: Option<Timer> },
}

#[derive(Clone, Debug)]
pub(super) struct Children<C> {
    table: BTreeMap<Slot, Child<C>>,
    ids: HashMap<ChildId, Slot>,
    incarnations: HashMap<Incarnation, Slot>,
    /// Whether children are instances of a template, without ids.
    simple: bool,
    next_slot: u64,
    next_incarnation: u64,
}

impl<C> Children<C> {
    pub(super) fn new(simple: bool) -> Self {
        Self {
            table: BTreeMap::new(),
            ids: HashMap::new(),
            incarnations: HashMap::new(),
            simple,
            next_slot: 0,
            next_incarnation: 0,
        }
    }

    /// Adds a child after all others. Ids are unique, which the caller has checked.
    pub(super) fn add(&mut self, spec: ChildSpec<C>) -> Slot {
        let slot = Slot(self.next_slot);
        self.next_slot += 1;
        if !self.simple {
            self.ids.insert(spec.id.clone(), slot);
        }
        self.table.insert(slot, Child { spec, state: State::Down { coming: false }, plan: None, attempts: 0 });
        slot
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        if let Some(child) = self.table.remove(&slot) {
            self.forget(child.state);
            if !self.simple {
                self.ids.remove(&child.spec.id);
            }
        }
    }

    /// Changes the state of a child that is there.
    pub(super) fn set(&mut self, slot: Slot, state: State) {
        let Some(child) = self.table.get_mut(&slot) else { return };
        let old = std::mem::replace(&mut child.state, state);
        self.forget(old);
        self.incarnations.extend(state.known_as().map(|incarnation| (incarnation, slot)));
    }

    pub(super) fn next_incarnation(&mut self) -> Incarnation {
        self.next_incarnation += 1;
        Incarnation(self.next_incarnation)
    }

    /// Whether there ever was such an incarnation.
    pub(super) fn has_been(&self, incarnation: Incarnation) -> bool {
        (1..=self.next_incarnation).contains(&incarnation.0)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Child<C>> {
        self.table.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Child<C>> {
        self.table.get_mut(&slot)
    }

    pub(super) fn state(&self, slot: Slot) -> Option<State> {
        self.table.get(&slot).map(|child| child.state)
    }

    pub(super) fn find(&self, id: &ChildId) -> Option<Slot> {
        self.ids.get(id).copied()
    }

    /// The child that lives as the incarnation, is going to, or did and is being restarted.
    pub(super) fn find_incarnation(&self, incarnation: Incarnation) -> Option<Slot> {
        self.incarnations.get(&incarnation).copied()
    }

    pub(super) fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> + '_ {
        self.table.keys().copied()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Slot, &Child<C>)> {
        self.table.iter().map(|(&slot, child)| (slot, child))
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |(&slot, child): (&Slot, &Child<C>)| Line {
            slot,
            id: (!self.simple).then(|| child.spec.id.clone()),
            status: child.status(),
            kind: child.spec.kind,
        };
        self.table.iter().map(line).collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let supervisors = self.table.values().filter(|child| child.spec.kind == Kind::Supervisor).count();
        Counts {
            specs: if self.simple { 1 } else { self.table.len() },
            active: self.table.values().filter(|child| child.state.is_active()).count(),
            supervisors,
            workers: self.table.len() - supervisors,
        }
    }

    fn forget(&mut self, state: State) {
        for incarnation in state.known_as() {
            self.incarnations.remove(&incarnation);
        }
    }
}

impl<C> Child<C> {
    fn status(&self) -> Status {
        match self.state {
            // Between its stop and its start, in the restart of its group.
            State::Down { coming: true } if self.plan.is_some() => Status::Restarting,
            State::Down { .. } => Status::Undefined,
            State::Restarting { .. } => Status::Restarting,
            State::Starting { incarnation, .. } => Status::Starting(incarnation),
            State::Up { incarnation, .. } => Status::Running(incarnation),
            State::Stopping(incarnation) => Status::Stopping(incarnation),
        }
    }
}

impl State {
    pub(super) const DOWN: Self = Self::Down { coming: false };

    /// The incarnation that lives, or is going to.
    pub(super) fn incarnation(self) -> Option<Incarnation> {
        match self {
            Self::Starting { incarnation, .. } | Self::Up { incarnation, .. } | Self::Stopping(incarnation) => {
                Some(incarnation)
            }
            Self::Restarting { .. } | Self::Down { .. } => None,
        }
    }

    /// The last incarnation that had started, of a child that is being restarted: its callers know it as this one.
    pub(super) fn last(self) -> Option<Incarnation> {
        match self {
            Self::Restarting { last, .. } | Self::Starting { last, .. } => last,
            Self::Down { .. } | Self::Up { .. } | Self::Stopping(_) => None,
        }
    }

    fn known_as(self) -> impl Iterator<Item = Incarnation> {
        self.incarnation().into_iter().chain(self.last())
    }

    fn is_active(self) -> bool {
        matches!(self, Self::Up { ended: false, .. } | Self::Stopping(_))
    }
}
