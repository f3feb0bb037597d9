//! Framed calls of peers, and messages of this node's own cells and clients: from a name, or a process, to the cell.

use std::{sync::Arc, time::Duration};

use dashmap::DashMap;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout, timeout_at},
};
use ww_cell::{Envelope, Failure, Slot, message::Sender, pipe};
use ww_core::{
    Account, CellId, Name,
    mailbox::Refused,
    task::{self, Task},
};
use ww_net::{
    AcceptError, Audience, Incoming, IncomingStream, Net, PeerId, Protocol, Stream,
    call::{self, Accepted, CALL_TIMEOUT, Reason, Status, Target, Writer},
};
use ww_rpc::{Dial, Opened, Outcome};

use crate::{
    dial,
    gate::{Caller, Gate},
    gates::Gates,
    payers::Payers,
    serve::{self, Guarded, NotServed, Way},
};

/// What is said of a cell that is not there, and of one that may not be called.
const NO_SUCH_CELL: (Reason, &str) = (Reason::NoSuchCell, "there is no such cell, or it may not be called");

/// The cells that can be called. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Inner>);

#[derive(Default)]
struct Inner {
    callees: DashMap<Name, Arc<Callee>>,
    gates: Gates,
}

/// A cell that can be called, as it was published once.
pub(crate) struct Callee {
    pub(crate) slot: Slot,
    /// Where its messages come in, on all protocols.
    pub(crate) gate: Gate,
    /// Who may call it.
    pub(crate) audience: Audience,
    /// How long its callers may be silent.
    pub(crate) patience: Duration,
    /// How long it has for one message.
    pub(crate) deadline: Option<Duration>,
    /// Who pays for its messages on their way.
    pub(crate) payers: Payers,
}

impl Callee {
    /// The cell, for a message of a caller for which an account pays.
    pub(crate) fn guarded<'a>(&'a self, caller: Caller, payer: &'a Account) -> Guarded<'a> {
        let Self { slot, gate, patience, deadline, .. } = self;
        Guarded { slot, gate, patience: Some(*patience), deadline: *deadline, caller, way: Way::Name, payer }
    }
}

impl Calls {
    /// Accepts calls until the returned task is dropped. Peers may be silent for as long as there is `patience`.
    pub(crate) fn start(&self, net: &Net, patience: Duration, runtime: &Handle) -> Result<Task<()>, AcceptError> {
        let incoming = net.accept(Protocol::Call)?;
        let accepting = self.clone().accept(incoming, patience, runtime.clone());
        Ok(task::spawn(runtime, task::Kind::owned("calls", "node"), accepting))
    }

    /// Lets a cell be called.
    pub(crate) fn insert(&self, name: Name, callee: Arc<Callee>) {
        self.0.callees.insert(name, callee);
    }

    /// Takes a name back, unless it was given again since, to the same cell for example.
    pub(crate) fn remove(&self, name: &Name, callee: &Arc<Callee>) {
        self.0.callees.remove_if(name, |_, other| Arc::ptr_eq(other, callee));
    }

    /// The gate of a cell that serves `at_once` messages at the same time.
    pub(crate) fn gate(&self, slot: &Slot, at_once: usize) -> Gate {
        self.0.gates.of(slot, at_once)
    }

    async fn accept(self, mut incoming: Incoming, patience: Duration, runtime: Handle) {
        // As many tasks as there are streams, which the network bounds.
        while let Some(incoming) = incoming.next().await {
            let calls = self.clone();
            let kind = task::Kind::detached("call", incoming.peer);
            drop(task::spawn(&runtime, kind, async move { calls.serve(incoming, patience).await }));
        }
    }

    async fn serve(&self, IncomingStream { peer, stranger, stream }: IncomingStream, patience: Duration) {
        let Accepted { header, body, reply } = match timeout(patience, call::accept(stream)).await {
            Ok(Ok(accepted)) => accepted,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a stream of a peer is no call"),
            Err(_) => return tracing::debug!(%peer, "a stream of a peer has no header in time"),
        };
        let arrived = Instant::now();
        let callee = match &header.target {
            Target::Name(name) => self.find(&peer, name),
            // An id is no name: nothing grants it to a peer yet.
            Target::Cell(_) => None,
        };
        let Some(callee) = callee else {
            tracing::debug!(%peer, target = ?header.target, "a call of a peer is refused");
            return refuse(NO_SUCH_CELL, peer, reply).await;
        };
        let slot = &callee.slot;
        let mut envelope = slot.envelope(None);
        // From when the header came: time spent waiting for a place counts.
        envelope.deadline = header.remaining.map(|remaining| arrived + remaining);
        envelope.sender = Sender::Peer(peer.to_bytes());
        envelope.trace = header.trace;
        let message = envelope.id;
        let caller = Caller::of_peer(peer, stranger);
        let payer = callee.payers.of(caller);
        match serve::framed(callee.guarded(caller, &payer), envelope, body, reply).await {
            Ok(()) => tracing::trace!(%peer, message, "a call of a peer was answered"),
            Err(NotServed::Failed(error)) => {
                tracing::info!(slot = %slot.id(), %peer, message, %error, "a call of a peer failed");
            }
            // As often as the peer likes.
            Err(error) => tracing::debug!(slot = %slot.id(), %peer, message, %error, "a call of a peer was not taken"),
        }
    }

    /// Sends a message of a cell of this node, `own`, to another one, or to itself, until a moment. An account pays
    /// for it on its way.
    pub(crate) async fn ask(
        &self,
        own: PeerId,
        Dial { from, name, cause, .. }: &Dial,
        (deadline, payer): (Option<Instant>, &Account),
        request: pipe::Reader,
        mut reply: pipe::Writer,
    ) -> Outcome {
        let outcome = match self.find(&own, name) {
            None => dial::refused(NO_SUCH_CELL.0, NO_SUCH_CELL.1),
            // The only instance waits for the answer: it cannot give it.
            Some(callee) if callee.gate.at_once() == 1 && callee.slot.occupant() == Some(*from) => {
                dial::refused(Reason::Deadlock, "the cell asks itself, and answers one message at a time")
            }
            Some(callee)
                if callee.gate.at_once() == 1
                    && cause.as_ref().is_some_and(|cause| cause.chain.blocks(callee.slot.id())) =>
            {
                dial::refused(Reason::Deadlock, "the cell waits for its own sender, and answers one message at a time")
            }
            Some(callee) => {
                let mut envelope = callee.slot.envelope(None);
                envelope.deadline = deadline;
                envelope.sender = Sender::Cell(*from);
                if let Some(cause) = cause.clone() {
                    envelope = envelope.caused_by(cause);
                }
                // Nothing is held back: the outcome tells a torn reply.
                let serving =
                    serve::admitted(callee.guarded(Caller::Cell(*from), payer), 0, envelope, request, &mut reply);
                let until = deadline.unwrap_or_else(|| Instant::now() + CALL_TIMEOUT);
                outcome(within(Some(until), serving).await)
            }
        };
        dial::finish(&reply, &outcome);
        outcome
    }

    /// Sends a message of a cell or client that holds the process of a cell.
    pub(crate) async fn open(&self, opened: Opened) -> Outcome {
        let Opened { from, cell, envelope, request, mut reply, payer } = opened;
        let outcome = match cell.living() {
            // Also a message that its sender never sends is refused.
            Err(failure) => outcome(Err(failure.into())),
            Ok(()) => {
                let (slot, deadline) = (cell.slot(), envelope.deadline);
                let guarded = Guarded {
                    slot,
                    gate: &self.gate(slot, cell.at_once()),
                    // The end of a program on this machine, or of its connection, is known at once, so that a silent one
                    // is there: it may type, or read the reply page by page, which holds up its request as well.
                    patience: None,
                    deadline: None,
                    caller: sender(&envelope, from),
                    way: Way::Process(&cell),
                    payer: &payer,
                };
                outcome(within(deadline, serve::admitted(guarded, 0, envelope, request, &mut reply)).await)
            }
        };
        dial::finish(&reply, &outcome);
        outcome
    }

    /// A cell that a peer may call.
    fn find(&self, peer: &PeerId, name: &Name) -> Option<Arc<Callee>> {
        self.0.callees.get(name).filter(|callee| callee.audience.admits(peer)).map(|callee| Arc::clone(&callee))
    }
}

/// Who sends a message that comes from a place in the tree of this node.
fn sender(envelope: &Envelope, from: CellId) -> Caller {
    match &envelope.sender {
        // The same over all of its connections.
        Sender::Peer(id) => PeerId::from_bytes(id).map_or(Caller::Cell(from), Caller::Peer),
        _ => Caller::Cell(from),
    }
}

/// Waits for a message to be served, at most until its deadline if it has one.
async fn within(
    deadline: Option<Instant>,
    serving: impl Future<Output = Result<(), NotServed>>,
) -> Result<(), NotServed> {
    match deadline {
        None => serving.await,
        Some(until) => timeout_at(until, serving).await.unwrap_or(Err(Failure::Timeout.into())),
    }
}

async fn refuse((reason, text): (Reason, &str), peer: PeerId, reply: Writer<tokio::io::WriteHalf<Stream>, Status>) {
    if let Err(error) = reply.finish(Status::Refused { reason, text: text.to_owned() }).await {
        tracing::debug!(%peer, %error, "a caller did not wait for its refusal");
    }
}

/// What a guest is told that sent a message to a cell of its own node.
fn outcome(served: Result<(), NotServed>) -> Outcome {
    let Err(error) = served else { return Outcome::Ok };
    let refused = |reason| dial::refused(reason, &error.to_string());
    match &error {
        NotServed::Failed(Failure::Guest(error)) => Outcome::Failed(error.to_string()),
        NotServed::Failed(Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason))) => {
            Outcome::Ended(reason.clone())
        }
        NotServed::Failed(Failure::Timeout | Failure::TooSlow) | NotServed::Broken => refused(Reason::Timeout),
        NotServed::Failed(Failure::TooLarge { .. }) => refused(Reason::TooLarge),
        NotServed::Failed(Failure::Refused(Refused::NotServed)) => refused(Reason::NoSuchCell),
        NotServed::Failed(_) | NotServed::Busy => refused(Reason::Busy),
    }
}

#[cfg(test)]
mod tests;
