//! How many streams there are, per peer and in all, and how many found no place.
//!
//! Streams that strangers open share [`StreamLimits::strangers`] places, of which those from one address have at most
//! [`StreamLimits::per_address`], and dialled peers share [`StreamLimits::dialled`]: as many keys as anybody makes take
//! nothing from named peers, and nothing from what this node opens. [`FLOOR`] streams of each peer need no such place, so
//! that nobody is silenced by others.
//!
//! A lock of its own, held for nanoseconds. Bounded are the peers in it: each has a connection or a stream.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::PeerId;

use crate::{config::StreamLimits, origin::Origin, standing::Standing};

/// Streams of a peer that it may have beside the places that it shares with others: a message, and one more that is on
/// its way when the first ends.
const FLOOR: usize = 2;

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
    /// Refused because strangers from the peer's address, all strangers, or all dialled peers had as many as they share.
    pub refused_shared: u64,
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
    Shared,
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
    peers: HashMap<PeerId, Account>,
    /// Streams that strangers opened.
    strangers: usize,
    /// The same by address.
    addresses: HashMap<Origin, usize>,
    /// Streams that dialled peers opened.
    dialled: usize,
    /// What has happened so far: a clock that costs nothing.
    events: u64,
}

/// What one peer has. One without a connection is the node itself, or one to be dialled.
#[derive(Clone, Copy)]
struct Account {
    inbound: usize,
    /// Streams that the peer opened and on which it has said something.
    heard: usize,
    outbound: usize,
    connections: usize,
    standing: Standing,
    origin: Origin,
    /// When a connection or a stream of it began to be used, or a stream ended, last.
    last: u64,
}

/// Whether a peer uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// It has a stream on which something was said, or one of this node's.
    pub(crate) at_work: bool,
    /// When it was last: a larger number is later.
    pub(crate) last: u64,
}

/// Who opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Inbound,
    Outbound,
}

/// The place of one stream. Dropping it gives it back.
pub(crate) struct Place {
    ledger: Ledger,
    peer: PeerId,
    side: Side,
    heard: bool,
}

/// A connection of a peer. Dropped with it.
pub(crate) struct Presence {
    ledger: Ledger,
    peer: PeerId,
}

impl Ledger {
    pub(crate) fn new(limits: StreamLimits) -> Self {
        Self(Arc::new(Inner { limits, books: Mutex::default() }))
    }

    /// A peer has one more connection.
    pub(crate) fn connected(&self, peer: PeerId, standing: Standing, origin: Origin) -> Presence {
        let mut books = self.lock();
        books.events += 1;
        let now = books.events;
        let mut account = books.peers.get(&peer).copied().unwrap_or_default();
        // Streams may have outlived their connection.
        books.share(&account, 0, account.inbound);
        match account.connections {
            0 => (account.standing, account.origin) = (standing, origin),
            _ => account.standing = account.standing.max(standing),
        }
        books.share(&account, account.inbound, 0);
        account.connections += 1;
        account.last = now;
        books.peers.insert(peer, account);
        drop(books);
        Presence { ledger: self.clone(), peer }
    }

    /// Whether a peer uses its connections.
    pub(crate) fn activity(&self, peer: &PeerId) -> Activity {
        let account = self.lock().peers.get(peer).copied().unwrap_or_default();
        Activity { at_work: account.heard + account.outbound > 0, last: account.last }
    }

    /// Where a peer comes from, if it is a stranger.
    pub(crate) fn stranger(&self, peer: &PeerId) -> Option<Origin> {
        let account = self.lock().peers.get(peer).copied().unwrap_or_default();
        (account.standing == Standing::Stranger).then_some(account.origin)
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
            Refusal::Shared => counts.refused_shared += 1,
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
        let mut account = books.peers.get(&peer).copied().unwrap_or_default();
        match side {
            Side::Inbound if account.inbound >= limits.inbound_per_peer => return Err(Refusal::Peer),
            Side::Outbound if account.outbound >= limits.outbound_per_peer => return Err(Refusal::Peer),
            Side::Inbound if account.inbound >= FLOOR && books.is_full(&account, &limits) => {
                return Err(Refusal::Shared);
            }
            Side::Inbound => books.share(&account, 1, 0),
            Side::Outbound => {}
        }
        *account.of(side) += 1;
        books.peers.insert(peer, account);
        *books.counts.of(side) += 1;
        drop(books);
        Ok(Place { ledger: self.clone(), peer, side, heard: false })
    }

    fn give_back(&self, place: &Place) {
        let mut books = self.lock();
        *books.counts.of(place.side) -= 1;
        books.change(&place.peer, |account| {
            *account.of(place.side) -= 1;
            account.heard -= usize::from(place.heard);
            usize::from(place.side == Side::Inbound)
        });
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Changes what is kept of a peer, with as many streams that it opened gone as `change` says, and forgets it if
    /// nothing is left.
    fn change(&mut self, peer: &PeerId, change: impl FnOnce(&mut Account) -> usize) {
        self.events += 1;
        let Some(account) = self.peers.get_mut(peer) else { return };
        let gone = change(account);
        account.last = self.events;
        let account = *account;
        if account.inbound + account.outbound + account.connections == 0 {
            self.peers.remove(peer);
        }
        self.share(&account, 0, gone);
    }

    /// Counts streams of a peer among those that it shares places with.
    fn share(&mut self, account: &Account, more: usize, fewer: usize) {
        match account.standing {
            Standing::Named => {}
            Standing::Dialled => self.dialled = self.dialled + more - fewer,
            Standing::Stranger => {
                self.strangers = self.strangers + more - fewer;
                let address = self.addresses.entry(account.origin).or_default();
                *address = *address + more - fewer;
                if *address == 0 {
                    self.addresses.remove(&account.origin);
                }
            }
        }
    }

    /// Whether the places that a peer shares are taken.
    fn is_full(&self, account: &Account, limits: &StreamLimits) -> bool {
        match account.standing {
            Standing::Named => false,
            Standing::Dialled => self.dialled >= limits.dialled,
            Standing::Stranger => {
                let address = self.addresses.get(&account.origin).copied().unwrap_or_default();
                self.strangers >= limits.strangers || address >= limits.per_address
            }
        }
    }
}

impl Default for Account {
    fn default() -> Self {
        Self {
            inbound: 0,
            heard: 0,
            outbound: 0,
            connections: 0,
            standing: Standing::Named,
            origin: Origin::Elsewhere,
            last: 0,
        }
    }
}

impl Account {
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

impl Place {
    /// The other side has said something on the stream, for the first time.
    pub(crate) fn hear(&mut self) {
        if self.side == Side::Inbound && !self.heard {
            self.heard = true;
            self.ledger.lock().change(&self.peer, |account| {
                account.heard += 1;
                0
            });
        }
    }

    /// Whether that is known.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard || self.side == Side::Outbound
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ledger.give_back(self);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.ledger.lock().change(&self.peer, |account| {
            account.connections -= 1;
            0
        });
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
    #[test]
    fn as_many_keys_as_one_likes_take_no_place_of_others() {
        let limits = StreamLimits { strangers: 6, per_address: 4, dialled: 3, ..StreamLimits::default() };
        let ledger = Ledger::new(limits);
        let [one, other] = [1, 2].map(|last| Origin::V4([192, 0, 2, last].into()));
        let mut held = Vec::new();
        let mut fill = |standing, origin| {
            let peer = PeerId::random();
            let presence = ledger.connected(peer, standing, origin);
            let places = std::iter::from_fn(|| ledger.inbound(peer).ok()).take(5).collect::<Vec<_>>();
            let count = places.len();
            held.push((presence, places));
            count
        };
        // Of one address, of all strangers, and of dialled peers: each has the first two in any case.
        let taken = [one, one, other, other].map(|origin| fill(Standing::Stranger, origin));
        assert_eq!(taken, [4, 2, 2, 2]);
        assert_eq!([one, other].map(|origin| fill(Standing::Dialled, origin)), [3, 2]);
        assert_eq!(fill(Standing::Named, one), 5);
        assert!(ledger.outbound(PeerId::random()).is_ok());
        held.clear();
        let books = ledger.lock();
        assert_eq!((books.strangers, books.dialled, books.counts), (0, 0, StreamCounts::default()));
        assert!(books.addresses.is_empty() && books.peers.is_empty());
    }

    #[test]
    fn a_peer_is_at_work_while_something_was_said() {
        let ledger = Ledger::new(StreamLimits::default());
        let (one, other) = (PeerId::random(), PeerId::random());
        let _connections = [one, other].map(|peer| ledger.connected(peer, Standing::Stranger, Origin::Elsewhere));
        let last = |peer| ledger.activity(peer).last;
        assert!(last(&one) < last(&other));
        let mut place = ledger.inbound(one).unwrap();
        assert!(!ledger.activity(&one).at_work, "a stream that says nothing");
        place.hear();
        place.hear();
        assert!(ledger.activity(&one).at_work && last(&one) > last(&other));
        drop(place);
        assert!(!ledger.activity(&one).at_work);
        let place = ledger.outbound(other).unwrap();
        assert!(ledger.activity(&other).at_work);
        drop(place);
        assert!(!ledger.activity(&other).at_work && last(&other) > last(&one));
    }

    #[test]
    fn streams_follow_a_peer_that_becomes_known() {
        let ledger = Ledger::new(StreamLimits::default());
        let shared = || {
            let books = ledger.lock();
            (books.strangers, books.dialled)
        };
        let peer = PeerId::random();
        let came = ledger.connected(peer, Standing::Stranger, Origin::Elsewhere);
        let place = ledger.inbound(peer).unwrap();
        let dialled = ledger.connected(peer, Standing::Dialled, Origin::Elsewhere);
        assert_eq!((shared(), ledger.stranger(&peer)), ((0, 1), None));
        drop((came, dialled));
        let again = ledger.connected(peer, Standing::Stranger, Origin::V6([1; 4]));
        assert_eq!(shared(), (1, 0), "a stream that outlived it");
        assert_eq!(ledger.stranger(&peer), Some(Origin::V6([1; 4])));
        drop((place, again));
        let books = ledger.lock();
        assert!(books.peers.is_empty() && books.addresses.is_empty());
    }
}
