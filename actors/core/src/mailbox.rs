//! The bounded queue in front of a cell.
//!
//! Messages of one sender arrive in the order in which they were sent. A full mailbox follows its
//! [`Overflow`] policy, and the sender always learns what became of its message: a message that is not
//! taken comes back, with the reason. Closing a mailbox gives back what still waits in it.
//!
//! A mailbox belongs to a slot, not to an incarnation: it stays when a new incarnation takes over, and
//! whatever nobody has begun is served by that one. It is the last of three lanes: control and exit signals
//! reach a cell past it. Several readers may wait: a message wakes the one that came last, whose memory is warm. One that
//! is woken takes a message before it goes; only when all of them go, one may leave a wake-up unused.
//!
//! Everything is behind one lock, which is held for moments and never across a wait: a send and a receive
//! take it once each, and allocate nothing once the queue has grown.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{exit::Reason, turn};

/// Messages that may wait, unless a spec says otherwise: enough for a burst, few enough that the last of them is
/// not stale when its turn comes.
pub const DEFAULT_CAPACITY: usize = 256;

/// Most messages that any mailbox may hold: with the largest messages that travel as a whole, as much memory as a
/// large cell has.
pub const MAX_CAPACITY: usize = 65_536;

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
    /// Whoever read it has ended.
    #[error("the cell has ended: {0}")]
    Ended(Reason),
    /// Nobody ever reads it.
    #[error("the cell runs its main and takes no messages")]
    NotServed,
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
    capacity: usize,
    overflow: Overflow,
    queue: Mutex<Queue<T>>,
    /// A copy of what the queue says, for whoever looks without the lock.
    depth: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Queue<T> {
    messages: VecDeque<T>,
    /// Senders that wait for room with their messages, in the order of arrival: as many as there are senders.
    parked: VecDeque<Parked<T>>,
    next_ticket: u64,
    closed: Option<Refused>,
    /// Readers that wait, each once: as many as the owner of the mailbox has.
    readers: Vec<Waker>,
}

#[derive(Debug)]
struct Parked<T> {
    ticket: u64,
    message: T,
    sender: Option<Waker>,
}

/// What became of a message that the mailbox did not give back.
#[derive(Debug)]
pub enum Offered<T> {
    /// It is in the queue, in the place of this one if there was no room.
    Taken(Option<T>),
    /// It waits for room.
    Waits(Waiting<T>),
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` messages, at least one and at most [`MAX_CAPACITY`].
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        Self::with(capacity.clamp(1, MAX_CAPACITY), overflow, None)
    }

    /// A mailbox that nobody reads: every message comes back.
    pub fn not_served() -> Self {
        Self::with(1, Overflow::Reject, Some(Refused::NotServed))
    }

    fn with(capacity: usize, overflow: Overflow, closed: Option<Refused>) -> Self {
        let queue =
            Queue { messages: VecDeque::new(), parked: VecDeque::new(), next_ticket: 0, closed, readers: Vec::new() };
        Self(Arc::new(Shared {
            capacity,
            overflow,
            queue: Mutex::new(queue),
            depth: AtomicUsize::new(0),
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
        match self.offer(message)? {
            Offered::Taken(oldest) => Ok(oldest),
            Offered::Waits(waiting) => waiting.await.map(|()| None),
        }
    }

    /// [`Mailbox::send`] without the wait: where there is room, as there is as a rule, the message never becomes a part of a
    /// future.
    ///
    /// # Errors
    ///
    /// Gives the message back where the mailbox does not take it.
    pub fn offer(&self, message: T) -> Result<Offered<T>, Returned<T>> {
        let shared = &*self.0;
        let mut queue = self.lock();
        if let Some(why) = &queue.closed {
            let why = why.clone();
            drop(queue);
            return Err(Returned { message, why });
        }
        let mut oldest = None;
        if queue.messages.len() >= shared.capacity || !queue.parked.is_empty() {
            match shared.overflow {
                Overflow::Reject => {
                    drop(queue);
                    return Err(Returned { message, why: Refused::Full });
                }
                Overflow::Wait => {
                    let ticket = queue.next_ticket;
                    queue.next_ticket += 1;
                    queue.parked.push_back(Parked { ticket, message, sender: None });
                    return Ok(Offered::Waits(Waiting { mailbox: self.clone(), ticket: Some(ticket) }));
                }
                Overflow::DropOldest => {
                    oldest = queue.messages.pop_front();
                    shared.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        queue.messages.push_back(message);
        shared.depth.store(queue.messages.len(), Ordering::Relaxed);
        let reader = queue.readers.pop();
        drop(queue);
        turn::sent(reader);
        Ok(Offered::Taken(oldest))
    }

    /// The next message. Waits until there is one. Cancel safe: no message is lost.
    pub async fn receive(&self) -> T {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// The next message, or a wake-up when there is one.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut queue = self.lock();
        match self.take(&mut queue) {
            Some((message, sender)) => {
                drop(queue);
                if let Some(sender) = sender {
                    sender.wake();
                }
                Poll::Ready(message)
            }
            None => {
                if !queue.readers.iter().any(|reader| reader.will_wake(cx.waker())) {
                    queue.readers.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// The next message, if there is one.
    pub fn try_receive(&self) -> Option<T> {
        let (message, sender) = self.take(&mut self.lock())?;
        if let Some(sender) = sender {
            sender.wake();
        }
        Some(message)
    }

    /// Takes the first message out and lets the first sender that waits put its own in; whom to wake for that.
    fn take(&self, queue: &mut Queue<T>) -> Option<(T, Option<Waker>)> {
        let message = queue.messages.pop_front()?;
        let mut sender = None;
        if let Some(parked) = queue.parked.pop_front() {
            queue.messages.push_back(parked.message);
            sender = parked.sender;
        }
        if queue.messages.is_empty() {
            // Whatever comes next lies where this one lay, in memory that is warm.
            queue.messages.clear();
        }
        self.0.depth.store(queue.messages.len(), Ordering::Relaxed);
        Some((message, sender))
    }

    /// Ends the mailbox, and gives back what still waits. Later sends are refused with the reason, until it is opened
    /// again. The first reason counts.
    pub fn close(&self, reason: Reason) -> Vec<T> {
        let mut queue = self.lock();
        queue.closed.get_or_insert(Refused::Ended(reason));
        let waiting: Vec<T> = queue.messages.drain(..).collect();
        self.0.depth.store(0, Ordering::Relaxed);
        // They find their messages where they left them, and take them back.
        let senders: Vec<Waker> = queue.parked.iter_mut().filter_map(|parked| parked.sender.take()).collect();
        drop(queue);
        senders.into_iter().for_each(Waker::wake);
        waiting
    }

    /// Takes messages again after [`Mailbox::close`].
    pub fn reopen(&self) {
        let mut queue = self.lock();
        if !matches!(queue.closed, Some(Refused::Ended(_))) {
            return;
        }
        queue.closed = None;
        // Senders that waited through both without noticing.
        let mut wake: Vec<Waker> = mem::take(&mut queue.readers);
        while queue.messages.len() < self.0.capacity
            && let Some(parked) = queue.parked.pop_front()
        {
            queue.messages.push_back(parked.message);
            wake.extend(parked.sender);
        }
        self.0.depth.store(queue.messages.len(), Ordering::Relaxed);
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Readers that wait for a message.
    pub fn readers(&self) -> usize {
        self.lock().readers.len()
    }

    /// Messages that wait. Takes no lock.
    pub fn depth(&self) -> usize {
        self.0.depth.load(Ordering::Relaxed)
    }

    /// Messages that were dropped for newer ones. Takes no lock.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Messages that may wait.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing panics while the lock is held.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Queue<T> {
    /// Where the message with a ticket waits, if it still does. Tickets grow along the queue.
    fn find(&self, ticket: u64) -> Option<usize> {
        self.parked.binary_search_by_key(&ticket, |parked| parked.ticket).ok()
    }
}

/// A message that waits for room: a future that ends when it was taken, or comes back. Dropped before, the message is dropped
/// and was not taken.
#[derive(Debug)]
#[must_use = "a message that nobody waits with is dropped"]
pub struct Waiting<T> {
    mailbox: Mailbox<T>,
    /// `None` once it is known what became of the message.
    ticket: Option<u64>,
}

impl<T> Future for Waiting<T> {
    type Output = Result<(), Returned<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(ticket) = self.ticket else { return Poll::Ready(Ok(())) };
        let mut queue = self.mailbox.lock();
        let Some(place) = queue.find(ticket) else {
            drop(queue);
            self.ticket = None;
            return Poll::Ready(Ok(()));
        };
        if let Some(why) = queue.closed.clone() {
            let parked = queue.parked.remove(place);
            drop(queue);
            self.ticket = None;
            return Poll::Ready(parked.map_or(Ok(()), |parked| Err(Returned { message: parked.message, why })));
        }
        queue.parked[place].sender = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Waiting<T> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut queue = self.mailbox.lock();
        let given_up = queue.find(ticket).and_then(|place| queue.parked.remove(place));
        drop(queue);
        drop(given_up);
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests;
