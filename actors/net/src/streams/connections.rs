//! The way to the handler of a connection.
//!
//! Bounded are the connections (by the swarm) and the requests on their way to one of them: each has its place in the
//! ledger, and the channel has room for as many as a peer has places.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::{PeerId, swarm::ConnectionId};
use tokio::sync::{mpsc, oneshot};

use super::{ledger::Place, open::OpenError, protocol::Protocol, stream::Stream};

/// Asks for a stream. Dropped without an answer, the connection has ended.
pub struct Request {
    pub(crate) protocol: Protocol,
    pub(crate) place: Place,
    pub(crate) answer: oneshot::Sender<Result<Stream, OpenError>>,
}

/// The connections of a node that streams can be opened on.
#[derive(Clone)]
pub(crate) struct Connections {
    /// Requests that one connection holds.
    room: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Default)]
struct Open {
    /// By peer, in the order in which they were opened.
    peers: HashMap<PeerId, Vec<(ConnectionId, mpsc::Sender<Request>)>>,
    closed: bool,
}

/// The requests for one connection. Dropping it takes the connection off the list.
pub(crate) struct Requests {
    connections: Connections,
    peer: PeerId,
    id: ConnectionId,
    pub(crate) rx: mpsc::Receiver<Request>,
}

impl Connections {
    pub(crate) fn new(room: usize) -> Self {
        Self { room: room.max(1), open: Arc::default() }
    }

    /// Puts a connection on the list.
    pub(crate) fn add(&self, peer: PeerId, id: ConnectionId) -> Requests {
        let (tx, rx) = mpsc::channel(self.room);
        let mut open = self.lock();
        if !open.closed {
            open.peers.entry(peer).or_default().push((id, tx));
        }
        drop(open);
        Requests { connections: self.clone(), peer, id, rx }
    }

    /// The way to a connection of a peer: the newest, which has been seen to work last.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<mpsc::Sender<Request>> {
        self.lock().peers.get(peer).and_then(|connections| connections.last()).map(|(_, tx)| tx.clone())
    }

    /// The peers that there is a connection to, ordered by id.
    pub(crate) fn peers(&self) -> Vec<PeerId> {
        let mut peers: Vec<PeerId> = self.lock().peers.keys().copied().collect();
        peers.sort_unstable();
        peers
    }

    /// Takes every connection off the list, for good.
    pub(crate) fn close(&self) {
        let mut open = self.lock();
        open.closed = true;
        open.peers.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(connections) = open.peers.get_mut(&self.peer) {
            connections.retain(|(id, _)| *id != self.id);
            if connections.is_empty() {
                open.peers.remove(&self.peer);
            }
        }
    }
}
