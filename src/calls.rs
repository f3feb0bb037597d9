//! Framed calls of peers: from the name in the header to the cell.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use ww_cell::{Slot, message::Sender};
use ww_core::{
    Name,
    task::{self, Task},
};
use ww_net::{
    AcceptError, Incoming, IncomingStream, Net, Protocol,
    call::{self, Accepted, CALL_TIMEOUT, Header, Reason, Status, Target},
};

use crate::serve;

/// Calls that wait for one cell; one more is told that it is busy.
const MAX_WAITING: usize = 64;

/// The cells that peers can call. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<DashMap<Name, Callee>>);

/// A cell that peers can call.
#[derive(Clone)]
pub(crate) struct Callee {
    slot: Slot,
    /// Messages that are served at once, on all protocols.
    room: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Callee {
    /// A cell whose messages share `room`.
    pub(crate) fn new(slot: Slot, room: Arc<Semaphore>) -> Self {
        Self { slot, room, waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
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
        let refused = match self.admit(&header, arrived).await {
            Ok((callee, _room)) => {
                let mut envelope = callee.slot.envelope(None);
                // From when the header came: time spent waiting for a place counts.
                envelope.deadline = header.remaining.map(|remaining| arrived + remaining);
                envelope.sender = Sender::Peer(peer.to_bytes());
                envelope.trace = header.trace;
                let message = envelope.id;
                if let Err(error) = serve::framed(&callee.slot, envelope, body, reply).await {
                    tracing::info!(slot = %callee.slot.id(), %peer, message, %error, "a call of a peer failed");
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

    /// The cell, and a place among the messages that it serves. Waits for the place, at most as long as the caller.
    async fn admit(
        &self,
        header: &Header,
        arrived: Instant,
    ) -> Result<(Callee, tokio::sync::OwnedSemaphorePermit), (Reason, &'static str)> {
        let until = arrived + header.remaining.unwrap_or(CALL_TIMEOUT);
        let callee = match &header.target {
            Target::Name(name) => self.0.get(name).map(|callee| callee.clone()),
            // An id is no name: nothing grants it to a peer yet.
            Target::Cell(_) => None,
        };
        let callee = callee.ok_or((Reason::NoSuchCell, "there is no such cell, or it may not be called"))?;
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
