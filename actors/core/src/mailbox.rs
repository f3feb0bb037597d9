//! The bounded queue in front of a cell.
//!
//! Messages of one sender arrive in the order in which they were sent. A full mailbox follows its
//! [`Overflow`] policy, and the sender always learns what became of its message: a message that is not
//! taken comes back, with the reason. Closing a mailbox gives back what still waits in it.
//!
//! A mailbox belongs to a slot, not to an incarnation: it stays when a new incarnation takes over, and
//! whatever nobody has begun is served by that one. It has one lane, for messages: control reaches a cell
//! past it, without waiting for anything.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::exit::Reason;

/// Messages that may wait, unless a spec says otherwise: enough for a burst, few enough that the last of them is
/// not stale when its turn comes.
pub const DEFAULT_CAPACITY: usize = 256;

/// What happens to a message for a full mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Its sender waits for room, in the order of arrival.
    #[default]
    Wait,
    /// It is refused.
    Reject,
    /// It is taken; the one that has waited longest is refused, and counted.
    DropOldest,
}

/// Why a mailbox did not take a message, or gave it back.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It is full, and its policy is [`Overflow::Reject`].
    #[error("the mailbox is full")]
    Full,
    /// A newer message took its place: the policy is [`Overflow::DropOldest`].
    #[error("the message was dropped for a newer one")]
    Dropped,
    /// Whoever read it has ended for good.
    #[error("the cell has ended: {0}")]
    Ended(Reason),
}

/// A message that was not taken, and why.
#[derive(Debug)]
pub struct Returned<T> {
    /// The message.
    pub message: T,
    /// Why it came back.
    pub why: Refused,
}

/// A mailbox. Clones are the same mailbox.
#[derive(Debug)]
pub struct Mailbox<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    overflow: Overflow,
    /// One permit for each message that may wait. It is fair: senders that wait are served in order.
    room: Arc<Semaphore>,
    queue: Mutex<Queue<T>>,
    arrived: Notify,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<(T, OwnedSemaphorePermit)>,
    ended: Option<Reason>,
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` messages, at least one.
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        Self(Arc::new(Shared {
            overflow,
            room: Arc::new(Semaphore::new(capacity.clamp(1, Semaphore::MAX_PERMITS))),
            queue: Mutex::new(Queue { waiting: VecDeque::new(), ended: None }),
            arrived: Notify::new(),
            dropped: AtomicU64::new(0),
        }))
    }

    /// Puts a message at the end of the queue. With [`Overflow::DropOldest`] the message that had to go is returned,
    /// for its sender to be told.
    ///
    /// Cancel safe: a message whose sender stops waiting is dropped with the future, and was not taken.
    ///
    /// # Errors
    ///
    /// Gives the message back where the mailbox does not take it.
    pub async fn send(&self, message: T) -> Result<Option<T>, Returned<T>> {
        let shared = &self.0;
        let mut oldest = None;
        let permit = match Arc::clone(&shared.room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => match shared.overflow {
                Overflow::Reject => return Err(self.returned(message, Refused::Full)),
                Overflow::Wait => match Arc::clone(&shared.room).acquire_owned().await {
                    Ok(permit) => permit,
                    // Closed: `push` below says why.
                    Err(_) => return Err(self.returned(message, Refused::Full)),
                },
                Overflow::DropOldest => {
                    let popped = self.lock().waiting.pop_front();
                    match popped {
                        Some((old, permit)) => {
                            shared.dropped.fetch_add(1, Ordering::Relaxed);
                            oldest = Some(old);
                            permit
                        }
                        // All permits are with messages that are being taken right now: there will be room at once.
                        None => match Arc::clone(&shared.room).acquire_owned().await {
                            Ok(permit) => permit,
                            Err(_) => return Err(self.returned(message, Refused::Full)),
                        },
                    }
                }
            },
        };
        let mut queue = self.lock();
        if let Some(reason) = &queue.ended {
            let why = Refused::Ended(reason.clone());
            drop(queue);
            return Err(Returned { message, why });
        }
        queue.waiting.push_back((message, permit));
        drop(queue);
        shared.arrived.notify_one();
        Ok(oldest)
    }

    /// The next message. Waits until there is one. Cancel safe: no message is lost.
    pub async fn receive(&self) -> T {
        loop {
            if let Some(message) = self.try_receive() {
                return message;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next message, if there is one.
    pub fn try_receive(&self) -> Option<T> {
        let mut queue = self.lock();
        let (message, _room) = queue.waiting.pop_front()?;
        // Several may have arrived for one notice.
        if !queue.waiting.is_empty() {
            self.0.arrived.notify_one();
        }
        Some(message)
    }

    /// Ends the mailbox for good, and gives back what still waits. Later sends are refused with the reason.
    pub fn close(&self, reason: Reason) -> Vec<T> {
        let mut queue = self.lock();
        queue.ended.get_or_insert(reason);
        let waiting = queue.waiting.drain(..).map(|(message, _)| message).collect();
        drop(queue);
        self.0.room.close();
        waiting
    }

    /// Messages that wait.
    pub fn depth(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Messages that were dropped for newer ones.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn returned(&self, message: T, otherwise: Refused) -> Returned<T> {
        let why = self.lock().ended.clone().map_or(otherwise, Refused::Ended);
        Returned { message, why }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing panics while the lock is held.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
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
}
