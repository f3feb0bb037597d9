//! Framed calls of peers: from the name in the header to the cell.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use ww_cell::{Cell, Failure, message::Sender, pipe};
use ww_core::{
    CellId, Name,
    mailbox::Refused,
    task::{self, Task},
};
use ww_net::{
    AcceptError, Incoming, IncomingStream, Net, Protocol,
    call::{self, Accepted, CALL_TIMEOUT, Reason, Status, Target},
};

use ww_rpc::Outcome;

use crate::{dial, serve};

/// Calls that wait for one cell; one more is told that it is busy.
const MAX_WAITING: usize = 64;

/// What is said of a cell that is not there, and of one that may not be called.
const NO_SUCH_CELL: (Reason, &str) = (Reason::NoSuchCell, "there is no such cell, or it may not be called");

/// The cells that peers can call. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<DashMap<Name, Callee>>);

/// A cell that peers can call.
#[derive(Clone)]
pub(crate) struct Callee {
    cell: Cell,
    /// Messages that are served at once, on all protocols.
    room: Arc<Semaphore>,
    /// How many that are.
    at_once: usize,
    waiting: Arc<Semaphore>,
}

impl Callee {
    /// A cell whose messages share `room`.
    pub(crate) fn new(cell: Cell, room: Arc<Semaphore>) -> Self {
        Self { cell, at_once: room.available_permits(), room, waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }
}

impl Calls {
    /// Accepts calls until the returned task is dropped.
    pub(crate) fn start(&self, net: &Net, runtime: &Handle) -> Result<Task<()>, AcceptError> {
        let incoming = net.accept(Protocol::Call)?;
        let accepting = self.clone().accept(incoming, runtime.clone());
        Ok(task::spawn(runtime, task::Kind::owned("calls", "node"), accepting))
    }

    /// Lets peers call a cell.
    pub(crate) fn insert(&self, name: Name, callee: Callee) {
        self.0.insert(name, callee);
    }

    /// Takes a name back.
    pub(crate) fn remove(&self, name: &Name) {
        self.0.remove(name);
    }

    async fn accept(self, mut incoming: Incoming, runtime: Handle) {
        // As many tasks as there are streams, which the network bounds.
        while let Some(incoming) = incoming.next().await {
            let calls = self.clone();
            let kind = task::Kind::detached("call", incoming.peer);
            drop(task::spawn(&runtime, kind, async move { calls.serve(incoming).await }));
        }
    }

    async fn serve(&self, IncomingStream { peer, stream }: IncomingStream) {
        let Accepted { header, body, reply } = match call::accept(stream).await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%peer, %error, "a stream of a peer is no call");
                return;
            }
        };
        let arrived = Instant::now();
        let admitted = match &header.target {
            Target::Name(name) => self.admit(name, arrived + header.remaining.unwrap_or(CALL_TIMEOUT)).await,
            // An id is no name: nothing grants it to a peer yet.
            Target::Cell(_) => Err(NO_SUCH_CELL),
        };
        let refused = match admitted {
            Ok((callee, _room)) => {
                let mut envelope = callee.cell.envelope(None);
                // From when the header came: time spent waiting for a place counts.
                envelope.deadline = header.remaining.map(|remaining| arrived + remaining);
                envelope.sender = Sender::Peer(peer.to_bytes());
                envelope.trace = header.trace;
                let message = envelope.id;
                if let Err(error) = serve::framed(&callee.cell, envelope, body, reply).await {
                    tracing::info!(cell = %callee.cell.id(), %peer, message, %error, "a call of a peer failed");
                }
                return;
            }
            Err(refused) => refused,
        };
        tracing::debug!(%peer, reason = ?refused.0, "a call of a peer is refused");
        let status = Status::Refused { reason: refused.0, text: refused.1.to_owned() };
        if let Err(error) = reply.finish(status).await {
            tracing::debug!(%peer, %error, "a caller did not wait for its refusal");
        }
    }

    /// Sends a message of a cell of this node to another one, or to itself.
    pub(crate) async fn ask(
        &self,
        from: CellId,
        name: &Name,
        deadline: Option<Instant>,
        request: pipe::Reader,
        reply: pipe::Writer,
    ) -> Outcome {
        let until = deadline.unwrap_or_else(|| Instant::now() + CALL_TIMEOUT);
        let admitted = match self.0.get(name).map(|callee| callee.clone()) {
            // The only instance waits for the answer: it cannot give it.
            Some(callee) if callee.cell.id() == from && callee.at_once == 1 => {
                Err((Reason::Deadlock, "the cell asks itself, and can answer one message at a time"))
            }
            _ => self.admit(name, until).await,
        };
        match admitted {
            Ok((callee, _room)) => {
                let mut envelope = callee.cell.envelope(None);
                envelope.deadline = deadline;
                envelope.sender = Sender::Cell(from);
                outcome(callee.cell.process_message(envelope, request, reply).await)
            }
            Err((reason, text)) => {
                let outcome = dial::refused(reason, text);
                dial::finish(&reply, &outcome);
                outcome
            }
        }
    }

    /// The cell, and a place among the messages that it serves. Waits for the place, at most until a moment.
    async fn admit(
        &self,
        name: &Name,
        until: Instant,
    ) -> Result<(Callee, tokio::sync::OwnedSemaphorePermit), (Reason, &'static str)> {
        let callee = self.0.get(name).map(|callee| callee.clone()).ok_or(NO_SUCH_CELL)?;
        let Ok(_waiting) = Arc::clone(&callee.waiting).try_acquire_owned() else {
            return Err((Reason::Busy, "too many calls wait for the cell: try again later"));
        };
        match timeout_at(until, Arc::clone(&callee.room).acquire_owned()).await {
            Ok(Ok(room)) => Ok((callee, room)),
            Ok(Err(_)) => Err((Reason::Shutdown, "the cell is about to end")),
            Err(_) => Err((Reason::Timeout, "the cell was not free before the deadline")),
        }
    }
}

/// What a guest is told that sent a message to a cell of its own node.
fn outcome(served: Result<(), Failure>) -> Outcome {
    let Err(failure) = served else { return Outcome::Ok };
    let refused = |reason| dial::refused(reason, &failure.to_string());
    match &failure {
        Failure::Guest(error) => Outcome::Failed(error.to_string()),
        Failure::Ended(reason) | Failure::Refused(Refused::Ended(reason)) => Outcome::Ended(reason.clone()),
        Failure::Timeout => refused(Reason::Timeout),
        Failure::TooLarge { .. } => refused(Reason::TooLarge),
        _ => refused(Reason::Busy),
    }
}
