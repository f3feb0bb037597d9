use std::thread;

use super::*;

fn cell(number: u64) -> Holder {
    Holder::Cell(CellId::new(number))
}

#[test]
fn what_is_charged_counts_for_every_account_above_and_is_given_back() {
    let node = Account::root(Holder::Node, 100 * STEP);
    let parent = node.below(cell(1), 10 * STEP).expect("room");
    let child = parent.below(cell(2), 4 * STEP).expect("room");
    let charge = child.charge(3 * STEP).expect("room");
    assert_eq!((child.held(), parent.held(), node.held()), (3 * STEP, 3 * STEP, 3 * STEP));
    let small = child.charge(1).expect("room");
    assert_eq!((child.held(), parent.held(), node.held()), (3 * STEP + 1, 4 * STEP, 4 * STEP));
    drop((charge, small));
    assert_eq!((child.held(), parent.held(), node.held()), (0, STEP, STEP), "an account costs one step");
    drop(child);
    assert_eq!((parent.held(), node.held()), (0, STEP));
    drop(parent);
    assert_eq!(node.held(), 0);
}

#[test]
fn each_account_above_may_refuse_and_then_nothing_has_changed() {
    let node = Account::root(Holder::Node, 8 * STEP);
    let [one, other] = [1, 2].map(|number| node.below(cell(number), 6 * STEP).expect("room"));
    let held = one.charge(6 * STEP).expect("room");
    let refused = one.charge(1).expect_err("its own bound");
    assert_eq!(refused, Overdrawn { holder: cell(1), wanted: 1, held: 6 * STEP, most: 6 * STEP });
    let refused = other.charge(4 * STEP).expect_err("the node's bound");
    assert_eq!((refused.holder, refused.wanted), (Holder::Node, 3 * STEP));
    assert_eq!((other.held(), node.held()), (0, 7 * STEP));
    assert_eq!(node.below(cell(3), STEP).map(drop), Ok(()), "and given back");
    drop(held);
    assert!(other.charge(4 * STEP).is_ok());
}

#[test]
fn some_of_each_account_above_can_be_left() {
    let node = Account::root(Holder::Node, 16 * STEP);
    let [one, other] = [1, 2].map(|number| node.below(cell(number), 8 * STEP).expect("room"));
    assert_eq!(one.leaves_one_in(8, 7 * STEP), Ok(()));
    let refused = one.leaves_one_in(8, 7 * STEP + 1).expect_err("its own");
    assert_eq!(refused.holder, cell(1));
    let held = [&one, &other].map(|account| account.charge(7 * STEP - 1).expect("room"));
    assert_eq!(node.held(), 14 * STEP);
    let third = node.below(cell(3), 8 * STEP).expect("room");
    assert_eq!(third.leaves_one_in(8, STEP), Ok(()), "nothing is taken above");
    let refused = third.leaves_one_in(8, STEP + 1).expect_err("the node's");
    assert_eq!(refused, Overdrawn { holder: Holder::Node, wanted: STEP, held: 15 * STEP, most: 16 * STEP });
    drop(held);
    assert_eq!(third.leaves_one_in(8, 7 * STEP), Ok(()));
}

#[test]
fn accounts_are_bounded_by_their_step() {
    let node = Account::root(Holder::Node, 3 * STEP);
    let accounts: Vec<_> = (0..4).map(|number| node.below(cell(number), STEP)).collect();
    assert_eq!(accounts.iter().filter(|account| account.is_ok()).count(), 3);
}

#[test]
fn a_charge_grows_and_shrinks() {
    let account = Account::root(cell(1), 4 * STEP);
    let mut charge = account.charge(STEP).expect("room");
    charge.grow(2 * STEP).expect("room");
    assert!(charge.grow(2 * STEP).is_err());
    assert_eq!((charge.bytes(), account.held()), (3 * STEP, 3 * STEP));
    charge.resize(STEP).expect("less");
    charge.shrink(1);
    assert_eq!((charge.bytes(), account.held()), (STEP - 1, STEP - 1));
    drop(charge);
    assert_eq!(account.held(), 0);
}

#[test]
fn what_nobody_pays_costs_nothing() {
    let mut charge = Charge::none();
    charge.grow(u64::MAX).expect("nobody pays");
    assert_eq!(charge.bytes(), 0);
}

#[test]
fn threads_that_charge_at_once_leave_nothing_behind() {
    let node = Account::root(Holder::Node, 40 * STEP);
    let account = node.below(cell(1), 30 * STEP).expect("room");
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let account = &account;
            scope.spawn(move || {
                for round in 0..20_000 {
                    let bytes = (round * 7919 + thread) % (9 * STEP);
                    if let Ok(charge) = account.charge(bytes) {
                        assert!(account.held() <= 30 * STEP);
                        drop(charge);
                    }
                }
            });
        }
    });
    assert_eq!((account.held(), node.held()), (0, STEP));
}

#[test]
fn a_closed_account_costs_no_more_than_what_it_holds() {
    let node = Account::root(Holder::Node, 4 * STEP);
    for held in [0, 1, STEP, STEP + 1] {
        let cell = node.below(Holder::Cell(CellId::new(1)), STEP * 2).expect("room");
        let charge = cell.charge(held).expect("room");
        cell.close();
        assert_eq!((node.held(), cell.held()), (held.div_ceil(STEP) * STEP, held), "{held}");
        let more = cell.charge(1).expect("room");
        assert_eq!(node.held(), (held + 1).div_ceil(STEP) * STEP, "{held}");
        cell.close();
        drop((charge, more));
        assert_eq!((node.held(), cell.held()), (0, 0), "{held}");
        drop(cell);
        assert_eq!(node.held(), 0, "{held}");
    }
}
