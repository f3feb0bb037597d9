//! How many streams there are, per peer and in all, and how many found no place.
//!
//! A lock of its own, held for nanoseconds. Bounded are the peers in it: each has at least one stream.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::PeerId;

use crate::config::StreamLimits;

/// How many streams a node has now, and how many it has refused since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCounts {
    /// Streams that others opened, those included that wait to be accepted.
    pub inbound: usize,
    /// Streams that this node opened or is opening.
    pub outbound: usize,
    /// Refused because the peer had as many as one may have, in that direction.
    pub refused_by_peer: u64,
    /// Refused because the node had as many as it may have.
    pub refused_by_node: u64,
    /// Refused because too many waited to be accepted under the same name.
    pub refused_busy: u64,
    /// Refused because the name was taken back while the stream was negotiated.
    pub refused_unknown: u64,
}

/// Why a stream found no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Peer,
    Node,
    Busy,
    Unknown,
}

/// The counts of a node.
#[derive(Clone)]
pub(crate) struct Ledger(Arc<Inner>);

struct Inner {
    limits: StreamLimits,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    counts: StreamCounts,
    peers: HashMap<PeerId, Sides>,
}

/// Streams of one peer.
#[derive(Clone, Copy, Default)]
struct Sides {
    inbound: usize,
    outbound: usize,
}

/// Who opened a stream.
#[derive(Clone, Copy, Debug)]
enum Side {
    Inbound,
    Outbound,
}

/// The place of one stream. Dropping it gives it back.
pub(crate) struct Place {
    ledger: Ledger,
    peer: PeerId,
    side: Side,
}

impl Ledger {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self(Arc::new(Inner { limits, books: Mutex::default() }))
    }

    /// A place for a stream that a peer opened.
    pub(crate) fn inbound(&self, peer: PeerId) -> Result<Place, Refusal> {
        self.take(peer, Side::Inbound)
    }

    /// A place for a stream to a peer.
    pub(crate) fn outbound(&self, peer: PeerId) -> Result<Place, Refusal> {
        self.take(peer, Side::Outbound)
    }

    pub(crate) fn counts(&self) -> StreamCounts {
        self.lock().counts
    }

    /// Counts a stream that found no place.
    pub(crate) fn refused(&self, why: Refusal) {
        let counts = &mut self.lock().counts;
        match why {
            Refusal::Peer => counts.refused_by_peer += 1,
            Refusal::Node => counts.refused_by_node += 1,
            Refusal::Busy => counts.refused_busy += 1,
            Refusal::Unknown => counts.refused_unknown += 1,
        }
    }

    fn take(&self, peer: PeerId, side: Side) -> Result<Place, Refusal> {
        let limits = self.0.limits;
        let mut books = self.lock();
        if books.counts.inbound + books.counts.outbound >= limits.per_node {
            return Err(Refusal::Node);
        }
        let sides = books.peers.get(&peer).copied().unwrap_or_default();
        let full = match side {
            Side::Inbound => sides.inbound >= limits.inbound_per_peer,
            Side::Outbound => sides.outbound >= limits.outbound_per_peer,
        };
        if full {
            return Err(Refusal::Peer);
        }
        *books.peers.entry(peer).or_default().of(side) += 1;
        *books.counts.of(side) += 1;
        drop(books);
        Ok(Place { ledger: self.clone(), peer, side })
    }

    fn give_back(&self, peer: &PeerId, side: Side) {
        let mut books = self.lock();
        *books.counts.of(side) -= 1;
        if let Some(sides) = books.peers.get_mut(peer) {
            *sides.of(side) -= 1;
            if sides.inbound + sides.outbound == 0 {
                books.peers.remove(peer);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sides {
    fn of(&mut self, side: Side) -> &mut usize {
        match side {
            Side::Inbound => &mut self.inbound,
            Side::Outbound => &mut self.outbound,
        }
    }
}

impl StreamCounts {
    fn of(&mut self, side: Side) -> &mut usize {
        match side {
            Side::Inbound => &mut self.inbound,
            Side::Outbound => &mut self.outbound,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ledger.give_back(&self.peer, self.side);
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("peer", &self.peer).field("side", &self.side).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let limits = StreamLimits { inbound_per_peer: 2, outbound_per_peer: 1, per_node: 4, ..StreamLimits::default() };
        let ledger = Ledger::new(limits);
        let (one, other) = (PeerId::random(), PeerId::random());
        let mut places = vec![ledger.inbound(one).unwrap(), ledger.inbound(one).unwrap()];
        assert_eq!(ledger.inbound(one).err(), Some(Refusal::Peer));
        places.push(ledger.outbound(one).unwrap());
        assert_eq!(ledger.outbound(one).err(), Some(Refusal::Peer));
        places.push(ledger.inbound(other).unwrap());
        assert_eq!(ledger.inbound(other).err(), Some(Refusal::Node));
        assert_eq!((ledger.counts().inbound, ledger.counts().outbound), (3, 1));
        places.remove(0);
        places.push(ledger.inbound(other).unwrap());
        places.clear();
        assert_eq!(ledger.counts(), StreamCounts::default());
        assert!(ledger.lock().peers.is_empty());
    }
}
