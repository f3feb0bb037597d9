//! The slot of a cell: what stays while incarnations come and go.
//!
//! A slot owns the mailbox, the names of its spec and what is published for it. An incarnation lives in it, serves the
//! mailbox and ends; whether another one takes over is for the slot's owner to say. Messages that nobody has begun wait
//! for that one. Whoever sends to a slot reaches whoever lives in it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use ww_core::{
    Account, CellId, SlotId,
    exit::{self, Reason},
    lend,
    mailbox::{Mailbox, Offered, Overflow, Refused, Waiting},
};

use crate::{
    message::{Answer, Body, Envelope, Failure, Message},
    pipe,
};

/// A slot. Clones are the same slot.
#[derive(Clone, Debug)]
pub struct Slot(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: SlotId,
    mailbox: Mailbox<Message>,
    message_size: usize,
    messages: AtomicU64,
    /// The slot whose answer the live instance waits for; 0 for none. In async mode there is at most one.
    waits_for: AtomicU64,
    incarnations: AtomicU32,
    /// The incarnation that lives here, or did last; 0 for none yet.
    occupant: AtomicU64,
    exit: exit::Watch,
    notifier: Mutex<Option<exit::Notifier>>,
}

/// The live instance of a slot waits for another cell, until this is dropped.
pub(crate) struct WaitsFor(Slot);

/// A message that is answered: in the mailbox, or on its way into it.
pub(crate) struct Asked {
    waits: Option<Waits>,
    answer: Answer,
    deadline: Option<Instant>,
}

/// A message that waits for room in the mailbox.
pub(crate) struct Waits(Waiting<Message>);

impl Slot {
    /// A slot whose mailbox holds `mailbox` messages of at most `message_size` bytes each, which are charged to `account`.
    pub(crate) fn new(id: SlotId, mailbox: usize, overflow: Overflow, message_size: u32, account: &Account) -> Self {
        Self::with(id, Mailbox::charged(mailbox, overflow, account.clone()), message_size)
    }

    /// A slot for a program that takes no messages.
    pub(crate) fn not_served(id: SlotId) -> Self {
        Self::with(id, Mailbox::not_served(), 0)
    }

    fn with(id: SlotId, mailbox: Mailbox<Message>, message_size: u32) -> Self {
        let (notifier, exit) = exit::channel();
        Self(Arc::new(Inner {
            id,
            exit,
            notifier: Mutex::new(Some(notifier)),
            mailbox,
            message_size: usize::try_from(message_size).unwrap_or(usize::MAX),
            messages: AtomicU64::new(0),
            waits_for: AtomicU64::new(0),
            incarnations: AtomicU32::new(0),
            occupant: AtomicU64::new(0),
        }))
    }

    /// Identifies the slot.
    pub fn id(&self) -> SlotId {
        self.0.id
    }

    /// Messages that wait, and messages that were dropped for newer ones.
    pub fn mailbox(&self) -> (usize, u64) {
        (self.0.mailbox.depth(), self.0.mailbox.dropped())
    }

    /// Whether a message of another party waits here, to which an answer is still wanted.
    pub fn others_wait(&self, envelope: &Envelope) -> bool {
        let is_other = |other: &Envelope| !other.is_of_same_party(envelope) && !other.has_expired();
        // As a rule nothing waits.
        self.0.mailbox.depth() > 0 && self.0.mailbox.any(|message| is_other(&message.envelope))
    }

    /// Incarnations that have lived here, with the one that does.
    pub fn incarnations(&self) -> u32 {
        self.0.incarnations.load(Ordering::Relaxed)
    }

    /// The envelope of a new message of the node.
    pub fn envelope(&self, timeout: Option<Duration>) -> Envelope {
        Envelope::host(self.next_message(), timeout)
    }

    /// The id of a new message.
    pub(crate) fn next_message(&self) -> u64 {
        self.0.messages.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a message and waits for the reply, both whole. Cancel safe: the cell finishes what it has begun.
    ///
    /// # Errors
    ///
    /// Where the message is not answered, for any of the reasons of [`Failure`].
    pub async fn ask(&self, envelope: Envelope, body: impl Into<Bytes>) -> Result<Bytes, Failure> {
        // Nothing else is to be done before the answer.
        let asked = lend::at_once(|| self.asked(envelope, body.into())).await?;
        asked.answer().await
    }

    /// Begins to [ask](Self::ask).
    ///
    /// # Errors
    ///
    /// Where the mailbox does not take the message, or it is too large.
    pub(crate) fn asked(&self, envelope: Envelope, body: Bytes) -> Result<Asked, Failure> {
        self.post(envelope, self.whole(body)?)
    }

    /// Sends a message and waits until the mailbox has taken it. Nobody is told what becomes of it.
    ///
    /// # Errors
    ///
    /// Where the mailbox does not take it, or the message is too large.
    pub async fn send(&self, envelope: Envelope, body: impl Into<Bytes>) -> Result<(), Failure> {
        let until = envelope.deadline;
        match self.sent(envelope, body.into())? {
            Some(waiting) => waiting.until(until).await,
            None => Ok(()),
        }
    }

    /// Begins to [send](Self::send): what is left to do where there is no room.
    ///
    /// # Errors
    ///
    /// Where the mailbox does not take the message, or it is too large.
    pub(crate) fn sent(&self, envelope: Envelope, body: Bytes) -> Result<Option<Waits>, Failure> {
        self.put(Message::untold(envelope, self.whole(body)?))
    }

    /// Serves one message whose body and reply are streams, in either mode. Returns when the cell has answered, or
    /// failed to: what is in `reply` by then is the whole reply only after `Ok`. After a failure the reader of `reply`
    /// sees an error instead of the end. Cancel safe: the cell finishes what it has begun.
    ///
    /// # Errors
    ///
    /// Where the message is not answered.
    pub async fn process_message(
        &self,
        envelope: Envelope,
        request: pipe::Reader,
        reply: pipe::Writer,
    ) -> Result<(), Failure> {
        // What is there of the request can be served before anything else is to be done.
        let asked = lend::at_once(|| self.post(envelope, Body::Stream { request, reply })).await?;
        asked.answer().await.map(drop)
    }

    /// Learns of the end of the slot itself: nobody is going to live here any more.
    pub fn exit(&self) -> &exit::Watch {
        &self.0.exit
    }

    /// Ends the slot for good.
    pub(crate) fn end(&self, reason: &Reason) {
        self.close(reason);
        // Nothing panics while the lock is held.
        let notifier = self.0.notifier.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(notifier) = notifier {
            notifier.notify(reason.clone());
        }
    }

    /// Refuses whatever waits, and whatever comes, with this reason.
    pub fn close(&self, reason: &Reason) {
        for message in self.0.mailbox.close(reason.clone()) {
            message.refuse(Failure::Ended(reason.clone()));
        }
    }

    /// The incarnation that lives here, or did last.
    pub fn occupant(&self) -> Option<CellId> {
        match self.0.occupant.load(Ordering::Relaxed) {
            0 => None,
            id => Some(CellId::new(id)),
        }
    }

    /// An incarnation moves in: from now on messages are taken again.
    pub(crate) fn occupy(&self, cell: CellId) {
        self.0.occupant.store(cell.get(), Ordering::Relaxed);
        self.0.incarnations.fetch_add(1, Ordering::Relaxed);
        self.reopen();
    }

    /// Somebody is coming: messages are taken again.
    pub(crate) fn reopen(&self) {
        self.0.mailbox.reopen();
    }

    /// What the incarnation that lives here reads.
    pub(crate) fn messages(&self) -> &Mailbox<Message> {
        &self.0.mailbox
    }

    /// Notes that the live instance waits for the answer of another slot.
    pub(crate) fn waits_for(&self, other: &Self) -> WaitsFor {
        self.0.waits_for.store(other.id().get(), Ordering::SeqCst);
        WaitsFor(self.clone())
    }

    /// The slot whose answer its live instance waits for.
    pub(crate) fn waiting(&self) -> Option<SlotId> {
        match self.0.waits_for.load(Ordering::SeqCst) {
            0 => None,
            id => Some(SlotId::new(id)),
        }
    }

    fn whole(&self, body: Bytes) -> Result<Body, Failure> {
        // What is never served has no size.
        let most = self.0.message_size;
        if most > 0 && body.len() > most {
            return Err(Failure::TooLarge { len: body.len(), most });
        }
        Ok(Body::Whole(body))
    }

    fn post(&self, envelope: Envelope, body: Body) -> Result<Asked, Failure> {
        let deadline = envelope.deadline;
        let (message, answer) = Message::new(envelope, body);
        Ok(Asked { waits: self.put(message)?, answer, deadline })
    }

    /// Puts a message into the mailbox. As a rule there is room, and nothing is left to wait for.
    fn put(&self, message: Message) -> Result<Option<Waits>, Failure> {
        match self.0.mailbox.offer(message)? {
            Offered::Waits(waiting) => return Ok(Some(Waits(waiting))),
            Offered::Taken(oldest) => {
                oldest.into_iter().for_each(|oldest| oldest.refuse(Failure::Refused(Refused::Dropped)));
            }
        }
        Ok(None)
    }
}

impl Asked {
    /// Waits for the answer, at most until the deadline of the message.
    pub(crate) async fn answer(self) -> Result<Bytes, Failure> {
        if let Some(waits) = self.waits {
            waits.until(self.deadline).await?;
        }
        self.answer.wait(self.deadline).await
    }
}

impl Waits {
    /// Waits until there was room for the message, at most until a moment.
    pub(crate) async fn until(self, until: Option<Instant>) -> Result<(), Failure> {
        match until {
            None => Ok(self.0.await?),
            Some(until) => Ok(timeout_at(until, self.0).await.map_err(|_| Failure::Timeout)??),
        }
    }
}

impl Drop for WaitsFor {
    fn drop(&mut self) {
        self.0.0.waits_for.store(0, Ordering::SeqCst);
    }
}
