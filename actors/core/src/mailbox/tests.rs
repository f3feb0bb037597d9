//! Mailboxes: policies, order, ends, and senders that give up.

use futures::{FutureExt, future::join_all};

use super::*;
use crate::account::Holder;

impl Letter for u32 {
    fn weight(&self) -> u64 {
        1
    }

    fn same_sender(&self, _: &Self) -> bool {
        true
    }

    fn paid(&mut self, _: Charge) {}
}

impl Letter for (u32, u32) {
    fn weight(&self) -> u64 {
        1
    }

    fn same_sender(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn paid(&mut self, _: Charge) {}
}

/// A message by its sender and its bytes, with what was paid for it.
#[derive(Debug, Default)]
struct Heavy(u32, u64, Charge);

impl Letter for Heavy {
    fn weight(&self) -> u64 {
        self.1
    }

    fn same_sender(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    fn paid(&mut self, charge: Charge) {
        self.2 = charge;
    }
}

fn heavy(sender: u32, bytes: u64) -> Heavy {
    Heavy(sender, bytes, Charge::none())
}

/// A mailbox with so many bytes, and the account that pays for them.
fn mailbox_of(bytes: u64, overflow: Overflow) -> (Mailbox<Heavy>, Account) {
    let account = Account::root(Holder::Node, bytes * PART);
    (Mailbox::charged(100, overflow, account.clone()), account)
}

fn drain(mailbox: &Mailbox<u32>) -> Vec<u32> {
    std::iter::from_fn(|| mailbox.try_receive()).collect()
}

#[tokio::test]
async fn a_full_mailbox_follows_its_policy() {
    let table = [
        (Overflow::Reject, Err((3, Refused::Full)), vec![1, 2], 0),
        (Overflow::DropOldest, Ok(vec![1]), vec![2, 3], 1),
    ];
    for (overflow, outcome, left, dropped) in table {
        let mailbox = Mailbox::new(2, overflow);
        for message in [1, 2] {
            assert!(mailbox.send(message).await.is_ok_and(|dropped| dropped.is_empty()));
        }
        let third = mailbox.send(3).await.map_err(|returned| (returned.message, returned.why));
        assert_eq!(third, outcome, "{overflow:?}");
        assert_eq!((mailbox.depth(), mailbox.dropped()), (2, dropped));
        assert_eq!(drain(&mailbox), left, "{overflow:?}");
    }
}

#[tokio::test]
async fn senders_wait_for_room_in_the_order_of_their_arrival() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    mailbox.send(0).await.expect("there is room");
    let mut second = Box::pin(mailbox.send(1));
    let mut third = Box::pin(mailbox.send(2));
    assert!(second.as_mut().now_or_never().is_none(), "it waits");
    assert!(third.as_mut().now_or_never().is_none(), "it waits");
    assert_eq!(mailbox.receive().await, 0);
    assert!(third.as_mut().now_or_never().is_none(), "it is not its turn");
    assert!(second.await.is_ok());
    assert_eq!(mailbox.receive().await, 1);
    assert!(third.await.is_ok());
}

#[tokio::test]
async fn the_end_gives_back_what_waits_and_what_comes() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    mailbox.send(1).await.expect("there is room");
    let mut waiting = Box::pin(mailbox.send(2));
    assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
    assert_eq!(mailbox.close(Reason::Killed), [1]);
    for outcome in [waiting.await, mailbox.send(3).await] {
        let returned = outcome.expect_err("nobody is there");
        assert_eq!(returned.why, Refused::Ended(Reason::Killed));
    }
}

#[tokio::test]
async fn a_sender_that_stops_waiting_takes_its_message_with_it() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    mailbox.send(1).await.expect("there is room");
    assert!(mailbox.send(2).now_or_never().is_none());
    assert_eq!(mailbox.receive().await, 1);
    mailbox.send(3).await.expect("there is room again");
    assert_eq!(drain(&mailbox), [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_sender_keep_their_order_under_every_policy() {
    const SENDERS: u32 = 8;
    const EACH: u32 = 500;
    for overflow in [Overflow::Wait, Overflow::DropOldest] {
        let mailbox = Mailbox::new(4, overflow);
        let senders = (0..SENDERS).map(|sender| {
            let mailbox = mailbox.clone();
            async move {
                for number in 0..EACH {
                    mailbox.send((sender, number)).await.expect("open");
                    tokio::task::yield_now().await;
                }
            }
        });
        let receiving = async {
            let mut last = vec![None; SENDERS as usize];
            let mut received = 0;
            while u64::from(received) + mailbox.dropped() < u64::from(SENDERS * EACH) {
                let Some((sender, number)) = mailbox.try_receive() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                assert!(last[sender as usize] < Some(number), "{overflow:?}: out of order");
                last[sender as usize] = Some(number);
                received += 1;
            }
            received
        };
        let (_, received) = futures::join!(join_all(senders), receiving);
        if overflow == Overflow::Wait {
            assert_eq!(received, SENDERS * EACH);
        }
    }
}

#[tokio::test]
async fn a_closed_mailbox_can_be_opened_again_and_keeps_who_waited_through_both() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    mailbox.send(1).await.expect("there is room");
    let mut waiting = Box::pin(mailbox.send(2));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(mailbox.close(Reason::Killed), [1]);
    mailbox.reopen();
    assert!(waiting.await.is_ok(), "it did not notice");
    assert_eq!(mailbox.receive().await, 2);
    mailbox.send(3).await.expect("it is open");
    assert_eq!((drain(&mailbox), mailbox.depth()), (vec![3], 0));
}

#[tokio::test]
async fn a_mailbox_that_nobody_reads_gives_everything_back() {
    let mailbox = Mailbox::not_served();
    mailbox.reopen();
    let returned = mailbox.send(1).await.expect_err("nobody reads it");
    assert_eq!((returned.message, returned.why), (1, Refused::NotServed));
}

#[tokio::test]
async fn nobody_overtakes_a_sender_that_waits() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    mailbox.send(1).await.expect("there is room");
    let mut second = Box::pin(mailbox.send(2));
    let mut third = Box::pin(mailbox.send(3));
    assert!(second.as_mut().now_or_never().is_none());
    assert!(third.as_mut().now_or_never().is_none());
    drop(second);
    assert_eq!(mailbox.receive().await, 1);
    let mut fourth = Box::pin(mailbox.send(4));
    assert!(fourth.as_mut().now_or_never().is_none(), "the third has the place");
    third.await.expect("it is its turn");
    assert_eq!(mailbox.receive().await, 3);
    fourth.await.expect("it is its turn");
    assert_eq!(drain(&mailbox), [4]);
}

#[tokio::test]
async fn a_message_is_paid_for_from_the_moment_it_is_taken_until_it_is_done_with() {
    let (mailbox, account) = mailbox_of(1_000, Overflow::Wait);
    mailbox.send(heavy(1, 400)).await.expect("there is room");
    let mut waiting = Box::pin(mailbox.send(heavy(1, 400)));
    assert!(waiting.as_mut().now_or_never().is_none(), "one sender gets what is left for all others");
    assert_eq!(account.held(), 400, "what waits outside belongs to its sender");
    let begun = mailbox.receive().await;
    assert!(waiting.await.is_ok());
    assert_eq!(account.held(), 800, "what is begun is still held");
    drop(begun);
    assert_eq!(account.held(), 400);
    drop(mailbox.close(Reason::Killed));
    assert_eq!(account.held(), 0);
}

#[tokio::test]
async fn small_messages_are_paid_for_in_steps_and_an_idle_mailbox_keeps_one() {
    let (mailbox, account) = mailbox_of(64 * 800, Overflow::Wait);
    for _ in 0..16 {
        mailbox.send(heavy(1, 100)).await.expect("there is room");
    }
    assert_eq!(account.held(), 1_600, "two steps");
    mailbox.send(heavy(2, 101)).await.expect("there is room");
    assert_eq!(account.held(), 1_701, "it is not small");
    while mailbox.try_receive().is_some() {}
    assert_eq!(account.held(), 800);
    let elsewhere = account.charge(account.most() - 800).expect("room");
    for _ in 0..8 {
        mailbox.send(heavy(1, 100)).await.expect("it is paid for");
    }
    let refused = mailbox.send(heavy(1, 100)).await.expect_err("nobody can pay for another step");
    assert!(matches!(refused.why, Refused::Overdrawn(_)));
    assert_eq!(mailbox.depth(), 8);
    drop((mailbox.close(Reason::Killed), elsewhere));
    assert_eq!(account.held(), 0);
}

#[tokio::test]
async fn a_flood_refuses_the_sender_of_the_flood_and_nobody_else() {
    let (mailbox, _) = mailbox_of(1_000, Overflow::Reject);
    let mut sent = 0;
    while mailbox.send(heavy(1, 10)).await.is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 50, "half, and as much is left");
    for sender in 2..6 {
        assert!(mailbox.send(heavy(sender, 100)).await.is_ok(), "{sender}");
    }
    assert!(mailbox.send(heavy(1, 10)).await.is_err());
    assert!(mailbox.send(heavy(2, 100)).await.is_err(), "it has as much as is left");
    while mailbox.try_receive().is_some() {}
    assert!(mailbox.send(heavy(1, 5_000)).await.is_err(), "more than the whole account");
    assert!(mailbox.send(heavy(1, 2_000)).await.is_ok(), "one message is always let in");
}

#[tokio::test]
async fn the_oldest_go_until_there_is_room_and_none_goes_for_what_cannot_be_paid() {
    let (mailbox, account) = mailbox_of(1_000, Overflow::DropOldest);
    for _ in 0..4 {
        mailbox.send(heavy(1, 100)).await.expect("there is room");
    }
    let dropped = mailbox.send(heavy(1, 450)).await.expect("the oldest make room");
    assert_eq!((dropped.len(), mailbox.depth(), mailbox.dropped()), (2, 3, 2));
    let refused = mailbox.send(heavy(2, 4_000)).await.expect_err("nobody can pay for it");
    assert!(matches!(refused.why, Refused::Overdrawn(_)));
    assert_eq!((mailbox.depth(), mailbox.dropped(), account.held()), (3, 2, 850));
}

#[tokio::test]
async fn all_that_waits_is_looked_at_also_what_waits_for_room() {
    let mailbox = Mailbox::new(1, Overflow::Wait);
    assert!(!mailbox.any(|_| true));
    mailbox.send(1_u32).await.expect("there is room");
    let mut parked = Box::pin(mailbox.send(2));
    assert!(parked.as_mut().now_or_never().is_none());
    assert_eq!([1, 2, 3].map(|one| mailbox.any(|other| *other == one)), [true, true, false]);
    drop(parked);
    assert!(!mailbox.any(|other| *other == 2));
}

#[tokio::test]
async fn a_sender_that_waits_learns_that_nobody_pays() {
    let (mailbox, account) = mailbox_of(1_000, Overflow::Wait);
    mailbox.send(heavy(1, 600)).await.expect("an empty mailbox takes it");
    let mut waiting = Box::pin(mailbox.send(heavy(2, 600)));
    assert!(waiting.as_mut().now_or_never().is_none());
    let elsewhere = account.charge(3_300).expect("room");
    let begun = mailbox.receive().await;
    let refused = waiting.await.expect_err("the account is used up");
    assert!(matches!(refused.why, Refused::Overdrawn(_)) && refused.message.1 == 600);
    drop((begun, elsewhere));
    assert!(mailbox.send(heavy(2, 600)).await.is_ok());
}
