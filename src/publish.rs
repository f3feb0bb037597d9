//! A published cell: every stream that a peer opens to its name is one message, and so is every call.
//!
//! A stream goes through the [gate](crate::gate) of its cell. When the cell ends for good, its name is taken back; dropping
//! [`Published`] takes it back as well.

use std::{fmt, sync::Arc};

use tokio::runtime::Handle;
use ww_cell::message::Sender;
use ww_core::{
    Name,
    task::{self, Task},
};
use ww_net::{AcceptError, Incoming, IncomingStream, Net, Protocol};

use crate::{
    calls::{Callee, Calls},
    gate::Caller,
    serve::{self, HELD, NotServed},
};

/// A cell that peers can send messages to.
pub struct Published {
    name: Name,
    calls: Calls,
    callee: Arc<Callee>,
    _accepting: Task<()>,
}

impl Published {
    /// Accepts streams for `name` on behalf of a cell.
    pub(crate) fn start(
        net: &Net,
        calls: &Calls,
        name: Name,
        callee: Callee,
        on: &Handle,
    ) -> Result<Self, AcceptError> {
        let incoming = net.accept_from(callee.audience.clone(), Protocol::from(name.clone()))?;
        let callee = Arc::new(callee);
        calls.insert(name.clone(), Arc::clone(&callee));
        let accepting = {
            let (calls, name, callee, runtime) = (calls.clone(), name.clone(), Arc::clone(&callee), on.clone());
            async move {
                tokio::select! {
                    () = accept(incoming, &name, &callee, &runtime) => {}
                    reason = callee.slot.exit().wait() => {
                        tracing::debug!(%name, %reason, "a published cell has ended: its name is free");
                    }
                }
                calls.remove(&name, &callee);
            }
        };
        let accepting = task::spawn(on, task::Kind::owned("publish", name.clone()), accepting);
        Ok(Self { name, calls: calls.clone(), callee, _accepting: accepting })
    }

    /// Leaves the name to the slot, with whose end it is free again.
    pub(crate) fn until_the_end(self, on: &Handle) {
        let (slot, kind) = (self.callee.slot.clone(), task::Kind::detached("published", self.name.clone()));
        // Ends with the slot.
        drop(task::spawn(on, kind, async move {
            slot.exit().wait().await;
            drop(self);
        }));
    }

    /// Takes the name back, and waits until what is served now for those who came by a name has been answered, and they have
    /// the answer. Dropping the future breaks it off.
    pub async fn drain(self) {
        let gate = self.callee.gate.clone();
        // The name can be given again from now on.
        drop(self);
        gate.drained().await;
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.calls.remove(&self.name, &self.callee);
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn accept(mut incoming: Incoming, name: &Name, callee: &Arc<Callee>, runtime: &Handle) {
    // As many tasks as there are streams, which the network bounds. Each ends with its message, which the cell's own
    // deadline and the patience with peers bound.
    while let Some(incoming) = incoming.next().await {
        let kind = task::Kind::detached("message", name.clone());
        drop(task::spawn(runtime, kind, serve_raw(Arc::clone(callee), incoming)));
    }
}

async fn serve_raw(callee: Arc<Callee>, IncomingStream { peer, stranger, stream }: IncomingStream) {
    let slot = &callee.slot;
    let mut envelope = slot.envelope(None);
    envelope.sender = Sender::Peer(peer.to_bytes());
    let message = envelope.id;
    let (from, to) = stream.into_split();
    let caller = Caller::of_peer(peer, stranger);
    let payer = callee.payers.of(caller);
    match serve::admitted(callee.guarded(caller, &payer), HELD, envelope, from, to).await {
        Ok(()) => tracing::trace!(%peer, message, "a message of a peer was answered"),
        Err(NotServed::Failed(error)) => {
            tracing::info!(slot = %slot.id(), %peer, message, %error, "a message of a peer failed");
        }
        // As often as the peer likes.
        Err(error) => tracing::debug!(slot = %slot.id(), %peer, message, %error, "a message of a peer was not taken"),
    }
}
