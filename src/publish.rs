//! A published cell: every stream that a peer opens to its name is one message, and so is every call.
//!
//! A stream goes through the [gate](crate::gate) of its cell. When the cell ends, its name is taken back; dropping
//! [`Published`] takes it back as well.

use std::{fmt, time::Duration};

use tokio::runtime::Handle;
use ww_cell::message::Sender;
use ww_core::{
    Name,
    limits::DEFAULT_DEADLINE,
    task::{self, Task},
};
use ww_net::{AcceptError, Audience, Incoming, IncomingStream, Net, Protocol};

use crate::{
    calls::{Callee, Calls},
    gate::Gate,
    serve::{self, HELD, NotServed},
};

/// How a cell is published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Messages that it serves at the same time: as many as it has instances; 1 in async mode.
    pub at_once: usize,
    /// Who may send it messages.
    pub audience: Audience,
    /// How long it has for one message, by its limits. A request that would use up most of it breaks off, so that one
    /// without end does not end the cell.
    pub deadline: Option<Duration>,
}

impl Default for Publication {
    /// For a cell in async mode with the default limits, and for every peer.
    fn default() -> Self {
        Self { at_once: 1, audience: Audience::All, deadline: Some(DEFAULT_DEADLINE) }
    }
}

/// A cell that peers can send messages to.
pub struct Published {
    name: Name,
    calls: Calls,
    accepting: Task<()>,
    gate: Gate,
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
        let gate = callee.gate.clone();
        calls.insert(name.clone(), callee.clone());
        let accepting = {
            let (calls, name, runtime) = (calls.clone(), name.clone(), on.clone());
            async move {
                tokio::select! {
                    () = accept(incoming, &name, &callee, &runtime) => {}
                    reason = callee.cell.exit().wait() => {
                        tracing::debug!(%name, %reason, "a published cell has ended: its name is free");
                    }
                }
                calls.remove(&name, &callee.gate);
            }
        };
        let accepting = task::spawn(on, task::Kind::owned("publish", &name), accepting);
        Ok(Self { name, calls: calls.clone(), accepting, gate })
    }

    /// Takes the name back, and waits until what is served now has been answered. Dropping the future breaks it off.
    pub async fn drain(self) {
        self.accepting.abort();
        self.calls.remove(&self.name, &self.gate);
        self.gate.drained().await;
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.calls.remove(&self.name, &self.gate);
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published").field("name", &self.name).finish_non_exhaustive()
    }
}

async fn accept(mut incoming: Incoming, name: &Name, callee: &Callee, runtime: &Handle) {
    // As many tasks as there are streams, which the network bounds. Each ends with its message, which the cell's own
    // deadline and the patience with peers bound.
    while let Some(incoming) = incoming.next().await {
        let kind = task::Kind::detached("message", name);
        drop(task::spawn(runtime, kind, serve_raw(callee.clone(), incoming)));
    }
}

async fn serve_raw(callee: Callee, IncomingStream { peer, stream }: IncomingStream) {
    let cell = &callee.cell;
    let mut envelope = cell.envelope(None);
    envelope.sender = Sender::Peer(peer.to_bytes());
    let message = envelope.id;
    let (from, to) = stream.into_split();
    match serve::admitted(callee.guarded(peer), HELD, envelope, from, to).await {
        Ok(()) => tracing::trace!(%peer, message, "a message of a peer was answered"),
        Err(NotServed::Failed(error)) => {
            tracing::info!(cell = %cell.id(), %peer, message, %error, "a message of a peer failed");
        }
        // As often as the peer likes.
        Err(error) => tracing::debug!(cell = %cell.id(), %peer, message, %error, "a message of a peer was not taken"),
    }
}
