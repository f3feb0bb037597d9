//! What this node accepts, and where accepted streams wait for their acceptor.
//!
//! Every poll of every connection reads the list of names, so it is built when it changes and shared by [`Arc`].

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::{PeerId, StreamProtocol};
use thiserror::Error;
use tokio::sync::mpsc;

use super::{ledger::Refusal, protocol::Protocol, stream::Stream};
use crate::{
    config::{MAX_PUBLISHED, StreamLimits},
    origin::Origin,
};

/// A stream that a peer opened.
#[derive(Debug)]
pub struct IncomingStream {
    /// Who opened it. libp2p has proven the id.
    pub peer: PeerId,
    /// Where the peer comes from, if the node does not know it: its id cost it nothing, so that bounds go by this.
    pub stranger: Option<Origin>,
    /// The stream.
    pub stream: Stream,
}

/// Who may open streams of a protocol. To all others it is as if nobody accepted it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Every peer.
    #[default]
    All,
    /// These peers.
    Only(Arc<BTreeSet<PeerId>>),
}

/// Why streams of a protocol cannot be accepted.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptError {
    /// Somebody accepts them already.
    #[error("{protocol} is accepted already: drop its acceptor first, or choose another name")]
    Taken {
        /// The protocol.
        protocol: Protocol,
    },
    /// As many names are published as may be.
    #[error("{MAX_PUBLISHED} names are published already: take one back, or reach the cell through /ww/0.1.0/call")]
    TooMany,
    /// The network has stopped.
    #[error("the network of this node has stopped")]
    Stopped,
}

/// The streams of one protocol, as peers open them. Dropping it takes the protocol back, and resets those that wait.
pub struct Incoming {
    published: Published,
    protocol: Protocol,
    rx: mpsc::Receiver<IncomingStream>,
}

/// The protocols that a node accepts.
#[derive(Clone)]
pub(crate) struct Published {
    /// Streams that wait for one acceptor.
    room: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    acceptors: HashMap<Protocol, (mpsc::Sender<IncomingStream>, Audience)>,
    offers: Offers,
    closed: bool,
}

/// What peers may ask for.
pub(crate) type Offers = Arc<[Offer]>;

/// One protocol that is accepted.
#[derive(Clone)]
pub struct Offer {
    /// Its name on the wire.
    pub(crate) wire: StreamProtocol,
    /// What the name means.
    pub(crate) protocol: Protocol,
    audience: Audience,
}

impl Audience {
    /// Whether a peer belongs to it.
    pub fn admits(&self, peer: &PeerId) -> bool {
        match self {
            Self::All => true,
            Self::Only(peers) => peers.contains(peer),
        }
    }
}

/// No peer at all means every peer: what an empty list in a specification says.
impl FromIterator<PeerId> for Audience {
    fn from_iter<I: IntoIterator<Item = PeerId>>(peers: I) -> Self {
        let peers: BTreeSet<_> = peers.into_iter().collect();
        if peers.is_empty() { Self::All } else { Self::Only(Arc::new(peers)) }
    }
}

/// What one peer may ask for, of all that is offered.
pub(crate) fn offered_to(peer: &PeerId, offers: &Offers) -> Offers {
    if offers.iter().all(|offer| offer.audience.admits(peer)) {
        return Arc::clone(offers);
    }
    offers.iter().filter(|offer| offer.audience.admits(peer)).cloned().collect()
}

impl Published {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self { room: limits.waiting.max(1), state: Arc::default() }
    }

    /// Begins to accept a protocol, on connections that are open already, too.
    pub(crate) fn accept(&self, protocol: Protocol, audience: Audience) -> Result<Incoming, AcceptError> {
        let mut state = self.lock();
        if state.closed {
            return Err(AcceptError::Stopped);
        }
        if state.acceptors.contains_key(&protocol) {
            return Err(AcceptError::Taken { protocol });
        }
        let names = state.acceptors.keys().filter(|protocol| matches!(protocol, Protocol::Named(_))).count();
        if names == MAX_PUBLISHED && matches!(protocol, Protocol::Named(_)) {
            return Err(AcceptError::TooMany);
        }
        let (tx, rx) = mpsc::channel(self.room);
        state.acceptors.insert(protocol.clone(), (tx, audience));
        state.list();
        drop(state);
        Ok(Incoming { published: self.clone(), protocol, rx })
    }

    /// What is accepted now.
    pub(crate) fn offers(&self) -> Offers {
        Arc::clone(&self.lock().offers)
    }

    /// Lets a stream wait for its acceptor, or gives it back.
    pub(crate) fn deliver(
        &self,
        protocol: &Protocol,
        stream: IncomingStream,
    ) -> Result<(), Box<(Refusal, IncomingStream)>> {
        let admitted = |(tx, audience): &(_, Audience)| audience.admits(&stream.peer).then(|| mpsc::Sender::clone(tx));
        let Some(tx) = self.lock().acceptors.get(protocol).and_then(admitted) else {
            return Err((Refusal::Unknown, stream).into());
        };
        tx.try_send(stream).map_err(|error| match error {
            mpsc::error::TrySendError::Full(stream) => (Refusal::Busy, stream).into(),
            mpsc::error::TrySendError::Closed(stream) => (Refusal::Unknown, stream).into(),
        })
    }

    /// Accepts nothing any more. What waits can still be taken.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.acceptors.clear();
        state.list();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn list(&mut self) {
        let offer = |(protocol, (_, audience)): (&Protocol, &(_, Audience))| Offer {
            wire: protocol.wire(),
            protocol: protocol.clone(),
            audience: audience.clone(),
        };
        self.offers = self.acceptors.iter().map(offer).collect();
    }
}

impl Incoming {
    /// The next stream, in the order in which their protocols were agreed on; `None` once the network has stopped.
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<IncomingStream> {
        self.rx.recv().await
    }

    /// What is accepted.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut state = self.published.lock();
        if !state.closed {
            state.acceptors.remove(&self.protocol);
            state.list();
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}
