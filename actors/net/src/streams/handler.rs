//! The streams of one connection.
//!
//! Requests come in over a channel, and become as many negotiations at the same time. Streams that the peer opens go
//! straight to their acceptor. Bounded are requests (places in the ledger) and negotiations of the peer (the swarm's
//! limit per connection, above which streams are reset).
//!
//! libp2p keeps a connection while it has streams, and for the idle timeout after the last of them.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Ready, ready},
    iter,
    ops::Range,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    PeerId, StreamProtocol,
    core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo},
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, ConnectionId, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::{
    Streams,
    connections::{Request, Requests},
    ledger::Presence,
    open::OpenError,
    protocol::Protocol,
    published::{Offers, offered_to},
    stream::{Io, Stream},
};

/// Serves one connection. Dropped with it, and every request that it has not answered.
pub struct Handler {
    streams: Streams,
    peer: PeerId,
    requests: Requests,
    /// Lets the ledger know that there is a connection.
    _presence: Presence,
    timeout: Duration,
    /// What is offered to the peer, beside the list of all that it was made from.
    offered: RefCell<(Offers, Offers)>,
}

impl Handler {
    pub(crate) fn new(streams: Streams, peer: PeerId, id: ConnectionId, presence: Presence, timeout: Duration) -> Self {
        let requests = streams.connections().add(peer, id);
        let all = streams.published().offers();
        let offered = RefCell::new((Offers::clone(&all), offered_to(&peer, &all)));
        Self { streams, peer, requests, _presence: presence, timeout, offered }
    }

    /// What the peer may ask for. Made anew when the list of all has changed.
    fn offers(&self) -> Offers {
        let all = self.streams.published().offers();
        let mut offered = self.offered.borrow_mut();
        if !Offers::ptr_eq(&offered.0, &all) {
            *offered = (Offers::clone(&all), offered_to(&self.peer, &all));
        }
        Offers::clone(&offered.1)
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offered;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Request;

    /// Read anew for each stream that arrives: this is how open connections learn of new names.
    fn listen_protocol(&self) -> SubstreamProtocol<Offered> {
        SubstreamProtocol::new(Offered(self.offers()), ()).with_timeout(self.timeout)
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Request, Infallible>> {
        while let Poll::Ready(Some(request)) = self.requests.rx.poll_recv(cx) {
            if request.answer.is_closed() {
                continue;
            }
            let upgrade = ReadyUpgrade::new(request.protocol.wire());
            let protocol = SubstreamProtocol::new(upgrade, request).with_timeout(self.timeout);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offered, Self::OutboundProtocol, (), Request>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol), ..
            }) => {
                let arrived = self.streams.arrived(self.peer, &protocol, Io::from(stream));
                tracing::trace!(peer = %self.peer, %protocol, accepted = arrived.is_ok(), "a peer opened a stream");
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: request }) => {
                let Request { place, answer, .. } = request;
                if answer.send(Ok(Stream::new(Io::from(stream), place))).is_err() {
                    tracing::trace!(peer = %self.peer, "nobody waits for a stream any more");
                }
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info: request, error }) => {
                let (peer, protocol) = (self.peer, request.protocol);
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::Timeout { peer, after: self.timeout },
                    StreamUpgradeError::NegotiationFailed => OpenError::NoSuchProtocol { peer, protocol },
                    StreamUpgradeError::Io(source) => OpenError::Broken { peer, source },
                    StreamUpgradeError::Apply(never) => match never {},
                };
                if request.answer.send(Err(error)).is_err() {
                    tracing::trace!(peer = %self.peer, "nobody waits for a stream any more");
                }
            }
            _ => {}
        }
    }
}

/// What a peer may ask for, as libp2p wants to know it.
pub struct Offered(Offers);

impl UpgradeInfo for Offered {
    type Info = Offer;
    type InfoIter = iter::Map<iter::Zip<iter::Repeat<Offers>, Range<usize>>, fn((Offers, usize)) -> Offer>;

    fn protocol_info(&self) -> Self::InfoIter {
        iter::repeat(self.0.clone()).zip(0..self.0.len()).map(|(offers, at)| Offer { offers, at })
    }
}

/// One entry of the list: costs no copy of a name.
#[derive(Clone)]
pub struct Offer {
    offers: Offers,
    at: usize,
}

impl AsRef<str> for Offer {
    fn as_ref(&self) -> &str {
        self.offers[self.at].wire.as_ref()
    }
}

impl InboundUpgrade<libp2p::Stream> for Offered {
    type Output = (libp2p::Stream, Protocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, offer: Offer) -> Self::Future {
        ready(Ok((stream, offer.offers[offer.at].protocol.clone())))
    }
}
