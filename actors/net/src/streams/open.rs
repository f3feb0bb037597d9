//! Opening a stream.

use std::{io, time::Duration};

use libp2p::{Multiaddr, PeerId};
use thiserror::Error;
use tokio::{
    sync::{mpsc::error::TrySendError, oneshot},
    time::timeout,
};

use super::{
    Streams,
    connections::Request,
    ledger::{Place, Refusal},
    local,
    protocol::Protocol,
    stream::{Io, Stream},
};
use crate::{ConnectError, Net};

/// Why a stream cannot be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The peer does not accept the protocol.
    #[error("the peer {peer} does not accept {protocol}: check the name, and that it is published there")]
    NoSuchProtocol {
        /// Who was asked.
        peer: PeerId,
        /// For what.
        protocol: Protocol,
    },
    /// As many streams, or attempts to connect, as there may be; or, from a node to itself, its acceptor is behind.
    #[error("too many streams to the peer {peer}, or of this node, at the same time: wait for one of them to end")]
    Busy {
        /// Who was to be reached.
        peer: PeerId,
    },
    /// The peer did not agree in time.
    #[error("the peer {peer} did not open a stream within {after:?}: try again later")]
    Timeout {
        /// Who was asked.
        peer: PeerId,
        /// How long was waited.
        after: Duration,
    },
    /// The connection ended.
    #[error("the connection to the peer {peer} ended before the stream was open: try again")]
    Disconnected {
        /// Who was asked.
        peer: PeerId,
    },
    /// The stream ended while it was negotiated: reset by the peer, or broken with its connection.
    #[error("the peer {peer} broke off a stream before it was open: try again later")]
    Broken {
        /// Who was asked.
        peer: PeerId,
        /// What was seen of it.
        source: io::Error,
    },
    /// A limit of connections of this node.
    #[error("no connection for a stream to the peer {peer} is allowed")]
    Denied {
        /// Who was to be reached.
        peer: PeerId,
        /// Which limit.
        source: Box<ConnectError>,
    },
    /// The peer cannot be connected to.
    #[error("no connection for a stream to the peer {peer}")]
    Unreachable {
        /// Who was to be reached.
        peer: PeerId,
        /// Why not.
        source: Box<ConnectError>,
    },
}

/// How one attempt on one connection ended.
enum Attempt {
    Answered(Result<Stream, OpenError>),
    /// The connection ended first. Nothing was said on the stream, so another one can be tried.
    Lost(Place),
}

/// Opens a stream to a peer, over the connection that there is, or a new one.
pub(crate) async fn open(
    net: &Net,
    streams: &Streams,
    peer: PeerId,
    addrs: Vec<Multiaddr>,
    protocol: Protocol,
    limit: Duration,
) -> Result<Stream, OpenError> {
    if peer == net.peer_id() {
        return to_self(streams, peer, &protocol);
    }
    let mut place = take_place(streams, peer)?;
    let opening = |place| timeout(limit, request(streams, peer, &protocol, place));
    let late = |_| OpenError::Timeout { peer, after: limit };
    match opening(place).await.map_err(late)? {
        Attempt::Answered(answer) => return answer,
        Attempt::Lost(kept) => place = kept,
    }
    net.connect(peer, addrs).await.map_err(|source| match source {
        ConnectError::Limit { .. } => OpenError::Denied { peer, source: source.into() },
        ConnectError::Busy { .. } => OpenError::Busy { peer },
        ConnectError::Timeout { after, .. } => OpenError::Timeout { peer, after },
        ConnectError::Stopped => OpenError::Disconnected { peer },
        source => OpenError::Unreachable { peer, source: source.into() },
    })?;
    match opening(place).await.map_err(late)? {
        Attempt::Answered(answer) => answer,
        Attempt::Lost(_) => Err(OpenError::Disconnected { peer }),
    }
}

async fn request(streams: &Streams, peer: PeerId, protocol: &Protocol, place: Place) -> Attempt {
    let Some(connection) = streams.connections().get(&peer) else { return Attempt::Lost(place) };
    let (answer, answered) = oneshot::channel();
    match connection.try_send(Request { protocol: protocol.clone(), place, answer }) {
        Ok(()) => {}
        Err(TrySendError::Closed(request)) => return Attempt::Lost(request.place),
        Err(TrySendError::Full(_)) => return Attempt::Answered(Err(OpenError::Busy { peer })),
    }
    drop(connection);
    Attempt::Answered(answered.await.unwrap_or(Err(OpenError::Disconnected { peer })))
}

/// A stream of a node to itself: libp2p would wait for ever.
fn to_self(streams: &Streams, peer: PeerId, protocol: &Protocol) -> Result<Stream, OpenError> {
    let place = take_place(streams, peer)?;
    let (one, other) = local::pair();
    match streams.arrived(peer, protocol, Io::Local(other)) {
        Ok(()) => Ok(Stream::new(Io::Local(one), place)),
        Err(Refusal::Unknown) => Err(OpenError::NoSuchProtocol { peer, protocol: protocol.clone() }),
        Err(Refusal::Peer | Refusal::Shared | Refusal::Node | Refusal::Busy) => Err(OpenError::Busy { peer }),
    }
}

fn take_place(streams: &Streams, peer: PeerId) -> Result<Place, OpenError> {
    streams.ledger().outbound(peer).map_err(|refusal| {
        streams.ledger().refused(refusal);
        OpenError::Busy { peer }
    })
}
