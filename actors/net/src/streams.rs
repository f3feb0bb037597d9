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

use futures::FutureExt;
use libp2p::PeerId;
use tokio::io::AsyncWriteExt;

use crate::{
    call::{Reason, Status, frames::encode_end},
    config::StreamLimits,
    standing::Acquaintances,
};

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
    known: Acquaintances,
    ledger: Ledger,
    published: Published,
    connections: Connections,
}

impl Streams {
    pub(crate) fn new(limits: StreamLimits, known: Acquaintances) -> Self {
        let published = Published::new(limits);
        Self(Arc::new(Inner {
            known,
            ledger: Ledger::new(limits),
            published,
            connections: Connections::new(limits.outbound_per_peer),
        }))
    }

    /// The peers that the node knows.
    pub(crate) fn known(&self) -> &Acquaintances {
        &self.0.known
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn published(&self) -> &Published {
        &self.0.published
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.0.connections
    }

    /// Hands a stream that a peer opened to whoever accepts it, or resets it. A caller is told before that it is busy.
    fn arrived(&self, peer: PeerId, protocol: &Protocol, io: Io) -> Result<(), Refusal> {
        let refused = match self.0.ledger.inbound(peer) {
            Err(refusal) => Some((refusal, io)),
            Ok(place) => {
                let stranger = self.0.ledger.stranger(&peer);
                let stream = IncomingStream { peer, stranger, stream: Stream::new(io, place) };
                let refused = self.0.published.deliver(protocol, stream).err();
                refused.map(|refused| (refused.0, refused.1.stream.into_io()))
            }
        };
        let Some((refusal, io)) = refused else { return Ok(()) };
        tracing::debug!(%peer, %protocol, ?refusal, "a stream of a peer was refused");
        self.0.ledger.refused(refusal);
        if *protocol == Protocol::Call {
            tell_busy(io);
        }
        Err(refusal)
    }

    /// Ends every wait: the network has stopped.
    pub(crate) fn close(&self) {
        self.0.published.close();
        self.0.connections.close();
    }
}

/// Tells a caller that it is refused, as far as that needs no waiting.
fn tell_busy(mut io: Io) {
    let text = "too many streams of this peer, or of this node: wait for one of them to end".to_owned();
    let mut status = Vec::new();
    encode_end(&Status::Refused { reason: Reason::Busy, text }, &mut status);
    let telling = async {
        io.write_all(&status).await?;
        io.shutdown().await
    };
    // Where the connection takes nothing now, the reset says it all.
    if telling.now_or_never().is_none_or(|told| told.is_err()) {
        tracing::trace!("a caller is not told why it is refused");
    }
}

#[cfg(test)]
mod tests;
