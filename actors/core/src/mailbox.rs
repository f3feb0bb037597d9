//! The bounded queue in front of a cell.
//!
//! Messages of one sender arrive in the order in which they came here: one that comes as a stream has waited at the
//! gate of its cell before, and later ones may have overtaken it there. A full mailbox follows its
//! [`Overflow`] policy, and the sender always learns what became of its message: a message that is not
//! taken comes back, with the reason. Closing a mailbox gives back what still waits in it.
//!
//! A mailbox belongs to a slot, not to an incarnation: it stays when a new incarnation takes over, and
//! whatever nobody has begun is served by that one. It is the last of three lanes: control and exit signals
//! reach a cell past it. Several readers may wait: a message wakes the one that came last, whose memory is warm. One that
//! is woken takes a message before it goes; only when all of them go, one may leave a wake-up unused.
//!
//! A message is charged to the account of the mailbox's owner when it is taken, and the mailbox holds a bounded number
//! of bytes of that account. Senders share them: one sender gets no more than what is left for all others, so that a
//! flood holds up the sender of the flood. A message that waits outside belongs to its sender.
//!
//! A charge for each small message would cost as much as the queue. So the mailbox pays for small messages while they
//! wait, in steps, and keeps the last step. One that is begun is not charged any more: its reader begins only a few at
//! once. A larger message carries its own charge until it is done with.
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

use crate::{
    account::{Account, Charge, DEFAULT_MAILBOX, Overdrawn},
    exit::Reason,
    turn,
};

/// Messages that may wait, unless a spec says otherwise: enough for a burst, few enough that the last of them is
/// not stale when its turn comes.
pub const DEFAULT_CAPACITY: usize = 256;

/// Most messages that any mailbox may hold: as many small ones as its bytes are for.
pub const MAX_CAPACITY: usize = 65_536;

/// One part in so many of the owner's account is for its mailbox, so that what waits takes nothing from what the owner
/// needs to work.
pub const PART: u64 = 4;

/// Bytes for which a mailbox pays at once, for messages that are [small](SMALL): less where its account is small.
const STEP: u64 = 16 << 10;

/// A message of at most one part in so many of a step is small.
const SMALL: u64 = 8;

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

/// What a mailbox carries.
pub trait Letter {
    /// Bytes that it costs to hold it. They stay the same while it waits.
    fn weight(&self) -> u64;

    /// Whether both come from one sender, who shares the mailbox with others.
    fn same_sender(&self, other: &Self) -> bool;

    /// It was paid for, until this is dropped.
    fn paid(&mut self, charge: Charge);
}

/// Why a mailbox did not take a message, or gave it back.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// It is full, and its policy is [`Overflow::Reject`].
    #[error("the mailbox is full")]
    Full,
    /// The node holds as much as it may for the owner of the mailbox.
    #[error(transparent)]
    Overdrawn(Overdrawn),
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
    /// Bytes of all messages that wait.
    most_bytes: u64,
    account: Option<Account>,
    /// Bytes for which it pays at once.
    step: u64,
    overflow: Overflow,
    queue: Mutex<Queue<T>>,
    /// A copy of what the queue says, for whoever looks without the lock.
    depth: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Queue<T> {
    messages: VecDeque<T>,
    /// Their weight.
    bytes: u64,
    /// The weight of those that are small.
    small: u64,
    /// What is paid for those: at least as much.
    paid: Charge,
    /// Senders that wait for room with their messages, in the order of arrival: as many as there are senders.
    parked: VecDeque<Parked<T>>,
    /// What waited and was not taken, until its sender looks.
    returned: Vec<(u64, Returned<T>)>,
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
    /// It is in the queue, in the place of these if there was no room.
    Taken(Vec<T>),
    /// It waits for room.
    Waits(Waiting<T>),
}

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` messages, at least one and at most [`MAX_CAPACITY`], for which nobody pays.
    pub fn new(capacity: usize, overflow: Overflow) -> Self {
        Self::with(capacity.clamp(1, MAX_CAPACITY), overflow, None, None)
    }

    /// The same whose messages are charged to an account. All of them together get a [`PART`] of it, and at most
    /// [`DEFAULT_MAILBOX`] bytes. One message is always let in, whatever it weighs, if the account has room.
    pub fn charged(capacity: usize, overflow: Overflow, account: Account) -> Self {
        Self::with(capacity.clamp(1, MAX_CAPACITY), overflow, Some(account), None)
    }

    /// A mailbox that nobody reads: every message comes back.
    pub fn not_served() -> Self {
        Self::with(1, Overflow::Reject, None, Some(Refused::NotServed))
    }

    fn with(capacity: usize, overflow: Overflow, account: Option<Account>, closed: Option<Refused>) -> Self {
        let queue = Queue {
            messages: VecDeque::new(),
            bytes: 0,
            small: 0,
            // Nothing yet, which every account has room for.
            paid: account.as_ref().and_then(|account| account.charge(0).ok()).unwrap_or_default(),
            parked: VecDeque::new(),
            returned: Vec::new(),
            next_ticket: 0,
            closed,
            readers: Vec::new(),
        };
        let most_bytes = account.as_ref().map_or(u64::MAX, |account| DEFAULT_MAILBOX.min(account.most() / PART));
        Self(Arc::new(Shared {
            capacity,
            most_bytes,
            step: STEP.min(most_bytes / 64),
            account,
            overflow,
            queue: Mutex::new(queue),
            depth: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        }))
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

    /// Whether any message is like this, of those that wait here and those that wait for room.
    pub fn any(&self, is: impl FnMut(&T) -> bool) -> bool {
        let queue = self.lock();
        queue.messages.iter().chain(queue.parked.iter().map(|parked| &parked.message)).any(is)
    }

    /// Readers that wait for a message.
    pub fn readers(&self) -> usize {
        self.lock().readers.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        // Nothing panics while the lock is held.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Letter> Mailbox<T> {
    /// Puts a message at the end of the queue. With [`Overflow::DropOldest`] the messages that had to go are returned,
    /// for their senders to be told.
    ///
    /// Cancel safe: a message whose sender stops waiting is dropped with the future, and was not taken.
    ///
    /// # Errors
    ///
    /// Gives the message back where the mailbox does not take it.
    pub async fn send(&self, message: T) -> Result<Vec<T>, Returned<T>> {
        match self.offer(message)? {
            Offered::Taken(oldest) => Ok(oldest),
            Offered::Waits(waiting) => waiting.await.map(|()| Vec::new()),
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
        let mut oldest = Vec::new();
        if queue.parked.is_empty() && shared.fits(&queue, &message) {
            if let Err(returned) = shared.admit(&mut queue, message) {
                drop(queue);
                return Err(returned);
            }
        } else {
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
                    // Before anything has to go for it.
                    let message = match shared.pay(&mut queue, message) {
                        Ok(message) => message,
                        Err(returned) => {
                            drop(queue);
                            return Err(returned);
                        }
                    };
                    while !shared.fits(&queue, &message) {
                        oldest.extend(shared.pop(&mut queue));
                        shared.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                    queue.push(message);
                }
            }
        }
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
            Some((message, senders)) => {
                drop(queue);
                senders.into_iter().for_each(Waker::wake);
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
        let (message, senders) = self.take(&mut self.lock())?;
        senders.into_iter().for_each(Waker::wake);
        Some(message)
    }

    /// Takes the first message out and lets senders that wait put theirs in; those to wake for that.
    fn take(&self, queue: &mut Queue<T>) -> Option<(T, Vec<Waker>)> {
        let message = self.0.pop(queue)?;
        let senders = self.0.let_in(queue);
        if queue.messages.is_empty() {
            // Whatever comes next lies where this one lay, in memory that is warm.
            queue.messages.clear();
            queue.repay(self.0.step);
        }
        self.0.depth.store(queue.messages.len(), Ordering::Relaxed);
        Some((message, senders))
    }

    /// Ends the mailbox, and gives back what still waits. Later sends are refused with the reason, until it is opened
    /// again. The first reason counts.
    pub fn close(&self, reason: Reason) -> Vec<T> {
        let mut queue = self.lock();
        queue.closed.get_or_insert(Refused::Ended(reason));
        let waiting: Vec<T> = queue.messages.drain(..).collect();
        (queue.bytes, queue.small) = (0, 0);
        queue.repay(0);
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
        wake.extend(self.0.let_in(&mut queue));
        self.0.depth.store(queue.messages.len(), Ordering::Relaxed);
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
    }
}

impl<T: Letter> Shared<T> {
    /// Whether there is room for a message: for one more, for its bytes, and for those within what its sender may have
    /// of them. A sender may have as much as is left for all others.
    fn fits(&self, queue: &Queue<T>, message: &T) -> bool {
        if queue.messages.len() >= self.capacity {
            return false;
        }
        let after = queue.bytes.saturating_add(message.weight());
        // As a rule nobody has to be looked for.
        if queue.messages.is_empty() || after <= self.most_bytes / 2 {
            return true;
        }
        let others = || queue.messages.iter().filter(|other| !other.same_sender(message)).map(T::weight).sum::<u64>();
        after <= self.most_bytes && after - others() <= self.most_bytes - queue.bytes
    }

    /// Pays for a message, and puts it at the end of the queue.
    fn admit(&self, queue: &mut Queue<T>, message: T) -> Result<(), Returned<T>> {
        let message = self.pay(queue, message)?;
        queue.push(message);
        Ok(())
    }

    fn pay(&self, queue: &mut Queue<T>, mut message: T) -> Result<T, Returned<T>> {
        let Some(account) = &self.account else { return Ok(message) };
        let weight = message.weight();
        let paid = if self.is_small(weight) {
            queue.pay(weight, self.step)
        } else {
            account.charge(weight).map(|charge| message.paid(charge))
        };
        match paid {
            Ok(()) => Ok(message),
            Err(why) => Err(Returned { message, why: Refused::Overdrawn(why) }),
        }
    }

    fn is_small(&self, weight: u64) -> bool {
        weight <= self.step / SMALL
    }

    fn pop(&self, queue: &mut Queue<T>) -> Option<T> {
        let message = queue.messages.pop_front()?;
        let weight = message.weight();
        queue.bytes = queue.bytes.saturating_sub(weight);
        if self.is_small(weight) {
            queue.small = queue.small.saturating_sub(weight);
        }
        Some(message)
    }

    /// Lets senders that wait put their messages in, as far as there is room; those to wake. A sender whose message cannot
    /// be paid for is sent away.
    fn let_in(&self, queue: &mut Queue<T>) -> Vec<Waker> {
        let mut wake = Vec::new();
        while queue.parked.front().is_some_and(|parked| self.fits(queue, &parked.message))
            && let Some(Parked { ticket, message, sender }) = queue.parked.pop_front()
        {
            if let Err(returned) = self.admit(queue, message) {
                queue.returned.push((ticket, returned));
            }
            wake.extend(sender);
        }
        wake
    }
}

impl<T: Letter> Queue<T> {
    fn push(&mut self, message: T) {
        self.bytes = self.bytes.saturating_add(message.weight());
        self.messages.push_back(message);
    }
}

impl<T> Queue<T> {
    /// Pays for one more small message, as a rule out of a step that is paid for already.
    fn pay(&mut self, weight: u64, step: u64) -> Result<(), Overdrawn> {
        let small = self.small + weight;
        if small > self.paid.bytes() {
            self.paid.grow(step)?;
        }
        self.small = small;
        Ok(())
    }

    /// Pays for no more than this.
    fn repay(&mut self, left: u64) {
        self.paid.shrink(self.paid.bytes().saturating_sub(left));
    }

    /// Where the message with a ticket waits, if it still does. Tickets grow along the queue.
    fn find(&self, ticket: u64) -> Option<usize> {
        self.parked.binary_search_by_key(&ticket, |parked| parked.ticket).ok()
    }

    /// The message with a ticket, if it was not taken.
    fn take_returned(&mut self, ticket: u64) -> Option<Returned<T>> {
        let place = self.returned.iter().position(|(returned, _)| *returned == ticket)?;
        Some(self.returned.swap_remove(place).1)
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
            let returned = queue.take_returned(ticket);
            drop(queue);
            self.ticket = None;
            return Poll::Ready(returned.map_or(Ok(()), Err));
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
        let returned = queue.take_returned(ticket);
        drop(queue);
        drop((given_up, returned));
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests;
