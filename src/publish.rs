//! A published cell: every stream that a peer opens to its name is one message, and so is every call.
//!
//! As many streams are served at once as the cell can serve; the others wait where the network keeps them, a bounded
//! number, and the next is refused there. Dropping [`Published`] takes the name back and breaks off what is served.

use std::{fmt, sync::Arc};

use tokio::{runtime::Handle, sync::Semaphore};
use ww_cell::{Slot, message::Sender};
use ww_core::{
    Name,
    task::{self, Task},
};
use ww_net::{AcceptError, Incoming, IncomingStream, Net, Protocol};

use crate::{
    calls::{Callee, Calls},
    serve,
};

/// A cell that peers can send messages to.
pub struct Published {
    name: Name,
    calls: Calls,
    accepting: Task<()>,
    room: Arc<Semaphore>,
    at_once: u32,
}

impl Published {
    /// Accepts streams for `name` on behalf of a cell that serves `at_once` messages at the same time.
    pub(crate) fn start(
        net: &Net,
        calls: &Calls,
        name: Name,
        slot: Slot,
        at_once: u32,
        runtime: &Handle,
    ) -> Result<Self, AcceptError> {
        let incoming = net.accept(Protocol::from(name.clone()))?;
        let at_once = at_once.max(1);
        let room = Arc::new(Semaphore::new(at_once as usize));
        calls.insert(name.clone(), Callee::new(slot.clone(), Arc::clone(&room)));
        let kind = task::Kind::owned("publish", &name);
        let accepting = accept(incoming, name.clone(), slot, Arc::clone(&room), runtime.clone());
        let accepting = task::spawn(runtime, kind, accepting);
        Ok(Self { name, calls: calls.clone(), accepting, room, at_once })
    }

    /// Takes the name back, and waits until what is served now has been answered. Dropping the future breaks it off.
    pub async fn drain(self) {
        self.accepting.abort();
        self.calls.remove(&self.name);
        // Nothing closes the semaphore: an error would say that there is nothing to wait for.
        let _ = self.room.acquire_many(self.at_once).await;
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.calls.remove(&self.name);
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn accept(mut incoming: Incoming, name: Name, slot: Slot, room: Arc<Semaphore>, runtime: Handle) {
    while let Some(IncomingStream { peer, stream }) = incoming.next().await {
        // The room is shared with calls: it is taken only for a message that is there.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let mut envelope = slot.envelope(None);
        envelope.sender = Sender::Peer(peer.to_bytes());
        let (slot, kind) = (slot.clone(), task::Kind::detached("message", &name));
        // Ends with the message, which the cell's own deadline and the patience with peers bound.
        drop(task::spawn(&runtime, kind, async move {
            let message = envelope.id;
            let (from, to) = stream.into_split();
            match serve::raw(&slot, envelope, from, to).await {
                Ok(()) => tracing::trace!(%peer, message, "a message of a peer was answered"),
                Err(error) => tracing::info!(slot = %slot.id(), %peer, message, %error, "a message of a peer failed"),
            }
            drop(permit);
        }));
    }
}
