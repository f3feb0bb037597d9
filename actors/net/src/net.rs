//! The handle of the network: what the rest of the node asks of it.

use std::{fmt, sync::Arc, time::Duration};

use actix::{Addr, ArbiterHandle, Handler, Message};
use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    time::timeout,
};

use crate::{
    AcceptError, Audience, Config, ConnectError, ConnectionCounts, Identity, Incoming, OpenError, Protocol, StartError,
    Stream, StreamCounts,
    config::{FAREWELL, LISTEN_TIMEOUT},
    counts::Refusals,
    dials,
    standing::Acquaintances,
    streams::{self, Streams, behaviour::Behaviour},
    swarm::{Admitted, Connect, Launched, ListAddrs, ListPeers, Stop, Swarm},
};

/// Requests that may be on their way to the actor, which answers each in microseconds. More wait for their turn.
const MAX_REQUESTS: usize = 256;

/// The network of a node. Cheap to clone; the network stops when the last clone is dropped.
#[derive(Clone)]
pub struct Net(Arc<Inner>);

/// A connected peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who it is.
    pub peer_id: PeerId,
    /// The other ends of the open connections, in the order in which they were opened. That of an incoming connection
    /// need not be one where the peer listens.
    pub addrs: Vec<Multiaddr>,
}

struct Inner {
    peer_id: PeerId,
    dial_timeout: Duration,
    open_timeout: Duration,
    streams: Streams,
    refusals: Refusals,
    /// `None` where the swarm is the program's.
    actor: Option<Addr<Swarm>>,
    room: Arc<Semaphore>,
    closed: watch::Receiver<()>,
}

/// The actor has ended before it answered.
struct Gone;

impl Net {
    /// Starts the network on an arbiter. When this returns, every address of [`Config::listen`] is listened on.
    ///
    /// The identity's file stays locked until the network has stopped. Dropping the returned future stops what was
    /// started.
    ///
    /// # Errors
    ///
    /// Where an address cannot be listened on, in particular because its port is taken; where mDNS is wanted but not
    /// possible; and where the arbiter has ended.
    pub async fn start(config: Config, identity: Identity, arbiter: &ArbiterHandle) -> Result<Self, StartError> {
        let peer_id = identity.peer_id();
        let (dial_timeout, open_timeout) = (config.dial_timeout, config.open_timeout);
        let streams = Streams::new(config.streams, Acquaintances::new(config.named.clone()));
        let refusals = Refusals::default();
        let (shared, counted) = (streams.clone(), refusals.clone());
        let (tx, rx) = oneshot::channel();
        let launch = move || {
            if tx.send(Swarm::launch(&config, identity, shared, counted)).is_err() {
                tracing::debug!("nobody waits for the start of the network any more");
            }
        };
        if !arbiter.spawn_fn(launch) {
            return Err(StartError::Ended);
        }
        let launched = timeout(LISTEN_TIMEOUT, rx).await.map_err(|_| StartError::Unresponsive)?;
        let Launched { addr, ready, closed } = launched.map_err(|_| StartError::Ended)??;
        let room = Arc::new(Semaphore::new(MAX_REQUESTS));
        let net = Self(Arc::new(Inner {
            peer_id,
            dial_timeout,
            open_timeout,
            streams,
            refusals,
            actor: Some(addr),
            room,
            closed,
        }));
        let outcome = match timeout(LISTEN_TIMEOUT, ready).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(StartError::Ended),
            Err(_) => Err(StartError::Silent),
        };
        match outcome {
            Ok(()) => Ok(net),
            Err(error) => {
                net.stop().await;
                Err(error)
            }
        }
    }

    /// The network of a node in a swarm of the program's own, whose id is `peer_id`. What is returned besides belongs into
    /// that swarm's behaviour, and the network ends with it.
    ///
    /// The program listens and dials. The node accepts streams and opens them, on the connections that there are, within
    /// [`Config::streams`] and [`Config::open_timeout`]; the rest of the configuration means nothing here. How many
    /// connections there may be, and how many streams on each, is for the program to bound.
    pub fn in_swarm(peer_id: PeerId, config: &Config) -> (Self, Behaviour) {
        let streams = Streams::new(config.streams, Acquaintances::new(config.named.clone()));
        let (behaviour, closed) = Behaviour::new(streams.clone(), config.open_timeout).watched();
        let (dial_timeout, open_timeout) = (config.dial_timeout, config.open_timeout);
        let room = Arc::new(Semaphore::new(MAX_REQUESTS));
        let refusals = Refusals::default();
        let net =
            Self(Arc::new(Inner { peer_id, dial_timeout, open_timeout, streams, refusals, actor: None, room, closed }));
        (net, behaviour)
    }

    /// The name of this node on the network.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer_id
    }

    /// The addresses that are listened on now, one for each interface and transport, without the peer id; none once
    /// the network has stopped, and none that a program's own swarm listens on.
    pub async fn addrs(&self) -> Vec<Multiaddr> {
        self.ask(ListAddrs).await.unwrap_or_else(|Gone| Vec::new())
    }

    /// The peers that are connected now, ordered by id; none once the network has stopped. Of the connections in a
    /// program's own swarm no addresses are known.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        if self.0.actor.is_none() {
            let peers = self.0.streams.connections().peers().into_iter();
            return peers.map(|peer_id| PeerInfo { peer_id, addrs: Vec::new() }).collect();
        }
        self.ask(ListPeers).await.unwrap_or_else(|Gone| Vec::new())
    }

    /// Connects to a peer, unless it is connected already.
    ///
    /// All addresses are tried at the same time, together with those that mDNS has found. They may end in the id of the
    /// peer. Concurrent calls for one peer share their attempts. A node is always connected to itself: for its own id
    /// this does nothing.
    ///
    /// `Ok` says that the peer has proven its id. It may still hang up at once, because of its own limits.
    ///
    /// Cancel safe: dropping the future leaves the attempt to those who also wait for it, and it ends in any case
    /// after [`HANDSHAKE_TIMEOUT`](crate::config::HANDSHAKE_TIMEOUT).
    ///
    /// # Errors
    ///
    /// Where no address leads to the peer, another peer answers, nothing happens before [`Config::dial_timeout`], or a
    /// limit of this node is reached.
    pub async fn connect(&self, peer_id: PeerId, addrs: Vec<Multiaddr>) -> Result<(), ConnectError> {
        if peer_id == self.0.peer_id {
            return Ok(());
        }
        let addrs = dials::checked(peer_id, addrs)?;
        if self.0.actor.is_none() {
            let connected = self.0.streams.connections().get(&peer_id).is_some();
            return if connected { Ok(()) } else { Err(ConnectError::NotConnected { peer: peer_id }) };
        }
        let connect = async {
            let connecting =
                self.ask(Connect { peer: peer_id, addrs }).await.map_err(|Gone| ConnectError::Stopped)??;
            match connecting {
                Some(outcome) => outcome.await.unwrap_or(Err(ConnectError::Stopped)),
                None => Ok(()),
            }
        };
        let after = self.0.dial_timeout;
        timeout(after, connect).await.unwrap_or(Err(ConnectError::Timeout { peer: peer_id, after }))
    }

    /// Opens a stream to a peer, after connecting to it if need be: see [`Net::connect`] for `addrs`.
    ///
    /// `Ok` says that the peer accepts the protocol. It may still reset the stream at once, because too many wait there.
    /// A stream of the node to itself stays in memory.
    ///
    /// Takes at most [`Config::dial_timeout`] and, once on the connection that there is and once on a new one,
    /// [`Config::open_timeout`].
    ///
    /// Cancel safe: dropping the future gives up the stream. Its place is free again when the peer has answered, or
    /// that timeout has passed.
    ///
    /// # Errors
    ///
    /// Where the peer cannot be connected to, does not accept the protocol, does not answer in time or hangs up; and
    /// where there are as many streams as there may be.
    pub async fn open(&self, peer: PeerId, addrs: Vec<Multiaddr>, protocol: Protocol) -> Result<Stream, OpenError> {
        streams::open::open(self, &self.0.streams, peer, addrs, protocol, self.0.open_timeout).await
    }

    /// Begins to accept streams of a protocol, on connections that are open already, too. Dropping what is returned
    /// ends it.
    ///
    /// # Errors
    ///
    /// Where somebody accepts them already, [`MAX_PUBLISHED`](crate::config::MAX_PUBLISHED) names are published, or the
    /// network has stopped.
    pub fn accept(&self, protocol: Protocol) -> Result<Incoming, AcceptError> {
        self.accept_from(Audience::All, protocol)
    }

    /// [`Net::accept`], but only from some peers. The others, this node included where it is none of them, cannot tell
    /// that it is accepted at all.
    ///
    /// # Errors
    ///
    /// As [`Net::accept`].
    pub fn accept_from(&self, audience: Audience, protocol: Protocol) -> Result<Incoming, AcceptError> {
        self.0.streams.published().accept(protocol, audience)
    }

    /// How many streams there are now, and how many were refused.
    pub fn stream_counts(&self) -> StreamCounts {
        self.0.streams.ledger().counts()
    }

    /// How many connections were refused or closed to make room since the start: none in a swarm of the program's own.
    pub fn connection_counts(&self) -> ConnectionCounts {
        self.0.refusals.counts()
    }

    /// Stops the network, and returns when it has: listeners and connections are closed and the key file is unlocked.
    /// Peers are given at most [`STOP_TIMEOUT`](crate::config::STOP_TIMEOUT) to see the end of their connections.
    ///
    /// Cancel safe: the network stops all the same.
    pub async fn stop(&self) {
        self.stop_within(Duration::ZERO).await;
    }

    /// [`Net::stop`], once all peers have left by themselves, or after [`FAREWELL`]: for who has
    /// told them something.
    pub async fn stop_after_farewell(&self) {
        self.stop_within(FAREWELL).await;
    }

    async fn stop_within(&self, farewell: Duration) {
        if self.0.actor.is_none() {
            // The swarm goes on without this node.
            return self.0.streams.close();
        }
        if self.ask(Stop { farewell }).await.is_err() {
            tracing::debug!("the network has stopped already");
        }
        self.closed().await;
    }

    /// Returns when the network has stopped, whatever the reason: [`Net::stop`], the end of its arbiter, or a fault.
    pub async fn closed(&self) {
        let mut closed = self.0.closed.clone();
        // Nothing is ever sent: an error says that the actor is gone.
        while closed.changed().await.is_ok() {}
    }

    async fn ask<M>(&self, message: M) -> Result<M::Result, Gone>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        Swarm: Handler<Admitted<M>>,
    {
        let actor = self.0.actor.as_ref().ok_or(Gone)?;
        let permit = Arc::clone(&self.0.room).acquire_owned().await.map_err(|_| Gone)?;
        actor.send(Admitted { message, _permit: permit }).await.map_err(|_| Gone)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("peer_id", &self.0.peer_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
