//! Mailboxes: policies, order, ends, and senders that give up.

use futures::{FutureExt, future::join_all};

use super::*;

fn drain(mailbox: &Mailbox<u32>) -> Vec<u32> {
    std::iter::from_fn(|| mailbox.try_receive()).collect()
}

#[tokio::test]
async fn a_full_mailbox_follows_its_policy() {
    let table = [
        (Overflow::Reject, Err((3, Refused::Full)), vec![1, 2], 0),
        (Overflow::DropOldest, Ok(Some(1)), vec![2, 3], 1),
    ];
    for (overflow, outcome, left, dropped) in table {
        let mailbox = Mailbox::new(2, overflow);
        for message in [1, 2] {
            assert!(matches!(mailbox.send(message).await, Ok(None)));
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
    assert!(matches!(second.await, Ok(None)));
    assert_eq!(mailbox.receive().await, 1);
    assert!(matches!(third.await, Ok(None)));
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
    assert!(matches!(waiting.await, Ok(None)), "it did not notice");
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
