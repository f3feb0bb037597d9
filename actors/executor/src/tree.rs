//! Who owns whom: a pure state machine, events in, effects out.
//!
//! Every cell has one owner: another cell, a supervisor, or the node. A supervisor has an owner as well, and is counted
//! as a cell without memory. When an owner ends, everything below it is asked to end at once, a cell
//! before what it owns, and of two that have one owner the younger first. Only a supervisor asks its
//! children itself, in its own order. An owner is gone when all below it are. Starts
//! are counted against the limits of every owner above from the moment they are reserved, so that no
//! number of starts at the same time exceeds them.
//!
//! Nothing here recurses, and no owner is deeper than [`MAX_DEPTH`].

use std::collections::{BTreeSet, HashMap, VecDeque};

use thiserror::Error;
use ww_core::{
    Account, CellId, Limits,
    account::{Holder, Overdrawn},
};

/// Owners above one another, the cell itself included: what has to be known of all owners above is
/// found by walking up. A program of parts needs a handful, and each capability that is narrowed to
/// limits of its own adds one.
pub const MAX_DEPTH: u32 = 128;

/// Who owns a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The node itself: the image's own cell.
    Node,
    /// Another cell.
    Cell(CellId),
}

/// Why a cell cannot have another child.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Full {
    /// The owner has ended, or is ending.
    #[error("the owner has ended")]
    OwnerEnded,
    /// It owns as many as it may.
    #[error("the cell owns {most} children already, which is its limit `children`")]
    Children {
        /// How many it may own.
        most: u32,
    },
    /// The owner has as many owners above it as there may be.
    #[error("{most} owners are above one another already, the most that a node takes: start it from a cell further up")]
    Depth {
        /// How many there may be.
        most: u32,
    },
    /// One of the cells above has as many below it as it may.
    #[error("{most} cells run below cell {above} already, which is its limit `subtree-cells`")]
    Cells {
        /// The cell above.
        above: CellId,
        /// How many may run below it.
        most: u32,
    },
    /// One of the cells above has handed out all its memory.
    #[error("{wanted} more bytes of memory exceed the {most} of the limit `subtree-memory` of cell {above}")]
    Memory {
        /// The cell above.
        above: CellId,
        /// Bytes that the new cell may use.
        wanted: u64,
        /// Bytes that all cells below may use together.
        most: u64,
    },
    /// The node holds as much as it may for one of those above.
    #[error(transparent)]
    Held(#[from] Overdrawn),
}

/// Cells that have ended below one owner and that it can still ask about: 2 KiB. It is told of the end of a child; this is
/// for the moment between.
pub(crate) const KEPT_GONE: usize = 256;

/// All cells of a node.
#[derive(Debug)]
pub(crate) struct Tree {
    /// What is held for all of them.
    account: Account,
    nodes: HashMap<CellId, Node>,
    /// The cells that the node owns. The order of ids is that of their start.
    roots: BTreeSet<CellId>,
    /// The node is stopping: all its cells were asked to end.
    stopping: bool,
}

#[derive(Debug)]
struct Node {
    owner: Owner,
    limits: Limits,
    /// What is held for it, and for all below it.
    account: Account,
    /// Bytes that it may use itself.
    memory: u64,
    /// How many owners there are down to it, itself included.
    depth: u32,
    /// In the order of their start.
    children: BTreeSet<CellId>,
    /// It is a supervisor, which ends its children itself.
    supervises: bool,
    ended: bool,
    /// It was asked to end, by the end of an owner above or by the node's.
    stopping: bool,
    cells_below: u32,
    memory_below: u64,
    /// The last that ended below it, the oldest first.
    gone: VecDeque<CellId>,
}

/// What has to be done after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask this cell or supervisor to end; its end is an event to come.
    Stop(CellId),
    /// The same for one whose time is over.
    Kill(CellId),
    /// This cell and all that it owned have ended.
    Gone(CellId),
}

impl Tree {
    /// An empty tree, whose cells have their accounts below this one.
    pub(crate) fn new(account: Account) -> Self {
        Self { account, nodes: HashMap::new(), roots: BTreeSet::new(), stopping: false }
    }

    /// Takes a place for a new cell, or for a supervisor, that may use `memory` bytes itself. Returns its account, which
    /// belongs to `holder`.
    ///
    /// # Errors
    ///
    /// Where a limit above it is reached, or its owner has ended. Then nothing has changed.
    pub(crate) fn reserve(
        &mut self,
        owner: Owner,
        id: CellId,
        limits: Limits,
        memory: u64,
        holder: Holder,
    ) -> Result<Account, Full> {
        if self.stopping {
            return Err(Full::OwnerEnded);
        }
        let mut depth = 1;
        if let Owner::Cell(cell) = owner {
            let node = self.nodes.get(&cell).filter(|node| !node.ended && !node.stopping).ok_or(Full::OwnerEnded)?;
            let most = node.limits.children;
            if node.children.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
                return Err(Full::Children { most });
            }
            depth += node.depth;
            if depth > MAX_DEPTH {
                return Err(Full::Depth { most: MAX_DEPTH });
            }
        }
        for above in self.above(owner) {
            let node = &self.nodes[&above];
            let most = node.limits.subtree_cells;
            if node.cells_below >= most {
                return Err(Full::Cells { above, most });
            }
            if let Some(most) = node.limits.subtree_memory
                && node.memory_below.saturating_add(memory) > most
            {
                return Err(Full::Memory { above, wanted: memory, most });
            }
        }
        let account = self.account_of(owner).ok_or(Full::OwnerEnded)?.below(holder, limits.held)?;
        for above in self.above(owner) {
            if let Some(node) = self.nodes.get_mut(&above) {
                node.cells_below += 1;
                node.memory_below = node.memory_below.saturating_add(memory);
            }
        }
        match owner {
            Owner::Node => {
                self.roots.insert(id);
            }
            Owner::Cell(cell) => {
                if let Some(node) = self.nodes.get_mut(&cell) {
                    node.children.insert(id);
                }
            }
        }
        let node = Node {
            owner,
            limits,
            account: account.clone(),
            memory,
            depth,
            children: BTreeSet::new(),
            supervises: false,
            ended: false,
            stopping: false,
            cells_below: 0,
            memory_below: 0,
            gone: VecDeque::new(),
        };
        self.nodes.insert(id, node);
        Ok(account)
    }

    /// Whether an owner above bounds the memory of a cell.
    pub(crate) fn bounds_memory(&self, id: CellId) -> bool {
        let above = self.owner(id).map(|owner| self.above(owner)).unwrap_or_default();
        above.iter().any(|above| self.nodes[above].limits.subtree_memory.is_some())
    }

    /// Counts more memory of a cell that runs, for one more of its instances, against the limits of every owner above.
    /// Whether there was room.
    pub(crate) fn take_memory(&mut self, id: CellId, memory: u64) -> bool {
        let Some(owner) = self.owner(id) else { return false };
        let above = self.above(owner);
        let has_room = |above: &CellId| {
            let node = &self.nodes[above];
            node.limits.subtree_memory.is_none_or(|most| node.memory_below.saturating_add(memory) <= most)
        };
        if !above.iter().all(has_room) {
            return false;
        }
        for above in above {
            if let Some(node) = self.nodes.get_mut(&above) {
                node.memory_below = node.memory_below.saturating_add(memory);
            }
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.memory = node.memory.saturating_add(memory);
        }
        true
    }

    /// Gives back what [`Tree::take_memory`] took. Nothing, if the cell is gone: then all of its memory is free.
    pub(crate) fn give_memory(&mut self, id: CellId, memory: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.memory = node.memory.saturating_sub(memory);
        let owner = node.owner;
        for above in self.above(owner) {
            if let Some(node) = self.nodes.get_mut(&above) {
                node.memory_below = node.memory_below.saturating_sub(memory);
            }
        }
    }

    /// What has this place ends its children itself.
    pub(crate) fn supervises(&mut self, id: CellId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.supervises = true;
        }
    }

    /// What a cell may use.
    pub(crate) fn limits(&self, id: CellId) -> Option<&Limits> {
        self.nodes.get(&id).map(|node| &node.limits)
    }

    /// What is held for a cell, and for all below it.
    pub(crate) fn account(&self, id: CellId) -> Option<&Account> {
        self.nodes.get(&id).map(|node| &node.account)
    }

    /// What is held for an owner, and for all below it.
    pub(crate) fn account_of(&self, owner: Owner) -> Option<&Account> {
        match owner {
            Owner::Node => Some(&self.account),
            Owner::Cell(cell) => self.account(cell),
        }
    }

    /// Who owns a cell that runs or is about to.
    pub(crate) fn owner(&self, id: CellId) -> Option<Owner> {
        self.nodes.get(&id).map(|node| node.owner)
    }

    /// Whether a cell is below another one.
    pub(crate) fn is_below(&self, id: CellId, above: CellId) -> bool {
        self.owner(id).is_some_and(|owner| self.above(owner).contains(&above))
    }

    /// Whether a cell is one of the last that ended below another one.
    pub(crate) fn was_below(&self, id: CellId, above: CellId) -> bool {
        self.nodes.get(&above).is_some_and(|node| node.gone.contains(&id))
    }

    /// Whether a reserved cell should still be started: its owner may have ended in the meantime.
    pub(crate) fn is_wanted(&self, id: CellId) -> bool {
        self.nodes.get(&id).is_some_and(|node| !node.ended && !node.stopping)
    }

    /// Whether the node stops, so that nothing starts any more.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// How many run, or are about to.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// All of them with their owners, in the order of their start.
    pub(crate) fn owners(&self) -> Vec<(CellId, Owner)> {
        let mut owners: Vec<_> = self.nodes.iter().map(|(&id, node)| (id, node.owner)).collect();
        owners.sort_by_key(|&(id, _)| id);
        owners
    }

    /// A cell has ended, or was never started. All that is below it follows.
    pub(crate) fn ended(&mut self, id: CellId) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(node) = self.nodes.get_mut(&id)
            && !node.ended
        {
            node.ended = true;
            let children = node.children.iter().copied().collect();
            self.ask(children, &mut effects);
            self.leave(id, &mut effects);
        }
        effects
    }

    /// The node stops: all its cells are asked to end, and no new one starts.
    pub(crate) fn stop(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.stopping {
            self.stopping = true;
            let roots = self.roots.iter().copied().collect();
            self.ask(roots, &mut effects);
        }
        effects
    }

    /// The time of a supervisor is over: all that is below it is killed, by its own supervisor or not.
    pub(crate) fn out_of_time(&mut self, id: CellId) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut next = vec![id];
        while let Some(id) = next.pop() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            next.extend(&node.children);
            node.stopping = true;
            if !node.ended {
                effects.push(Effect::Kill(id));
            }
        }
        effects
    }

    /// Asks cells to end that were not asked before, and what is below them. The last one is the first.
    fn ask(&mut self, mut next: Vec<CellId>, effects: &mut Vec<Effect>) {
        while let Some(id) = next.pop() {
            let Some(node) = self.nodes.get_mut(&id).filter(|node| !node.ended && !node.stopping) else { continue };
            node.stopping = true;
            effects.push(Effect::Stop(id));
            if !node.supervises {
                next.extend(&node.children);
            }
        }
    }

    /// Frees the place of a cell if it has ended and nothing is left below it, and then those above that waited for that.
    fn leave(&mut self, mut id: CellId, effects: &mut Vec<Effect>) {
        while self.nodes.get(&id).is_some_and(|node| node.ended && node.children.is_empty())
            && let Some(node) = self.nodes.remove(&id)
        {
            effects.push(Effect::Gone(id));
            // Its process may be known for long.
            node.account.close();
            for above in self.above(node.owner) {
                if let Some(above) = self.nodes.get_mut(&above) {
                    above.cells_below -= 1;
                    above.memory_below = above.memory_below.saturating_sub(node.memory);
                    if above.gone.len() >= KEPT_GONE {
                        above.gone.pop_front();
                    }
                    above.gone.push_back(id);
                }
            }
            match node.owner {
                Owner::Node => {
                    self.roots.remove(&id);
                    return;
                }
                Owner::Cell(owner) => {
                    if let Some(owner) = self.nodes.get_mut(&owner) {
                        owner.children.remove(&id);
                    }
                    id = owner;
                }
            }
        }
    }

    /// An owner and the cells above it, the topmost first.
    pub(crate) fn lineage(&self, owner: Owner) -> Vec<CellId> {
        let mut lineage = self.above(owner);
        lineage.reverse();
        lineage
    }

    /// The cells above, from the owner up.
    fn above(&self, owner: Owner) -> Vec<CellId> {
        let mut above = Vec::new();
        let mut next = owner;
        while let Owner::Cell(cell) = next {
            above.push(cell);
            next = self.nodes.get(&cell).map_or(Owner::Node, |node| node.owner);
        }
        above
    }
}

#[cfg(test)]
mod tests;
