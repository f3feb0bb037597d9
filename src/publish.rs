//! A published cell: every stream that a peer opens to its name is one message.
//!
//! As many streams are served at once as the cell can serve; the others wait where the network keeps them, a bounded
//! number, and the next is refused there. Dropping [`Published`] takes the name back and breaks off what is served.

use std::sync::Arc;

use tokio::{runtime::Handle, sync::Semaphore};
use ww_cell::{Cell, message::Sender};
use ww_core::{
    Name,
    task::{self, Task},
};
use ww_net::{AcceptError, Incoming, IncomingStream, Net, Protocol};

use crate::serve;

/// A cell that peers can send messages to.
#[derive(Debug)]
pub struct Published {
    accepting: Task<()>,
    room: Arc<Semaphore>,
    at_once: u32,
}

impl Published {
    /// Accepts streams for `name` on behalf of a cell that serves `at_once` messages at the same time.
    pub(crate) fn start(
        net: &Net,
        name: Name,
        cell: Cell,
        at_once: usize,
        runtime: &Handle,
    ) -> Result<Self, AcceptError> {
        let incoming = net.accept(Protocol::from(name.clone()))?;
        let at_once = u32::try_from(at_once.clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(at_once as usize));
        let kind = task::Kind::owned("publish", &name);
        let accepting = accept(incoming, name, cell, Arc::clone(&room), runtime.clone());
        Ok(Self { accepting: task::spawn(runtime, kind, accepting), room, at_once })
    }

    /// Takes the name back, and waits until what is served now has been answered. Dropping the future breaks it off.
    pub async fn drain(self) {
        self.accepting.abort();
        // Nothing closes the semaphore: an error would say that there is nothing to wait for.
        let _ = self.room.acquire_many(self.at_once).await;
    }
}

async fn accept(mut incoming: Incoming, name: Name, cell: Cell, room: Arc<Semaphore>, runtime: Handle) {
    while let Ok(permit) = Arc::clone(&room).acquire_owned().await {
        let Some(IncomingStream { peer, stream }) = incoming.next().await else { return };
        let mut envelope = cell.envelope(None);
        envelope.sender = Sender::Peer(peer.to_bytes());
        let (cell, kind) = (cell.clone(), task::Kind::detached("message", &name));
        // Ends with the message, which the cell's own deadline and the patience with peers bound.
        drop(task::spawn(&runtime, kind, async move {
            let message = envelope.id;
            let (from, to) = stream.into_split();
            match serve::raw(&cell, envelope, from, to).await {
                Ok(()) => tracing::trace!(%peer, message, "a message of a peer was answered"),
                Err(error) => tracing::info!(cell = %cell.id(), %peer, message, %error, "a message of a peer failed"),
            }
            drop(permit);
        }));
    }
}
