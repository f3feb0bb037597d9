//! The swarm actor.
//!
//! - Owns the libp2p swarm with its listeners and connections, the identity with the lock on its file, and the dials.
//! - Messages in: [`ListAddrs`], [`ListPeers`], [`Connect`], [`Stop`], each with a permit of the handle. Out: the
//!   answers, and nothing else.
//! - Supervised by the node, which learns of its end from [`Net::closed`](crate::Net::closed): what it owns cannot be
//!   restarted behind the backs of those who hold connections.
//! - Stops on [`Stop`], when the last handle is dropped, or when a listener that it needs cannot start. It closes its
//!   listeners and connections first, for at most [`STOP_TIMEOUT`].
//! - Bounded are requests (permits of the handle), connections and pending ones ([`Limits`](crate::config::Limits), see
//!   `admission` and `arrivals`), discovered peers, dials with their addresses and waiters (`dials`), and events that
//!   are handled before messages get their turn.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    io,
    pin::Pin,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFuture, Addr, AsyncContext, Context, Handler, Message, MessageResult};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, TransportError,
    core::transport::ListenerId,
    mdns, noise, ping,
    swarm::{
        ConnectionError, ConnectionId, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::{Instant, Sleep},
};
use ww_core::task;

use crate::{
    Config, Identity, PeerInfo,
    behaviour::{self, Behaviour, BehaviourEvent, BuildError},
    book::Book,
    config::{LISTEN_TIMEOUT, MAX_ADDRS, MAX_DISCOVERED, STOP_TIMEOUT},
    counts::Refusals,
    dials::{Attempt, ConnectError, Dials, Outcome, without_peer},
    listen,
    streams::Streams,
};

/// Events of the network that are handled before messages get their turn, some microseconds each.
const EVENTS_PER_TURN: usize = 64;

/// How often it is said at most that a listener cannot accept a connection.
const COMPLAINTS_APART: Duration = Duration::from_secs(10);

/// Why the network of a node cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{}", listen::explain(addr, source))]
    Listen {
        /// The address.
        addr: Multiaddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// An address that no transport understands.
    #[error(
        "cannot listen on {addr}: expected /ip4/ADDRESS/tcp/PORT or /ip4/ADDRESS/udp/PORT/quic-v1, or the same with ip6"
    )]
    Unsupported {
        /// The address.
        addr: Multiaddr,
    },
    /// Listeners did not report an address in time.
    #[error(
        "no listener reported its address within {LISTEN_TIMEOUT:?}: check that this machine has a network interface, \
         or listen on 127.0.0.1"
    )]
    Silent,
    /// Connections cannot be encrypted.
    #[error("cannot set up the encryption of connections")]
    Noise(#[source] noise::Error),
    /// Peers cannot be discovered.
    #[error("cannot discover peers on the local network: check that multicast is allowed here, or switch mDNS off")]
    Mdns(#[source] io::Error),
    /// The arbiter is busy with something else.
    #[error(
        "the thread that is to run the network has not begun within {LISTEN_TIMEOUT:?}: it is blocked by something else"
    )]
    Unresponsive,
    /// The arbiter has ended, or the actor ended on it.
    #[error("the thread that was to run the network has ended")]
    Ended,
}

/// A message with the permit that makes room for it.
#[derive(Message)]
#[rtype(result = "M::Result")]
pub(crate) struct Admitted<M: Message> {
    pub(crate) message: M,
    pub(crate) _permit: OwnedSemaphorePermit,
}

/// Asks for the addresses that are listened on.
#[derive(Message)]
#[rtype(result = "Vec<Multiaddr>")]
pub(crate) struct ListAddrs;

/// Asks for the connected peers.
#[derive(Message)]
#[rtype(result = "Vec<PeerInfo>")]
pub(crate) struct ListPeers;

/// Asks for a connection. The answer comes at once; `None` says that there is one already.
#[derive(Message)]
#[rtype(result = "Result<Option<Outcome>, ConnectError>")]
pub(crate) struct Connect {
    pub(crate) peer: PeerId,
    pub(crate) addrs: Vec<Multiaddr>,
}

/// Asks for the end.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Stop {
    /// How long peers may take to leave by themselves.
    pub(crate) farewell: Duration,
}

/// The actor. Its fields are dropped in this order: whoever learns of its end finds everything released.
pub(crate) struct Swarm {
    swarm: libp2p::Swarm<Behaviour>,
    listeners: HashMap<ListenerId, Multiaddr>,
    peers: BTreeMap<PeerId, Vec<(ConnectionId, Multiaddr)>>,
    dials: Dials,
    book: Book,
    /// Peers with a connection that is closed because they do not answer; each is connected.
    failing: HashSet<PeerId>,
    /// Wakes the actor when the book has something due.
    redial: Option<Pin<Box<Sleep>>>,
    starting: Option<Starting>,
    /// When it stops, if peers are still connected then.
    farewell: Option<Pin<Box<Sleep>>>,
    stopping: Option<Pin<Box<Sleep>>>,
    /// When it was last said that a listener failed.
    complained: Option<Instant>,
    _identity: Identity,
    _alive: watch::Sender<()>,
}

/// What somebody has who launched the actor.
pub(crate) struct Launched {
    pub(crate) addr: Addr<Swarm>,
    /// Resolves when all listeners that are needed have reported an address, or one of them cannot.
    pub(crate) ready: oneshot::Receiver<Result<(), StartError>>,
    /// Its sender is dropped with the actor.
    pub(crate) closed: watch::Receiver<()>,
}

struct Starting {
    awaited: HashSet<ListenerId>,
    ready: oneshot::Sender<Result<(), StartError>>,
}

impl Swarm {
    /// Builds the swarm, opens its listeners, and starts the actor on the calling thread's arbiter.
    pub(crate) fn launch(
        config: &Config,
        identity: Identity,
        streams: Streams,
        refusals: Refusals,
    ) -> Result<Launched, StartError> {
        let peer_id = identity.peer_id();
        let swarm = behaviour::swarm(identity.keypair(), config, streams, refusals).map_err(|error| match error {
            BuildError::Noise(error) => StartError::Noise(error),
            BuildError::Mdns(error) => StartError::Mdns(error),
        })?;
        let (alive, closed) = watch::channel(());
        let (tx, ready) = oneshot::channel();
        let mut actor = Self {
            swarm,
            listeners: HashMap::new(),
            peers: BTreeMap::new(),
            dials: Dials::default(),
            book: Book::new(config.redial_delay),
            failing: HashSet::new(),
            redial: None,
            starting: None,
            farewell: None,
            stopping: None,
            complained: None,
            _identity: identity,
            _alive: alive,
        };
        let mut awaited = HashSet::new();
        for addr in &config.listen {
            awaited.insert(actor.listen(addr)?);
        }
        for addr in &config.listen_if_possible {
            if let Err(error) = actor.listen(addr) {
                tracing::info!(%addr, %error, "going on without an address");
            }
        }
        actor.starting = Some(Starting { awaited, ready: tx });
        actor.report_start();
        let context = Context::new();
        let addr = context.address();
        // Ends by itself when the last handle is dropped.
        drop(task::spawn_local(task::Kind::detached("swarm", peer_id), context.into_future(actor)));
        Ok(Launched { addr, ready, closed })
    }

    fn listen(&mut self, addr: &Multiaddr) -> Result<ListenerId, StartError> {
        listen::check_free(addr).map_err(|source| StartError::Listen { addr: addr.clone(), source })?;
        let id = self.swarm.listen_on(addr.clone()).map_err(|error| match error {
            TransportError::MultiaddrNotSupported(addr) => StartError::Unsupported { addr },
            TransportError::Other(source) => StartError::Listen { addr: addr.clone(), source },
        })?;
        self.listeners.insert(id, addr.clone());
        Ok(id)
    }

    fn connect(&mut self, peer: PeerId, mut addrs: Vec<Multiaddr>) -> Result<Option<Outcome>, ConnectError> {
        if self.stopping.is_some() {
            return Err(ConnectError::Stopped);
        }
        let known = self.book.asked(&peer, Instant::now());
        if self.peers.contains_key(&peer) {
            return Ok(None);
        }
        let room = MAX_ADDRS.saturating_sub(addrs.len());
        addrs.extend(known.into_iter().take(room));
        let (outcome, attempt) = self.dials.join(peer, addrs)?;
        self.dial(peer, attempt);
        Ok(Some(outcome))
    }

    /// Begins an attempt, and what it leads to if it fails at once: each of them has fewer addresses.
    fn dial(&mut self, peer: PeerId, mut next: Option<Attempt>) {
        while let Some(attempt) = next {
            let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(attempt.addrs.clone());
            let opts = if attempt.discovered { opts.extend_addresses_through_behaviour() } else { opts }.build();
            let id = opts.connection_id();
            self.dials.began(peer, id, attempt);
            next = self.swarm.dial(opts).err().and_then(|error| self.dials.failed(peer, id, error));
        }
        if !self.dials.is_under_way(&peer) {
            self.book.failed(&peer, Instant::now());
        }
    }

    /// Tries those peers again whose time has come, and has the actor woken when the next one's has.
    fn redial(&mut self, cx: &mut TaskContext<'_>) {
        let now = Instant::now();
        while let Some((peer, addrs)) = self.book.take_due(now) {
            if self.peers.contains_key(&peer) {
                self.book.connected(&peer);
                continue;
            }
            tracing::debug!(%peer, "trying a lost peer again");
            // Nobody waits for it: whoever asks meanwhile joins.
            match self.dials.join(peer, addrs) {
                Ok((_, attempt)) => self.dial(peer, attempt),
                Err(_) => self.book.failed(&peer, now),
            }
        }
        self.redial = self.book.next_due().map(|due| Box::pin(tokio::time::sleep_until(due)));
        if let Some(redial) = &mut self.redial
            && redial.as_mut().poll(cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::debug!(addr = %address, "listening");
                if let Some(starting) = &mut self.starting {
                    starting.awaited.remove(&listener_id);
                }
                self.report_start();
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => tracing::info!(addr = %address, "no longer listening"),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => self.on_listener_closed(listener_id, reason),
            SwarmEvent::ListenerError { error, .. } => self.complain(&error),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, established_in, .. } => {
                let addr = without_peer(endpoint.get_remote_address().clone());
                let incoming = endpoint.is_listener();
                tracing::debug!(peer = %peer_id, %addr, incoming, took = ?established_in, "connected");
                if !incoming {
                    self.book.reached(peer_id, addr.clone(), Instant::now());
                }
                self.book.connected(&peer_id);
                self.peers.entry(peer_id).or_default().push((connection_id, addr));
                self.dials.connected(&peer_id);
                if self.stopping.is_some() {
                    self.swarm.close_connection(connection_id);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let broken = matches!(cause, Some(ConnectionError::IO(_)));
                let cause = cause.map(|cause| cause.to_string());
                tracing::debug!(peer = %peer_id, cause, "disconnected");
                if let Some(connections) = self.peers.get_mut(&peer_id) {
                    connections.retain(|(id, _)| *id != connection_id);
                    if connections.is_empty() {
                        self.peers.remove(&peer_id);
                        if broken || self.failing.remove(&peer_id) {
                            self.book.lost(&peer_id, Instant::now());
                        }
                    }
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr: addr, error, .. } => {
                tracing::debug!(%addr, %error, "an incoming connection failed");
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error } => {
                tracing::debug!(%peer, %error, "an attempt to connect failed");
                let again = self.dials.failed(peer, connection_id, error);
                self.dial(peer, again);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { peer, connection, result: Err(error) }))
                if !matches!(error, ping::Failure::Unsupported) =>
            {
                tracing::debug!(%peer, %error, "a peer does not answer any more");
                if self.swarm.close_connection(connection) {
                    self.failing.insert(peer);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (peer, addr) in &found {
                    tracing::debug!(%peer, %addr, "discovered");
                }
                self.bound_discovered(&found);
            }
            _ => {}
        }
    }

    fn on_listener_closed(&mut self, id: ListenerId, reason: io::Result<()>) {
        let Some(addr) = self.listeners.remove(&id) else { return };
        let source = reason.err().unwrap_or_else(|| io::Error::other("the listener has ended"));
        if self.stopping.is_none() {
            tracing::warn!(%addr, error = %source, "no longer listening");
        }
        if let Some(starting) = self.starting.take_if(|starting| starting.awaited.contains(&id)) {
            starting.report(Err(StartError::Listen { addr, source }));
            self.stop();
        }
    }

    /// Says that a listener failed, unless that was said just now: others can bring it about as often as they like.
    fn complain(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.complained.is_some_and(|at| now.duration_since(at) < COMPLAINTS_APART) {
            return tracing::debug!(%error, "a listener could not accept a connection");
        }
        self.complained = Some(now);
        tracing::warn!(%error, "a listener could not accept a connection");
    }

    /// Forgets what was discovered last where too much is known: everybody on the local network can announce peers.
    fn bound_discovered(&mut self, found: &[(PeerId, Multiaddr)]) {
        let Some(mdns) = self.swarm.behaviour_mut().mdns.as_mut() else { return };
        if mdns.discovered_nodes().len() > MAX_DISCOVERED {
            tracing::debug!(found = found.len(), "too many peers are discovered: those that came last are forgotten");
            for (peer, _) in found {
                // The only way to take an entry out.
                #[expect(deprecated, reason = "nothing has taken its place")]
                mdns.expire_node(peer);
            }
        }
    }

    fn report_start(&mut self) {
        if let Some(starting) = self.starting.take_if(|starting| starting.awaited.is_empty()) {
            starting.report(Ok(()));
        }
    }

    fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        tracing::debug!(connected = self.peers.len(), "the network stops");
        self.stopping = Some(Box::pin(tokio::time::sleep(STOP_TIMEOUT)));
        self.dials.stop();
        for id in self.listeners.keys() {
            self.swarm.remove_listener(*id);
        }
        for peer in self.peers.keys() {
            if self.swarm.disconnect_peer_id(*peer).is_err() {
                tracing::trace!(%peer, "disconnected already");
            }
        }
    }

    /// Lets the network go on, up to what is ready now. Ready when the actor has nothing left to do.
    fn drive(&mut self, ctx: &Context<Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        if !ctx.connected() {
            self.stop();
        }
        for turn in 0..=EVENTS_PER_TURN {
            if turn == EVENTS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
            match self.swarm.poll_next_unpin(cx) {
                Poll::Ready(Some(event)) => self.on_event(event),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if let Some(farewell) = &mut self.farewell
            && (self.peers.is_empty() || farewell.as_mut().poll(cx).is_ready())
        {
            self.farewell = None;
            self.stop();
            // The swarm has something to do again.
            cx.waker().wake_by_ref();
        }
        let Some(deadline) = &mut self.stopping else {
            self.redial(cx);
            return Poll::Pending;
        };
        if self.listeners.is_empty() && self.peers.is_empty() {
            return Poll::Ready(());
        }
        deadline.as_mut().poll(cx)
    }
}

impl Starting {
    fn report(self, outcome: Result<(), StartError>) {
        if self.ready.send(outcome).is_err() {
            tracing::debug!("nobody waits for the start of the network any more");
        }
    }
}

impl Actor for Swarm {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(Drive);
    }
}

/// The network's share in the actor's time.
struct Drive;

impl ActorFuture<Swarm> for Drive {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut Swarm,
        ctx: &mut Context<Swarm>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Self::Output> {
        let driven = actor.drive(ctx, cx);
        if driven.is_ready() {
            ctx.stop();
        }
        driven
    }
}

impl Handler<Admitted<ListAddrs>> for Swarm {
    type Result = MessageResult<Admitted<ListAddrs>>;

    fn handle(&mut self, _: Admitted<ListAddrs>, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.swarm.listeners().cloned().collect())
    }
}

impl Handler<Admitted<ListPeers>> for Swarm {
    type Result = MessageResult<Admitted<ListPeers>>;

    fn handle(&mut self, _: Admitted<ListPeers>, _: &mut Self::Context) -> Self::Result {
        let info = |(peer_id, connections): (&PeerId, &Vec<(ConnectionId, Multiaddr)>)| PeerInfo {
            peer_id: *peer_id,
            addrs: connections.iter().map(|(_, addr)| addr.clone()).collect(),
        };
        MessageResult(self.peers.iter().map(info).collect())
    }
}

impl Handler<Admitted<Connect>> for Swarm {
    type Result = MessageResult<Admitted<Connect>>;

    fn handle(&mut self, Admitted { message, .. }: Admitted<Connect>, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.connect(message.peer, message.addrs))
    }
}

impl Handler<Admitted<Stop>> for Swarm {
    type Result = ();

    fn handle(&mut self, Admitted { message, .. }: Admitted<Stop>, _: &mut Self::Context) {
        if message.farewell.is_zero() {
            return self.stop();
        }
        self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(message.farewell)));
    }
}
