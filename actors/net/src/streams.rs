//! Streams from and to other nodes, by protocol name.
//!
//! | file | what |
//! |---|---|
//! | `protocol` | the names of protocols |
//! | `published` | what this node accepts, and where accepted streams wait |
//! | `ledger` | how many streams there are, per peer and in all |
//! | `connections` | the way to the handler of a connection |
//! | `behaviour`, `handler` | the share of libp2p |
//! | `open` | opening a stream |
//! | `stream`, `local` | one stream, over a connection or within the node |
//!
//! A stream takes its place in the ledger before it exists, and gives it back when it is dropped. One that finds no
//! place is reset at once, and counted. Nothing is ever accepted and then lost.

pub(crate) mod behaviour;
pub(crate) mod connections;
mod handler;
pub(crate) mod ledger;
mod local;
pub(crate) mod open;
pub(crate) mod protocol;
pub(crate) mod published;
pub(crate) mod stream;

use std::sync::Arc;

use libp2p::PeerId;

use crate::config::StreamLimits;

use self::{
    connections::Connections,
    ledger::{Ledger, Refusal},
    protocol::Protocol,
    published::{IncomingStream, Published},
    stream::{Io, Stream},
};

/// What the handle, the behaviour and the handlers of all connections share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Inner>);

struct Inner {
    ledger: Ledger,
    published: Published,
    connections: Connections,
}

impl Streams {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        let published = Published::new(limits);
        Self(Arc::new(Inner {
            ledger: Ledger::new(limits),
            published,
            connections: Connections::new(limits.outbound_per_peer),
        }))
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn published(&self) -> &Published {
        &self.0.published
    }

    fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Hands a stream that a peer opened to whoever accepts it, or resets it.
    fn arrived(&self, peer: PeerId, protocol: &Protocol, io: Io) -> Result<(), Refusal> {
        let delivered = self.0.ledger.inbound(peer).and_then(|place| {
            self.0.published.deliver(protocol, IncomingStream { peer, stream: Stream::new(io, place) })
        });
        delivered.inspect_err(|refusal| {
            tracing::debug!(%peer, %protocol, ?refusal, "a stream of a peer was refused");
            self.0.ledger.refused(*refusal);
        })
    }

    /// Ends every wait: the network has stopped.
    fn close(&self) {
        self.0.published.close();
        self.0.connections.close();
    }
}

#[cfg(test)]
mod tests;
