//! What an instance is handling, for whoever acts on its behalf outside: the vat at the other end of its connection.
//!
//! A message that an instance sends over a capability belongs to the message that it is handling: it carries that one's
//! trace and what is left of its deadline, and the chain of cells that wait. When the vat looks, the instance may have
//! gone on to its next message, if it did not wait for what it asked for: then it is taken for that one's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use ww_core::SlotId;

use crate::message::{Chain, Envelope};

/// What the instance at the other end of a connection is handling. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Handling(Arc<Mutex<Option<Cause>>>);

/// The message on whose behalf another one is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Its trace.
    pub trace: u128,
    /// When its answer is no longer wanted.
    pub deadline: Option<Instant>,
    /// Who waits for its answer, with the cell that handles it.
    pub chain: Chain,
}

impl Handling {
    /// What is being handled right now, if anything is.
    pub fn cause(&self) -> Option<Cause> {
        self.lock().clone()
    }

    /// The instance in `slot` begins a message.
    pub(crate) fn begin(&self, slot: SlotId, message: &Envelope) {
        let &Envelope { trace, deadline, ref chain, .. } = message;
        *self.lock() = Some(Cause { trace, deadline, chain: chain.with(slot) });
    }

    /// It has handled the message.
    pub(crate) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Cause>> {
        // Nothing panics while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Cause> for Handling {
    /// For whoever stands in for an instance.
    fn from(cause: Cause) -> Self {
        Self(Arc::new(Mutex::new(Some(cause))))
    }
}

impl Cause {
    /// A deadline of the sender's own, or the one of the message that it handles: whichever comes first.
    pub fn within(&self, own: Option<Instant>) -> Option<Instant> {
        match (own, self.deadline) {
            (Some(own), Some(theirs)) => Some(own.min(theirs)),
            (own, theirs) => own.or(theirs),
        }
    }
}

impl Envelope {
    /// The same message, sent on behalf of another one.
    #[must_use]
    pub fn caused_by(self, cause: Cause) -> Self {
        Self { trace: cause.trace, deadline: cause.within(self.deadline), chain: cause.chain, ..self }
    }
}
