//! What all instances of one incarnation share: whose they are, with what they start, and who their neighbours are.

use std::{sync::Mutex, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;
use ww_core::{CellId, Name, SlotId, grants::Reach, mailbox::Refused};

use crate::{
    cell::{Cell, Mode, Spec},
    directory::Directory,
    message::{Chain, Current, Envelope, Failure, Sender},
    meters::Meters,
    reach::Met,
    slot::{Asked, Slot, Waits, WaitsFor},
    tail::Rate,
};

/// Slots that are followed from one that waits to the next: deeper than any graph of calls that ends.
const MAX_HOPS: usize = 1_024;

/// Of a cell's own deadline, what it may spend waiting for another cell that it gave no time: half, so that it can
/// still do something about it.
const SHARE_OF_DEADLINE: u32 = 2;

/// Whose instances they are.
pub(crate) struct Own {
    pub(crate) cell: Cell,
    pub(crate) spec: Spec,
    pub(crate) directory: Directory,
    /// Bounds its lines in the log.
    pub(crate) lines: Mutex<Rate>,
    /// The cells that it had to do with.
    pub(crate) met: Met,
}

/// To whom a message goes.
#[derive(Clone, Debug)]
pub(crate) enum To {
    Name(String),
    Cell(CellId),
}

/// Why a message to another cell was not answered, or not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    Denied,
    NoSuchCell,
    Failed(Failure),
}

/// A message for a mailbox without room.
pub(crate) struct Full {
    waits: Waits,
    until: Option<Instant>,
}

/// A message whose reply is waited for.
pub(crate) struct Requested {
    asked: Asked,
    _waits_for: Option<WaitsFor>,
}

impl Full {
    /// Waits for room, no longer than the sender can.
    pub(crate) async fn room(self) -> Result<(), Undelivered> {
        match self.waits.until(self.until).await {
            Err(Failure::Timeout) => Err(Failure::Refused(Refused::Full).into()),
            sent => Ok(sent?),
        }
    }
}

impl Requested {
    /// Waits for the reply.
    pub(crate) async fn reply(self) -> Result<Bytes, Undelivered> {
        Ok(self.asked.answer().await?)
    }
}

impl From<Failure> for Undelivered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Own {
    pub(crate) fn new(cell: &Cell, spec: Spec, directory: Directory) -> Self {
        Self { cell: cell.clone(), spec, directory, lines: Mutex::default(), met: Met::default() }
    }

    pub(crate) fn id(&self) -> CellId {
        self.cell.id()
    }

    pub(crate) fn meters(&self) -> &Meters {
        self.cell.meters()
    }

    fn slot(&self) -> SlotId {
        self.cell.slot().id()
    }

    /// Sends a message to another cell: what is left to wait for where its mailbox is full.
    ///
    /// # Errors
    ///
    /// Where it may not be sent, or is not taken.
    pub(crate) fn send(&self, current: Option<&Current>, to: &To, body: Bytes) -> Result<Option<Full>, Undelivered> {
        let slot = self.reach(current, to)?;
        let envelope = self.envelope(&slot, current, None, Chain::default());
        let waits = slot.sent(envelope, body)?;
        Ok(waits.map(|waits| Full { waits, until: self.patience(current) }))
    }

    /// Sends a message to another cell, whose reply is to be waited for.
    ///
    /// # Errors
    ///
    /// Where it may not be sent, or could never be answered.
    pub(crate) fn request(
        &self,
        current: Option<&Current>,
        to: &To,
        body: Bytes,
        timeout: Option<Duration>,
    ) -> Result<Requested, Undelivered> {
        let slot = self.reach(current, to)?;
        let wanted = timeout.map_or_else(|| self.patience(current), |timeout| Some(Instant::now() + timeout));
        let deadline = earlier(current.and_then(|current| current.envelope.deadline), wanted);
        let chain = current.map(|current| current.envelope.chain.clone()).unwrap_or_default().with(self.slot());
        if chain.blocks(slot.id()) {
            return Err(Failure::Deadlock.into());
        }
        let envelope = self.envelope(&slot, current, deadline, chain);
        if self.cell.mode() != Some(Mode::Async) {
            return Ok(Requested { asked: slot.asked(envelope, body)?, _waits_for: None });
        }
        // Said before it is looked at: of two cells that begin to wait for each other, at least one sees it.
        let waits_for = self.cell.slot().waits_for(&slot);
        if self.is_waited_for_by(&slot) {
            return Err(Failure::Deadlock.into());
        }
        Ok(Requested { asked: slot.asked(envelope, body)?, _waits_for: Some(waits_for) })
    }

    /// Whether a slot waits for this cell, itself or through others that wait.
    fn is_waited_for_by(&self, slot: &Slot) -> bool {
        let mut next = slot.waiting();
        for _ in 0..MAX_HOPS {
            match next {
                None => return false,
                Some(slot) if slot == self.slot() => return true,
                Some(slot) => next = self.directory.slot(slot).and_then(|slot| slot.waiting()),
            }
        }
        false
    }

    /// Until when a cell waits that was given no time: as long as whoever waits for it, and not so long that its own
    /// deadline ends it.
    fn patience(&self, current: Option<&Current>) -> Option<Instant> {
        let own = self.cell.limits().deadline.map(|deadline| Instant::now() + deadline / SHARE_OF_DEADLINE);
        earlier(current.and_then(|current| current.envelope.deadline), own)
    }

    fn envelope(&self, to: &Slot, current: Option<&Current>, deadline: Option<Instant>, chain: Chain) -> Envelope {
        let trace = current.map_or_else(rand::random, |current| current.envelope.trace);
        Envelope { id: to.next_message(), trace, sender: Sender::Cell(self.id()), client: None, deadline, chain }
    }

    /// The slot of another cell, if this one may send to it.
    fn reach(&self, current: Option<&Current>, to: &To) -> Result<Slot, Undelivered> {
        match to {
            To::Name(name) => {
                let name = Name::new(name.as_str()).map_err(|_| match self.spec.grants.mail {
                    Reach::Nobody => Undelivered::Denied,
                    _ => Undelivered::NoSuchCell,
                })?;
                if !self.spec.grants.mail.has(&name) {
                    return Err(Undelivered::Denied);
                }
                self.directory.find(&name).ok_or(Undelivered::NoSuchCell)
            }
            To::Cell(id) => {
                let answers = current.is_some_and(|current| current.envelope.sender == Sender::Cell(*id));
                match &self.spec.grants.mail {
                    Reach::Everybody => {}
                    Reach::Names(_) if answers => {}
                    Reach::Names(_) | Reach::Nobody => return Err(Undelivered::Denied),
                }
                self.directory.slot_of(*id).ok_or(Undelivered::NoSuchCell)
            }
        }
    }
}

/// The earlier of two moments, where there are any.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    [one, other].into_iter().flatten().min()
}
