//! The tree of owners: limits, ends and their order.

use ww_core::account::STEP;

use super::*;

fn id(number: u64) -> CellId {
    CellId::new(number)
}

fn reserve(tree: &mut Tree, owner: Owner, cell: u64, limits: Limits) -> Result<(), Full> {
    let memory = limits.memory;
    tree.reserve(owner, id(cell), limits, memory, Holder::Cell(id(cell))).map(drop)
}

/// A tree of cells, each given with its owner; 0 is the node.
fn tree(cells: &[(u64, u64)]) -> Tree {
    let mut tree = Tree::new(Account::unlimited());
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
fn all_that_is_below_an_owner_is_asked_at_once_the_youngest_first() {
    let mut tree = tree(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]);
    let effects = tree.ended(id(1));
    assert_eq!(effects, [3, 2, 5, 4].map(|cell| Effect::Stop(id(cell))));
    assert_eq!(settle(&mut tree, effects), [3, 2, 5, 4]);
    assert!(tree.len() == 0);
}

#[test]
fn a_supervisor_asks_its_children_itself_until_its_time_is_over() {
    let mut tree = tree(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 1)]);
    for supervisor in [2, 4] {
        tree.supervises(id(supervisor));
    }
    assert_eq!(tree.ended(id(1)), [6, 2].map(|cell| Effect::Stop(id(cell))));
    assert_eq!(tree.out_of_time(id(2)), [2, 3, 4, 5].map(|cell| Effect::Kill(id(cell))));
    assert_eq!(tree.ended(id(3)), [], "what it owned knows already");
    for cell in [6, 5, 4] {
        tree.ended(id(cell));
    }
    assert_eq!(tree.ended(id(2)), [Effect::Gone(id(2)), Effect::Gone(id(1))]);
}

#[test]
fn a_chain_of_owners_has_an_end_and_ends_without_recursion() {
    let mut tree = Tree::new(Account::unlimited());
    let depth = u64::from(MAX_DEPTH);
    let limits = Limits { subtree_cells: u32::MAX, ..Limits::default() };
    reserve(&mut tree, Owner::Node, 1, limits.clone()).expect("the first");
    for cell in 2..=depth {
        reserve(&mut tree, Owner::Cell(id(cell - 1)), cell, limits.clone()).expect("not too deep");
    }
    let refused = reserve(&mut tree, Owner::Cell(id(depth)), depth + 1, limits.clone());
    assert_eq!(refused, Err(Full::Depth { most: MAX_DEPTH }));
    reserve(&mut tree, Owner::Cell(id(depth - 1)), depth + 1, limits).expect("one further up");
    let effects = tree.stop();
    assert_eq!(effects.len(), tree.len(), "all at once");
    let (last, others) = (2..=depth + 1).fold((None, 0), |(_, gone), cell| {
        let effects = tree.ended(id(cell));
        (effects.last().copied(), gone + effects.len())
    });
    assert_eq!((last, others), (Some(Effect::Gone(id(2))), usize::try_from(depth).expect("small")));
    assert_eq!(tree.ended(id(1)), [Effect::Gone(id(1))]);
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
fn siblings_are_asked_once_and_an_owner_is_gone_with_the_last_of_them() {
    let mut tree = tree(&[(1, 0), (2, 1), (3, 1)]);
    assert_eq!(tree.ended(id(1)), [Effect::Stop(id(3)), Effect::Stop(id(2))]);
    assert_eq!(tree.ended(id(2)), [Effect::Gone(id(2))]);
    assert_eq!(tree.ended(id(3)), [Effect::Gone(id(3)), Effect::Gone(id(1))]);
}

#[test]
fn a_stopping_node_asks_the_youngest_of_its_cells_first_and_starts_none() {
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
fn below_is_what_was_started_by_what_one_started_and_the_last_of_that_which_ended() {
    // 2 and 3 under a supervisor 1, with children each; 6 is a stranger.
    let mut tree = tree(&[(1, 0), (2, 1), (3, 1), (4, 2), (5, 3), (6, 0)]);
    let below =
        |tree: &Tree, above| -> Vec<u64> { (0..=6).filter(|&cell| tree.is_below(id(cell), id(above))).collect() };
    let expected: [&[u64]; 7] = [&[], &[2, 3, 4, 5], &[4], &[5], &[], &[], &[]];
    for (above, expected) in (0..).zip(expected) {
        assert_eq!(below(&tree, above), expected, "below {above}");
    }
    tree.ended(id(4));
    assert_eq!([1, 2, 3, 6].map(|above| tree.was_below(id(4), id(above))), [true, true, false, false]);
    assert!(!tree.is_below(id(4), id(1)), "it has ended");
    for cell in 0..KEPT_GONE as u64 {
        reserve(&mut tree, Owner::Cell(id(2)), 100 + cell, Limits::default()).expect("there is room");
        tree.ended(id(100 + cell));
    }
    assert!(!tree.was_below(id(4), id(2)), "it is forgotten");
    assert!(tree.was_below(id(100), id(2)) && !tree.was_below(id(100), id(3)));
}

#[test]
fn limits_of_every_cell_above_count_until_the_child_is_gone() {
    let mut tree = Tree::new(Account::unlimited());
    let limits = Limits { children: 2, subtree_cells: 2, memory: 10, subtree_memory: Some(25), ..Limits::default() };
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

#[test]
fn memory_of_further_instances_counts_for_every_owner_above_until_the_cell_is_gone() {
    let mut tree = Tree::new(Account::unlimited());
    let limits = Limits { memory: 10, subtree_memory: Some(35), ..Limits::default() };
    reserve(&mut tree, Owner::Node, 1, limits.clone()).expect("room");
    for cell in [2, 3] {
        reserve(&mut tree, Owner::Cell(id(1)), cell, limits.clone()).expect("room");
    }
    assert!(tree.take_memory(id(2), 10));
    assert!(!tree.take_memory(id(2), 10), "40 of 35");
    assert!(reserve(&mut tree, Owner::Cell(id(1)), 4, limits.clone()).is_err());
    tree.give_memory(id(2), 10);
    assert!(tree.take_memory(id(3), 10));
    tree.ended(id(3));
    tree.give_memory(id(3), 10);
    assert!(tree.take_memory(id(2), 20), "all of the other is free, once");
    assert!(!tree.take_memory(id(2), 10) && !tree.take_memory(id(3), 1));
}

#[test]
fn what_is_held_for_a_cell_counts_for_every_owner_above_until_it_is_gone() {
    let node = Account::root(Holder::Node, u64::MAX);
    let mut tree = Tree::new(node.clone());
    let limits = Limits { held: 10 * STEP, ..Limits::default() };
    let mut start = |owner, cell| tree.reserve(owner, id(cell), limits.clone(), 0, Holder::Cell(id(cell)));
    let parent = start(Owner::Node, 1).expect("room");
    let child = start(Owner::Cell(id(1)), 2).expect("room");
    let grandchild = start(Owner::Cell(id(2)), 3).expect("room");
    let held = grandchild.charge(8 * STEP).expect("room");
    assert_eq!((parent.held(), child.held(), node.held()), (8 * STEP, 8 * STEP, 8 * STEP));
    let refused = parent.charge(3 * STEP).expect_err("its children hold the rest");
    assert_eq!(refused.holder, Holder::Cell(id(1)));
    let more = parent.charge(2 * STEP).expect("what is left");
    assert!(matches!(start(Owner::Cell(id(1)), 4), Err(Full::Held(_))));
    drop((held, more, parent, child, grandchild));
    for cell in [3, 2, 1] {
        tree.ended(id(cell));
    }
    assert_eq!(node.held(), 0);
}
