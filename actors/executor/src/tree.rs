//! Who owns whom: a pure state machine, events in, effects out.
//!
//! Every cell has one owner: another cell, a supervisor, or the node. A supervisor has an owner as well, and is counted
//! as a cell without memory. When an owner ends, everything that it owned ends
//! as well, one after the other in reverse order of its start, each with all that it owned in turn. Starts
//! are counted against the limits of every owner above from the moment they are reserved, so that no
//! number of starts at the same time exceeds them.

use std::collections::HashMap;

use thiserror::Error;
use ww_core::{CellId, Limits};

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
}

/// All cells of a node.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: HashMap<CellId, Node>,
    /// The cells that the node owns, in the order of their start.
    roots: Vec<CellId>,
    /// The node is stopping: its cells end one after the other.
    stopping: bool,
}

#[derive(Debug)]
struct Node {
    owner: Owner,
    limits: Limits,
    /// Bytes that it may use itself.
    memory: u64,
    /// In the order of their start.
    children: Vec<CellId>,
    ended: bool,
    /// It was asked to end, by its owner's end or by the node's.
    stopping: bool,
    cells_below: u32,
    memory_below: u64,
}

/// What has to be done after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// End this cell with `shutdown`; its end is the next event.
    Stop(CellId),
    /// This cell and all that it owned have ended.
    Gone(CellId),
}

impl Tree {
    /// Takes a place for a new cell, or for a supervisor, that may use `memory` bytes itself.
    ///
    /// # Errors
    ///
    /// Where a limit above it is reached, or its owner has ended. Then nothing has changed.
    pub(crate) fn reserve(&mut self, owner: Owner, id: CellId, limits: Limits, memory: u64) -> Result<(), Full> {
        if self.stopping {
            return Err(Full::OwnerEnded);
        }
        if let Owner::Cell(cell) = owner {
            let node = self.nodes.get(&cell).filter(|node| !node.ended && !node.stopping).ok_or(Full::OwnerEnded)?;
            let most = node.limits.children;
            if node.children.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
                return Err(Full::Children { most });
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
        for above in self.above(owner) {
            if let Some(node) = self.nodes.get_mut(&above) {
                node.cells_below += 1;
                node.memory_below = node.memory_below.saturating_add(memory);
            }
        }
        match owner {
            Owner::Node => self.roots.push(id),
            Owner::Cell(cell) => {
                if let Some(node) = self.nodes.get_mut(&cell) {
                    node.children.push(id);
                }
            }
        }
        let node = Node {
            owner,
            limits,
            memory,
            children: Vec::new(),
            ended: false,
            stopping: false,
            cells_below: 0,
            memory_below: 0,
        };
        self.nodes.insert(id, node);
        Ok(())
    }

    /// What a cell may use.
    pub(crate) fn limits(&self, id: CellId) -> Option<&Limits> {
        self.nodes.get(&id).map(|node| &node.limits)
    }

    /// Who owns a cell that runs or is about to.
    pub(crate) fn owner(&self, id: CellId) -> Option<Owner> {
        self.nodes.get(&id).map(|node| node.owner)
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

    /// A cell has ended, or was never started. Its children follow.
    pub(crate) fn ended(&mut self, id: CellId) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(node) = self.nodes.get_mut(&id)
            && !node.ended
        {
            node.ended = true;
            self.advance(id, &mut effects);
        }
        effects
    }

    /// The node stops: its cells end in reverse order of their start, and no new one starts.
    pub(crate) fn stop(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        if !self.stopping {
            self.stopping = true;
            if let Some(&last) = self.roots.last() {
                self.stop_cell(last, &mut effects);
            }
        }
        effects
    }

    /// Goes on with the end of a cell: its youngest child next, or itself if there is none left.
    fn advance(&mut self, id: CellId, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(&id) else { return };
        if let Some(&youngest) = node.children.last() {
            self.stop_cell(youngest, effects);
            return;
        }
        let Some(node) = self.nodes.remove(&id) else { return };
        effects.push(Effect::Gone(id));
        for above in self.above(node.owner) {
            if let Some(above) = self.nodes.get_mut(&above) {
                above.cells_below -= 1;
                above.memory_below = above.memory_below.saturating_sub(node.memory);
            }
        }
        match node.owner {
            Owner::Node => {
                self.roots.retain(|root| *root != id);
                if self.stopping
                    && let Some(&last) = self.roots.last()
                {
                    self.stop_cell(last, effects);
                }
            }
            Owner::Cell(owner) => {
                if let Some(parent) = self.nodes.get_mut(&owner) {
                    parent.children.retain(|child| *child != id);
                    if parent.ended {
                        self.advance(owner, effects);
                    }
                }
            }
        }
    }

    fn stop_cell(&mut self, id: CellId, effects: &mut Vec<Effect>) {
        if let Some(node) = self.nodes.get_mut(&id)
            && !node.ended
            && !node.stopping
        {
            node.stopping = true;
            effects.push(Effect::Stop(id));
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
mod tests {
    use super::*;

    fn id(number: u64) -> CellId {
        CellId::new(number)
    }

    fn reserve(tree: &mut Tree, owner: Owner, cell: u64, limits: Limits) -> Result<(), Full> {
        let memory = limits.memory;
        tree.reserve(owner, id(cell), limits, memory)
    }

    /// A tree of cells, each given with its owner; 0 is the node.
    fn tree(cells: &[(u64, u64)]) -> Tree {
        let mut tree = Tree::default();
        for &(cell, owner) in cells {
            let owner = if owner == 0 { Owner::Node } else { Owner::Cell(id(owner)) };
            reserve(&mut tree, owner, cell, Limits::default()).expect("there is room");
        }
        tree
    }

    /// Carries out effects until nothing is left to do, and returns the cells in the order of their end.
    fn settle(tree: &mut Tree, effects: Vec<Effect>) -> Vec<u64> {
        let mut order = Vec::new();
        let mut pending: std::collections::VecDeque<_> = effects.into();
        while let Some(effect) = pending.pop_front() {
            if let Effect::Stop(cell) = effect {
                order.push(cell.get());
                pending.extend(tree.ended(cell));
            }
        }
        order
    }

    #[test]
    fn what_an_owner_started_ends_in_reverse_order() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]);
        let effects = tree.ended(id(1));
        assert_eq!(effects, [Effect::Stop(id(3))]);
        assert_eq!(settle(&mut tree, effects), [3, 2, 5, 4]);
        assert!(tree.len() == 0);
    }

    #[test]
    fn an_owner_is_gone_when_all_that_it_owned_is() {
        let mut tree = tree(&[(1, 0), (2, 1)]);
        assert_eq!(tree.ended(id(1)), [Effect::Stop(id(2))]);
        assert_eq!(tree.ended(id(2)), [Effect::Gone(id(2)), Effect::Gone(id(1))]);
        assert_eq!(tree.ended(id(2)), [], "an end is an end once");
    }

    #[test]
    fn a_child_that_ends_by_itself_leaves_its_siblings_alone() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 1)]);
        assert_eq!(tree.ended(id(2)), [Effect::Gone(id(2))]);
        assert!(tree.is_wanted(id(3)));
    }

    #[test]
    fn a_child_that_ends_while_its_sibling_is_stopped_is_not_stopped_again() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 1)]);
        assert_eq!(tree.ended(id(1)), [Effect::Stop(id(3))]);
        assert_eq!(tree.ended(id(2)), [Effect::Gone(id(2))]);
        assert_eq!(tree.ended(id(3)), [Effect::Gone(id(3)), Effect::Gone(id(1))]);
    }

    #[test]
    fn a_stopping_node_ends_its_cells_in_reverse_order_and_starts_none() {
        let mut tree = tree(&[(1, 0), (2, 0), (3, 1)]);
        let effects = tree.stop();
        assert_eq!(reserve(&mut tree, Owner::Node, 9, Limits::default()), Err(Full::OwnerEnded));
        assert_eq!(settle(&mut tree, effects), [2, 1, 3]);
        assert!(tree.len() == 0);
    }

    #[test]
    fn nothing_starts_below_what_has_ended() {
        let mut tree = tree(&[(1, 0), (2, 1)]);
        tree.ended(id(1));
        for owner in [1, 2, 77] {
            assert_eq!(reserve(&mut tree, Owner::Cell(id(owner)), 9, Limits::default()), Err(Full::OwnerEnded));
        }
        assert!(!tree.is_wanted(id(2)));
    }

    #[test]
    fn limits_of_every_cell_above_count_until_the_child_is_gone() {
        let mut tree = Tree::default();
        let limits =
            Limits { children: 2, subtree_cells: 2, memory: 10, subtree_memory: Some(25), ..Limits::default() };
        let start = |tree: &mut Tree, owner, cell| reserve(tree, Owner::Cell(id(owner)), cell, limits.clone());
        reserve(&mut tree, Owner::Node, 1, limits.clone()).expect("the first");
        start(&mut tree, 1, 2).expect("one child");
        start(&mut tree, 2, 3).expect("one grandchild");
        assert_eq!(start(&mut tree, 1, 4), Err(Full::Cells { above: id(1), most: 2 }));
        assert_eq!(start(&mut tree, 3, 4), Err(Full::Cells { above: id(1), most: 2 }));
        tree.ended(id(3));
        start(&mut tree, 1, 4).expect("the grandchild is gone");
        assert_eq!(start(&mut tree, 1, 5), Err(Full::Children { most: 2 }));
        tree.ended(id(4));
        let greedy = Limits { memory: 20, ..limits.clone() };
        assert_eq!(
            reserve(&mut tree, Owner::Cell(id(1)), 6, greedy),
            Err(Full::Memory { above: id(1), wanted: 20, most: 25 })
        );
    }
}
