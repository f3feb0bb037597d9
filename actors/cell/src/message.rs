//! Messages: bytes from start to end, where the reply goes, who sent them, and until when an answer is wanted.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::{sync::oneshot, time::Instant};
use ww_core::{
    CellId, Charge, SlotId, Text,
    exit::Reason,
    links::Signal,
    mailbox::{Letter, Refused, Returned},
};

use crate::pipe::{self, Closed};

/// Largest message that travels as a whole, in bytes; what is larger travels as a stream. A cell's own limit may be
/// lower.
pub const MAX_WHOLE: usize = 4 << 20;

/// Bytes that a message costs besides its body: its envelope, its place in the mailbox, and the way back.
const BESIDES: u64 = 512;

/// Cells that may wait for one another in a row: deeper is a loop through something that the chain does not show.
const MAX_CHAIN: u32 = 64;

/// Who sent a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sender {
    /// The node, or the program that it lives in.
    Host,
    /// A cell of this node.
    Cell(CellId),
    /// A peer, by its id as libp2p serialises it.
    Peer(Vec<u8>),
}

/// What is known of a message besides its bytes.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Identifies the message among those of its receiver.
    pub id: u64,
    /// The same for every message that one request caused, on every node.
    pub trace: u128,
    /// Who sent it.
    pub sender: Sender,
    /// The client of the node on whose behalf the node sent it, by its place in the tree.
    pub client: Option<CellId>,
    /// When an answer is no longer wanted.
    pub deadline: Option<Instant>,
    /// The cells that wait for the answer.
    pub chain: Chain,
}

/// The cells that wait for the answer to a message: who sent it, who waits for that one, and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain(Option<Arc<Waiting>>);

#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    slot: SlotId,
    len: u32,
    rest: Chain,
}

/// What an instance is handling.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) envelope: Envelope,
    /// The signal, if it is one and no message: elsewhere, because there is hardly ever one.
    pub(crate) signal: Option<Box<Signal>>,
}

/// How the bytes of a message travel.
#[derive(Debug)]
pub(crate) enum Body {
    Whole(Bytes),
    Stream { request: pipe::Reader, reply: pipe::Writer },
}

/// A message in a mailbox.
#[derive(Debug)]
pub struct Message {
    pub(crate) envelope: Envelope,
    pub(crate) body: Body,
    done: Option<oneshot::Sender<Result<Bytes, Failure>>>,
    charge: Charge,
}

/// Waits for what becomes of a message.
#[derive(Debug)]
pub(crate) struct Answer(oneshot::Receiver<Result<Bytes, Failure>>);

/// Why a message was not answered.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The guest returned this error.
    #[error("the cell could not answer: {0}")]
    Guest(Text),
    /// The cell ended before it had answered.
    #[error("the cell ended before it had answered: {0}")]
    Ended(Reason),
    /// The mailbox did not take it.
    #[error("the message was refused: {0}")]
    Refused(#[from] Refused),
    /// Its deadline passed: the cell had not begun it, or goes on without anybody waiting.
    #[error("the deadline of the message has passed")]
    Timeout,
    /// The message or its reply is larger than may travel as a whole.
    #[error("{len} bytes: at most {most} travel as a whole; use a stream")]
    TooLarge {
        /// Bytes of the message, or of its reply as far as it was read.
        len: usize,
        /// Bytes that are taken.
        most: usize,
    },
    /// The caller kept the cell waiting, for its request or for the reply to be taken, while others waited for the cell.
    #[error("the caller was given up: the cell waited for it while others waited for the cell")]
    TooSlow,
    /// The receiver waits for the sender, so that it could never answer.
    #[error("deadlock: the cell waits for its own sender, and could never answer")]
    Deadlock,
}

impl Envelope {
    /// A message of the node itself, to be answered within `timeout`.
    pub fn host(id: u64, timeout: Option<Duration>) -> Self {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        Self { id, trace: rand::random(), sender: Sender::Host, client: None, deadline, chain: Chain::default() }
    }

    /// Whether both come from one party. Two clients of the node are two, and both are the node to a guest.
    pub fn is_of_same_party(&self, other: &Self) -> bool {
        self.sender == other.sender && self.client == other.client
    }

    /// Whether nobody waits for the answer any more.
    pub fn has_expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl Chain {
    /// This chain with one more cell, who waits for the next answer.
    #[must_use]
    pub fn with(&self, slot: SlotId) -> Self {
        Self(Some(Arc::new(Waiting { slot, len: self.len() + 1, rest: self.clone() })))
    }

    /// Whether a message to this cell could never be answered: it waits for the answer itself, or there are too many
    /// who wait.
    pub fn blocks(&self, slot: SlotId) -> bool {
        let mut next = self;
        while let Some(waiting) = &next.0 {
            if waiting.slot == slot {
                return true;
            }
            next = &waiting.rest;
        }
        self.len() >= MAX_CHAIN
    }

    fn len(&self) -> u32 {
        self.0.as_ref().map_or(0, |waiting| waiting.len)
    }
}

impl Letter for Message {
    fn weight(&self) -> u64 {
        match &self.body {
            Body::Whole(bytes) => BESIDES + bytes.len() as u64,
            Body::Stream { .. } => BESIDES + pipe::CAPACITY as u64,
        }
    }

    fn same_sender(&self, other: &Self) -> bool {
        self.envelope.sender == other.envelope.sender
    }

    fn paid(&mut self, charge: Charge) {
        self.charge = charge;
    }
}

impl Message {
    pub(crate) fn new(envelope: Envelope, body: Body) -> (Self, Answer) {
        let (tx, rx) = oneshot::channel();
        (Self { envelope, body, done: Some(tx), charge: Charge::none() }, Answer(rx))
    }

    /// A message of which nobody is told what became.
    pub(crate) fn untold(envelope: Envelope, body: Body) -> Self {
        Self { envelope, body, done: None, charge: Charge::none() }
    }

    /// Takes the message apart: what the guest gets, and the means to answer.
    pub(crate) fn begin(self) -> (Envelope, Body, Done) {
        (self.envelope, self.body, Done { sender: self.done, _charge: self.charge })
    }

    /// Tells the sender that it will not be begun.
    pub fn refuse(self, why: Failure) {
        Done { sender: self.done, _charge: self.charge }.answer(Err(why));
    }
}

/// The means to answer a message that was begun, and what was paid for it until then. Dropped without a word, the sender
/// learns that the cell is gone.
#[derive(Debug)]
pub(crate) struct Done {
    sender: Option<oneshot::Sender<Result<Bytes, Failure>>>,
    _charge: Charge,
}

impl Done {
    /// For what nobody waits for.
    pub(crate) fn nobody() -> Self {
        Self { sender: None, _charge: Charge::none() }
    }

    pub(crate) fn answer(mut self, answer: Result<Bytes, Failure>) {
        if let Some(done) = self.sender.take() {
            // Whoever asked may have stopped waiting: that is theirs to do.
            let _ = done.send(answer);
        }
    }
}

impl Answer {
    /// Waits for the answer, at most until the deadline.
    pub(crate) async fn wait(self, deadline: Option<Instant>) -> Result<Bytes, Failure> {
        let answer = async { self.0.await.unwrap_or(Err(Failure::Ended(Reason::NoProcess))) };
        match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, answer).await.unwrap_or(Err(Failure::Timeout)),
            None => answer.await,
        }
    }
}

/// Reads a stream to its end, as far as it may travel as a whole.
pub(crate) async fn collect(reader: pipe::Reader) -> Result<Bytes, Failure> {
    let mut all = BytesMut::new();
    loop {
        match reader.read(usize::MAX).await {
            Ok(bytes) if bytes.is_empty() => return Ok(all.freeze()),
            Ok(bytes) => {
                // Most are read at once, and not copied then.
                if all.is_empty() {
                    all = bytes.into();
                } else {
                    all.extend_from_slice(&bytes);
                }
                if all.len() > MAX_WHOLE {
                    return Err(Failure::TooLarge { len: all.len(), most: MAX_WHOLE });
                }
            }
            Err(Closed::Failed(why)) => return Err(Failure::Guest(why.into())),
            Err(Closed::End) => return Ok(all.freeze()),
        }
    }
}

impl From<Returned<Message>> for Failure {
    fn from(returned: Returned<Message>) -> Self {
        Self::Refused(returned.why)
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("the node"),
            Self::Cell(id) => write!(f, "cell {id}"),
            Self::Peer(id) => {
                f.write_str("peer ")?;
                id.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_knows_who_waits_and_how_many() {
        let [a, b, c] = [1, 2, 3].map(SlotId::new);
        let chain = Chain::default().with(a).with(b);
        assert_eq!([a, b, c].map(|slot| chain.blocks(slot)), [true, true, false]);
        let long = (0..u64::from(MAX_CHAIN)).fold(Chain::default(), |chain, slot| chain.with(SlotId::new(slot + 10)));
        assert!(long.blocks(c), "too many wait");
    }
}
