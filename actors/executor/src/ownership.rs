//! All that runs on a node and whom it belongs to: the tree, how to end what is in it, and who is told of an end.
//!
//! Behind a lock, which is held for moments: places are taken and ends are carried out in the thread where they happen, and
//! wait for no other. In come starts, ends and the stop of the node; out go stops and, in this order, the news of an end: to
//! the supervisor, then to whoever waits for it. What is told is told under the lock, so that everybody hears of two ends in the
//! same order; none of it waits, and none of it comes back. Bounded are the cells, by their owners' limits.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::oneshot;
use ww_cell::{Kinship, Lineage, Stop};
use ww_core::{
    Account, CellId, Limits,
    account::Holder,
    exit::{self, Reason},
};

use crate::{
    executor::SpawnError,
    process::Kept,
    supervisor::{ChildEnded, Inbox, Tell},
    tree::{Effect, Full, Owner, Tree},
};

/// What has a place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cell.
    Cell,
    /// A supervisor.
    Supervisor,
    /// A client, or a part of what one started.
    Session,
    /// A peer that the configuration names, above all its connections.
    Peer,
}

/// Whom a cell belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The cell, supervisor or session.
    pub id: CellId,
    /// Its owner.
    pub owner: Owner,
    /// Which of them it is.
    pub kind: Kind,
}

/// All that runs on a node.
pub(crate) struct Ownership(Mutex<State>);

struct State {
    tree: Tree,
    /// Clients among the owners.
    sessions: HashSet<CellId>,
    /// Clients whose connection was lost, until all that they owned is gone.
    lost: HashSet<CellId>,
    /// How to end what runs, or is about to.
    running: HashMap<CellId, Running>,
    /// Ends that are told of when nothing is left of what had an owner there.
    ended: HashMap<CellId, Ended>,
    /// What those that nobody holds any more still need.
    kept: HashMap<CellId, Kept>,
    /// What nobody needs any more, until the lock is free: dropping it may lead back here.
    given_up: Vec<Kept>,
    waiting_for_quiet: Vec<oneshot::Sender<()>>,
}

/// How to end what runs.
enum Running {
    Cell(Stop),
    Supervisor(Inbox),
}

/// An end, and who is told of it.
pub(crate) struct Ended {
    pub(crate) reason: Reason,
    /// Whether it had started.
    pub(crate) started: bool,
    pub(crate) supervisor: Option<Inbox>,
    pub(crate) waiters: exit::Notifier,
}

/// A place that was taken for a cell, and is given back unless the cell takes it.
pub(crate) struct Place {
    ownership: Arc<Ownership>,
    id: CellId,
    limits: Limits,
    account: Account,
    /// Whether an owner above bounds the memory of all below it.
    bounds_memory: bool,
    taken: bool,
}

impl Ownership {
    /// Nothing yet. Whatever comes has its account below this one.
    pub(crate) fn new(account: Account) -> Self {
        Self(Mutex::new(State {
            tree: Tree::new(account),
            sessions: HashSet::new(),
            lost: HashSet::new(),
            running: HashMap::new(),
            ended: HashMap::new(),
            kept: HashMap::new(),
            given_up: Vec::new(),
            waiting_for_quiet: Vec::new(),
        }))
    }

    /// Takes a place for a cell that ends by `stop`. Without limits of its own it gets those of its owner.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        owner: Owner,
        id: CellId,
        limits: Option<Limits>,
        stop: &Stop,
    ) -> Result<Place, SpawnError> {
        self.locked(|state| {
            let limits = state.limits(limits, owner)?;
            let account = state.tree.reserve(owner, id, limits.clone(), limits.memory, Holder::Cell(id))?;
            state.running.insert(id, Running::Cell(stop.clone()));
            let (ownership, bounds_memory) = (Arc::clone(self), state.tree.bounds_memory(id));
            Ok(Place { ownership, id, limits, account, bounds_memory, taken: false })
        })
    }

    /// Takes a place for a supervisor: what it may use, and its account. Without limits of its own it gets those of its owner.
    pub(crate) fn adopt(
        &self,
        owner: Owner,
        id: CellId,
        limits: Option<Limits>,
        inbox: &Inbox,
    ) -> Result<(Limits, Account), SpawnError> {
        self.locked(|state| {
            let limits = state.limits(limits, owner)?;
            // It has no memory of its own: what its children have is counted.
            let account = state.tree.reserve(owner, id, limits.clone(), 0, Holder::Cell(id))?;
            state.tree.supervises(id);
            state.running.insert(id, Running::Supervisor(inbox.clone()));
            Ok((limits, account))
        })
    }

    /// Takes a place for a client, or a part of what it starts. Returns its account.
    pub(crate) fn open_session(
        &self,
        owner: Owner,
        id: CellId,
        limits: Limits,
        holder: Holder,
        stop: &Stop,
    ) -> Result<Account, SpawnError> {
        self.locked(|state| {
            let limits = state.limits(Some(limits), owner)?;
            // As a supervisor.
            let account = state.tree.reserve(owner, id, limits, 0, holder)?;
            state.sessions.insert(id);
            state.running.insert(id, Running::Cell(stop.clone()));
            Ok(account)
        })
    }

    /// Counts the memory of one more instance of a cell. Whether there was room.
    pub(crate) fn take_memory(&self, id: CellId, memory: u64) -> bool {
        self.locked(|state| state.tree.take_memory(id, memory))
    }

    /// Gives it back.
    pub(crate) fn give_memory(&self, id: CellId, memory: u64) {
        self.locked(|state| state.tree.give_memory(id, memory));
    }

    /// A client has gone, or a part of what it started is to end.
    pub(crate) fn session_ended(&self, id: CellId, owner: Owner, reason: &Reason) {
        self.locked(|state| {
            // A part of what a client started may be told of its end before the whole is.
            if *reason == Reason::NoConnection || state.is_lost(owner) {
                state.lost.insert(id);
            }
            state.leave(id);
        });
    }

    /// A cell has ended, or a supervisor after all its children. Its place is free before its end is news: an owner that
    /// starts one cell after the other, at its limit, is not refused. A supervisor is told when all that it owned is gone, too.
    pub(crate) fn ended(&self, id: CellId, ended: Ended) {
        self.locked(|state| match ended {
            Ended { supervisor: None, reason, waiters, .. } => {
                let effects = state.remove(id);
                waiters.notify(reason);
                state.carry_out(effects);
            }
            ended => {
                state.ended.insert(id, ended);
                state.leave(id);
            }
        });
    }

    /// Nobody holds the process of a cell any more: it ends, with what it still needs, unless its owner's end is its own.
    pub(crate) fn release(&self, id: CellId, kept: Kept) {
        self.locked(|state| {
            let owner_ends = match state.tree.owner(id) {
                // Nothing runs in a session: once it is asked to end, it does.
                Some(Owner::Cell(owner)) if state.sessions.contains(&owner) => state.session_ends(owner),
                Some(Owner::Cell(owner)) => state.running.get(&owner).is_none_or(Running::is_ending),
                Some(Owner::Node) | None => false,
            };
            match state.running.get(&id) {
                None => state.given_up.push(kept),
                Some(running) => {
                    // All that is below an ending cell is asked to end at once: with the reason that fits.
                    if !owner_ends {
                        running.end(Reason::Shutdown);
                    }
                    state.kept.insert(id, kept);
                }
            }
        });
    }

    /// A supervisor has not ended in time: all that is below it is killed.
    pub(crate) fn out_of_time(&self, id: CellId) {
        self.locked(|state| {
            let effects = state.tree.out_of_time(id);
            state.carry_out(effects);
        });
    }

    /// Asks everything to end, the youngest first; what is returned says when nothing runs.
    pub(crate) fn stop(&self) -> oneshot::Receiver<()> {
        self.locked(|state| {
            let effects = state.tree.stop();
            let quiet = state.quiet();
            state.carry_out(effects);
            quiet
        })
    }

    /// Says when nothing runs.
    pub(crate) fn quiet(&self) -> oneshot::Receiver<()> {
        self.locked(|state| {
            let quiet = state.quiet();
            state.carry_out(Vec::new());
            quiet
        })
    }

    /// Whether a cell, supervisor or session is below another one.
    pub(crate) fn is_below(&self, id: CellId, above: CellId) -> bool {
        self.locked(|state| state.tree.is_below(id, above))
    }

    /// Everything that has a place in the tree, in the order in which it was taken.
    pub(crate) fn owners(&self) -> Vec<Owned> {
        self.locked(|state| {
            let kind = |id| match state.running.get(&id) {
                _ if state.sessions.contains(&id) => match state.tree.account(id).map(Account::holder) {
                    Some(Holder::Peer(_)) => Kind::Peer,
                    _ => Kind::Session,
                },
                Some(Running::Supervisor(_)) => Kind::Supervisor,
                Some(Running::Cell(_)) | None => Kind::Cell,
            };
            let owners = state.tree.owners().into_iter();
            owners.map(|(id, owner)| Owned { id, owner, kind: kind(id) }).collect()
        })
    }

    /// What is held for an owner.
    pub(crate) fn account(&self, owner: Owner) -> Result<Account, SpawnError> {
        self.locked(|state| Ok(state.tree.account_of(owner).ok_or(Full::OwnerEnded)?.clone()))
    }

    /// On whose behalf an owner's programs are compiled.
    pub(crate) fn lineage(&self, owner: Owner) -> Lineage {
        Lineage::new(&self.locked(|state| state.tree.lineage(owner)))
    }

    fn locked<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        // Nothing panics while the lock is held.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = what(&mut state);
        let given_up = mem::take(&mut state.given_up);
        drop(state);
        drop(given_up);
        done
    }
}

impl Kinship for Ownership {
    fn is_below(&self, cell: CellId, above: CellId) -> bool {
        self.locked(|state| state.tree.is_below(cell, above) || state.tree.was_below(cell, above))
    }
}

impl Place {
    /// What the cell may use.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the node holds for the cell.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether the cell should still be started.
    pub(crate) fn check(&self) -> Result<(), SpawnError> {
        self.ownership.locked(|state| {
            if state.tree.is_stopping() {
                Err(SpawnError::Stopped)
            } else if state.tree.is_wanted(self.id) {
                Ok(())
            } else {
                Err(Full::OwnerEnded.into())
            }
        })
    }

    /// What counts the memory of further instances, if an owner above bounds that.
    pub(crate) fn bounded_by(&self) -> Option<Arc<Ownership>> {
        self.bounds_memory.then(|| Arc::clone(&self.ownership))
    }

    /// The cell has the place until it ends.
    pub(crate) fn take(mut self) -> Arc<Ownership> {
        self.taken = true;
        Arc::clone(&self.ownership)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.taken {
            self.ownership.locked(|state| state.leave(self.id));
        }
    }
}

impl Running {
    /// Asks for the end. A supervisor ends in its own way, within its grace.
    fn end(&self, reason: Reason) {
        match self {
            Self::Cell(stop) => stop.request(reason),
            Self::Supervisor(inbox) => inbox.tell(Tell::OwnerEnded),
        }
    }

    fn kill(&self) {
        match self {
            Self::Cell(stop) => stop.request(Reason::Killed),
            Self::Supervisor(inbox) => inbox.tell(Tell::Kill),
        }
    }

    fn is_ending(&self) -> bool {
        match self {
            Self::Cell(stop) => stop.is_ending(),
            Self::Supervisor(_) => false,
        }
    }
}

impl State {
    /// What is asked for, or what the owner has.
    fn limits(&self, wanted: Option<Limits>, owner: Owner) -> Result<Limits, SpawnError> {
        if self.tree.is_stopping() {
            return Err(SpawnError::Stopped);
        }
        match (wanted, owner) {
            (Some(limits), _) => Ok(limits),
            (None, Owner::Cell(owner)) => Ok(self.tree.limits(owner).ok_or(Full::OwnerEnded)?.clone()),
            // What the node holds is bounded by its own account.
            (None, Owner::Node) => Ok(Limits { held: u64::MAX, ..Limits::default() }),
        }
    }

    /// It runs no more, or never did.
    fn leave(&mut self, id: CellId) {
        let effects = self.remove(id);
        self.carry_out(effects);
    }

    fn remove(&mut self, id: CellId) -> Vec<Effect> {
        self.running.remove(&id);
        self.given_up.extend(self.kept.remove(&id));
        self.sessions.remove(&id);
        self.tree.ended(id)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Stop(id) => {
                    let of_lost = self.tree.owner(id).is_some_and(|owner| self.is_lost(owner));
                    if let Some(running) = self.running.get(&id) {
                        running.end(if of_lost { Reason::NoConnection } else { Reason::Shutdown });
                    }
                }
                Effect::Kill(id) => {
                    if let Some(running) = self.running.get(&id) {
                        running.kill();
                    }
                }
                Effect::Gone(id) => {
                    self.lost.remove(&id);
                    tracing::trace!(cell = %id, "a cell and all that it owned are gone");
                    if let Some(Ended { reason, started, supervisor, waiters }) = self.ended.remove(&id) {
                        if let Some(supervisor) = supervisor {
                            supervisor.child_ended(ChildEnded { id, reason: reason.clone(), started });
                        }
                        waiters.notify(reason);
                    }
                }
            }
        }
        // A client that has started nothing holds nobody up.
        if self.tree.len() == self.sessions.len() {
            for done in self.waiting_for_quiet.drain(..) {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    fn quiet(&mut self) -> oneshot::Receiver<()> {
        let (done, quiet) = oneshot::channel();
        // Those who have stopped waiting make room.
        self.waiting_for_quiet.retain(|waiting| !waiting.is_closed());
        self.waiting_for_quiet.push(done);
        quiet
    }

    /// Whether what a session owns is about to end, as the session is or one that it is a part of.
    fn session_ends(&self, session: CellId) -> bool {
        self.up_from(Owner::Cell(session)).any(|reason| reason.is_some())
    }

    /// Whether the connection is lost of the client that owns something, or a part of it.
    fn is_lost(&self, owner: Owner) -> bool {
        self.up_from(owner).any(|reason| reason == Some(&Reason::NoConnection))
    }

    /// The sessions that something belongs to, from the nearest up: why each of them ends, if it does.
    fn up_from(&self, owner: Owner) -> impl Iterator<Item = Option<&Reason>> {
        let session_of = move |owner| match owner {
            Some(Owner::Cell(id)) if self.sessions.contains(&id) || self.lost.contains(&id) => Some(id),
            Some(Owner::Cell(_) | Owner::Node) | None => None,
        };
        let ends = move |id| match self.running.get(&id) {
            Some(Running::Cell(stop)) => stop.reason(),
            _ => self.lost.contains(&id).then_some(&Reason::NoConnection),
        };
        std::iter::successors(session_of(Some(owner)), move |id| session_of(self.tree.owner(*id))).map(ends)
    }
}
