use futures::FutureExt;
use ww_core::account::Holder;

use super::*;

fn overloaded(result: Result<(), Error>) -> bool {
    result.is_err_and(|error| error.kind == capnp::ErrorKind::Overloaded)
}

#[test]
fn calls_and_their_bytes_are_bounded_until_they_are_answered() {
    let Bounds { calls, call_bytes, .. } = Bounds::PEER;
    let load = Load::new(Bounds::PEER, Account::unlimited());
    load.begin(0, call_bytes).expect("all there is");
    assert!(overloaded(load.begin(1, 1)));
    load.answered(0);
    load.answered(0);
    for question in 0..calls {
        load.begin(question as u32, 1).expect("within the bound");
    }
    assert!(overloaded(load.begin(u32::MAX, 1)));
    load.finished(7);
    load.begin(7, 1).expect("a place is free");
}

#[test]
fn calls_that_are_never_finished_are_bounded() {
    let most = Bounds::PEER.calls as u32;
    let load = Load::new(Bounds::PEER, Account::unlimited());
    for question in 0..2 * most {
        load.begin(question, 1).expect("within the bound");
        load.answered(question);
    }
    assert!(overloaded(load.begin(2 * most, 1)));
    load.finished(0);
    load.begin(2 * most, 1).expect("one was finished");
}

#[test]
fn capabilities_are_bounded_until_they_are_released() {
    let most = Bounds::PEER.exports;
    let load = Load::new(Bounds::PEER, Account::unlimited());
    load.exported(most - 1);
    assert!(!load.is_full());
    load.exported(most);
    assert!(load.is_full());
    load.released();
    assert!(!load.is_full(), "one is free");
    load.exported(most);
    assert!(load.is_full(), "it was taken by the one before, and this is one more");
    load.exported(2 * most - 1);
    assert!(load.overrun().now_or_never().is_none());
    load.exported(2 * most);
    let error = load.overrun().now_or_never().expect("too many");
    assert!(error.kind == capnp::ErrorKind::Overloaded && error.extra.contains("4096"), "{error}");
}

#[test]
fn unread_answers_hold_the_reading_up_until_they_are_written() {
    let load = Load::default();
    let half = load.bounds.unread_bytes / 2;
    let answer = Outgoing::Answer { question: 0, is_error: false, is_final: true };
    for outgoing in [Outgoing::Call, Outgoing::Call, answer, Outgoing::Call, Outgoing::Other, answer] {
        queue(&load, half / WORD, outgoing);
    }
    let mut waiting = Box::pin(load.has_room());
    for (bytes, has_room) in [(2 * half, false), (half - 1, false), (1, true)] {
        assert!(waiting.as_mut().now_or_never().is_none());
        load.wrote(&Poll::Ready(Ok(bytes)));
        assert_eq!(waiting.as_mut().now_or_never().is_some(), has_room);
    }
    assert!(load.idle().now_or_never().is_none());
    load.wrote(&Poll::Ready(Ok(3 * half)));
    assert!(load.idle().now_or_never().is_none(), "it may not have left");
    load.flushed(&Poll::Ready(Ok(())));
    assert!(load.idle().now_or_never().is_some());
}

/// What is sent, as a connection does it; an answer for which there is no room is a short error.
fn queue(load: &Load, words: usize, outgoing: Outgoing) {
    match (load.pays(words, outgoing), outgoing) {
        (Ok(charge), _) => load.queued(words, outgoing, charge),
        (Err(_), Outgoing::Answer { question, is_final, .. }) => {
            let error = Outgoing::Answer { question, is_error: true, is_final };
            load.queued(8, error, load.pays(8, error).expect("paid for with the call"));
        }
        (Err(why), _) => load.fail(why),
    }
}

/// What an account of this many bytes pays for, and the account.
fn paid(bytes: u64) -> (Load, Account) {
    let account = Account::root(Holder::Node, bytes);
    (Load::new(Bounds::OWN, account.clone()), account)
}

fn answer(question: u32) -> Outgoing {
    Outgoing::Answer { question, is_error: false, is_final: false }
}

#[test]
fn an_answer_is_paid_for_until_it_is_written_and_its_call_is_finished() {
    let (load, account) = paid(1 << 20);
    for (first, second) in [("written", "finished"), ("finished", "written")] {
        load.begin(1, 8).expect("room");
        queue(&load, 1 << 10, answer(1));
        let held = account.held();
        assert!(held >= 8 << 10, "{held}");
        for step in [first, second] {
            match step {
                "written" => load.wrote(&Poll::Ready(Ok(8 << 10))),
                _ => assert!(load.finished(1)),
            }
            assert_eq!(account.held() >= 8 << 10, step == first, "{step}, {first} first");
        }
        assert_eq!(account.held(), 0);
    }
}

#[test]
fn a_connection_ends_where_its_answers_are_not_finished_or_not_read() {
    let (load, account) = paid(256 << 10);
    let mut question = 0;
    let why = loop {
        if let Err(why) = load.begin(question, 8) {
            break why;
        }
        queue(&load, 1 << 10, answer(question));
        // All of them are read.
        load.wrote(&Poll::Ready(Ok(8 << 10)));
        assert!(load.overrun().now_or_never().is_none(), "answers end nothing");
        question += 1;
        assert!(question < 128, "{account:?}");
    };
    assert!(why.kind == capnp::ErrorKind::Overloaded && why.extra.contains("cannot be held for the node"), "{why}");

    let (load, _account) = paid(256 << 10);
    (0..33).for_each(|_| queue(&load, 1 << 10, Outgoing::Other));
    assert!(load.overrun().now_or_never().is_some(), "nothing of it is read");
}

#[test]
fn calls_that_the_other_side_does_not_read_are_refused_and_end_nothing() {
    let (load, account) = paid(256 << 10);
    let mut sent = 0;
    while let Ok(charge) = load.asks(sent, 1 << 10) {
        load.queued(1 << 10, Outgoing::Call, charge);
        sent += 1;
    }
    assert!(account.held() < 128 << 10 && load.announced(64 << 10).is_ok(), "there is room for what it says itself");
    assert!(sent > 4 && load.overrun().now_or_never().is_none(), "{sent}");
    load.wrote(&Poll::Ready(Ok(usize::try_from(sent).expect("few") * (8 << 10))));
    drop(load.take_received());
    drop(load.asks(sent, 1 << 10).expect("they were read"));
    for question in 0..=sent {
        assert!(load.has_answered(question) && !load.has_answered(question));
    }
    assert_eq!(account.held(), 0);
}

#[test]
fn what_others_send_leaves_room_for_what_the_client_says_itself() {
    let (load, account) = paid(1 << 20);
    let answers = |words: usize| {
        let mut taken = 0;
        for question in 0..100 {
            load.begin(question, 8).expect("room for calls");
            match load.pays(words, answer(question)) {
                Ok(charge) => load.queued(words, answer(question), charge),
                Err(why) => {
                    assert!(why.kind == capnp::ErrorKind::Overloaded, "{why}");
                    break;
                }
            }
            taken += 1;
        }
        for question in 0..100 {
            load.finished(question);
        }
        taken
    };
    assert_eq!(answers((256 << 10) / WORD + 1), 0, "more than one may be");
    assert_eq!(answers((200 << 10) / WORD), 4);
    load.announced(100 << 10).expect("some of the account is left");
    assert!(load.gives(1_000, u32::MAX).is_err(), "capabilities are paid for as well");
    assert!(load.gives(10, 10).is_err());
    load.begin(200, 8).expect("room for calls");
    let error = |question| Outgoing::Answer { question, is_error: true, is_final: false };
    assert!(load.pays(4 << 10, error(200)).is_err());
    let short = load.pays(64, error(200)).expect("it is paid for with its call");
    assert_eq!(short.bytes(), 0);
    let refused = load.pays(64, error(201)).expect("some of the account is left");
    assert_eq!(refused.bytes(), 512, "nobody paid for a call that was refused when it came");
    assert!(load.overrun().now_or_never().is_none(), "{account:?}");
}

#[test]
fn one_call_may_be_larger_than_all_that_wait_together() {
    let (load, _account) = paid(1 << 20);
    let large = (400 << 10) / WORD;
    let charge = load.asks(0, large).expect("nothing waits");
    load.queued(large, Outgoing::Call, charge);
    let why = load.asks(1, 1).map(drop).expect_err("the other side reads that first");
    assert!(why.extra.contains("at most 262144 may"), "{why}");
    load.wrote(&Poll::Ready(Ok(400 << 10)));
    assert!(load.asks(1, (900 << 10) / WORD).is_err(), "some of the account is left");
    drop(load.asks(1, 1).expect("it was read"));
}

#[test]
fn what_others_send_leaves_room_in_each_account_above() {
    let owner = Account::root(Holder::Node, 4 << 20);
    let cells = [(); 2].map(|()| owner.below(Holder::Part("a cell"), 4 << 20).expect("room"));
    let loads = cells.map(|account| Load::new(Bounds::OWN, account));
    let mut answers = 0;
    for load in &loads {
        loop {
            load.begin(answers, 8).expect("room for calls");
            let Ok(charge) = load.pays((100 << 10) / WORD, answer(answers)) else { break };
            load.queued((100 << 10) / WORD, answer(answers), charge);
            answers += 1;
        }
    }
    assert!((30..36).contains(&answers), "{answers}");
    for load in &loads {
        load.announced(100 << 10).expect("room for what it says itself");
        load.exported(99);
        assert!(load.overrun().now_or_never().is_none(), "what others send ends nothing");
    }
    drop(loads);
    assert_eq!(owner.held(), 0);
}

#[test]
fn what_the_library_keeps_of_calls_that_were_given_up_is_paid_for() {
    let (load, account) = paid(64 << 10);
    let mut given_up = 0;
    while load.begin(given_up, 8).is_ok() {
        load.pipelined(given_up).expect("room");
        assert!(load.finished(given_up));
        given_up += 1;
    }
    assert!((8..64).contains(&given_up), "{given_up}");
    // Those that others were waiting for are answered after all.
    (0..given_up).for_each(|question| queue(&load, 1, answer(question)));
    // Some of them are short errors instead.
    load.wrote(&Poll::Ready(Ok(usize::try_from(given_up).expect("few") * 8 * WORD)));
    assert_eq!(account.held(), 0);
}

#[test]
fn messages_half_read_are_paid_for_by_all_of_one_owner_together() {
    let owner = Account::root(Holder::Node, 8 << 20);
    let loads: Vec<_> =
        (1..=4).map(|_| Load::new(Bounds::OWN, owner.below(Holder::Part("a cell"), 4 << 20).expect("room"))).collect();
    let taken = loads.iter().filter(|load| load.announced(3 << 20).is_ok()).count();
    assert_eq!(taken, 2, "three of them are more than their owner may have");
    assert!(overloaded(loads[3].announced(5 << 20)), "more than its own");
    drop(loads);
    assert_eq!(owner.held(), 0);
}

#[test]
fn capabilities_of_both_sides_are_paid_for() {
    let (load, account) = paid(64 << 10);
    load.imported(7, true).expect("room");
    load.imported(7, false).expect("room");
    let held = account.held();
    assert!(held > 0);
    load.dropped(7);
    load.dropped(7);
    assert_eq!(account.held(), 0);
    load.exported(99);
    assert!(account.held() >= 100, "all numbers below are in tables");
    assert!((0..1_000).any(|number| load.imported(number, false).is_err()));
}

#[test]
fn a_call_is_paid_for_until_it_is_answered_also_when_its_message_is_gone() {
    let (load, account) = paid(1 << 20);
    load.announced(64 << 10).expect("room");
    load.read(64 << 10);
    load.begin(1, 64 << 10).expect("room");
    let message = Rc::new(load.take_received().1);
    load.keep(1, &message);
    drop(message);
    assert!(account.held() >= 64 << 10);
    queue(&load, 1, answer(1));
    assert!(account.held() < 64 << 10, "what is left is the call until it is finished");
}
