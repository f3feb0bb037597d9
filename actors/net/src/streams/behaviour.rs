//! The share of streams in the swarm: a handler for every connection, and nothing else. The handlers do all the work
//! beside the swarm, so that a stream costs the actor nothing.

use std::{
    convert::Infallible,
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};

use tokio::sync::watch;

use super::{Streams, handler::Handler};
use crate::origin::Origin;

/// The node's share in a swarm: its streams, on every connection. Dropped with the swarm, it ends every wait.
///
/// For a swarm of the program's own, made by [`Net::in_swarm`](crate::Net::in_swarm).
pub struct Behaviour {
    streams: Streams,
    open_timeout: Duration,
    /// Its end is the end of the network.
    _open: Option<watch::Sender<()>>,
}

impl Behaviour {
    pub(crate) fn new(streams: Streams, open_timeout: Duration) -> Self {
        Self { streams, open_timeout, _open: None }
    }

    /// The end of the returned receiver's sender is the end of the behaviour.
    pub(crate) fn watched(mut self) -> (Self, watch::Receiver<()>) {
        let (tx, rx) = watch::channel(());
        self._open = Some(tx);
        (self, rx)
    }

    fn handler(&self, peer: PeerId, id: ConnectionId, addr: &Multiaddr) -> Handler {
        let standing = self.streams.known().standing(&peer);
        let presence = self.streams.ledger().connected(peer, standing, Origin::of(addr));
        Handler::new(self.streams.clone(), peer, id, presence, self.open_timeout)
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, id, remote))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.streams.known().dialled(peer);
        Ok(self.handler(peer, id, addr))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Behaviour(..)")
    }
}

impl Drop for Behaviour {
    fn drop(&mut self) {
        self.streams.close();
    }
}
