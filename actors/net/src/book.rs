//! Addresses at which peers were reached, and when to try them again.
//!
//! An address gets in once its peer has proven there who it is, so that nobody can point this node at somebody else. A
//! peer that was asked for lately and is lost is dialled again, later each time, until it is there or nothing more is
//! expected; its addresses stay for whoever asks next.
//!
//! A state machine without a clock. Bounded are the peers, their addresses, and the attempts.

use std::{collections::HashMap, time::Duration};

use libp2p::{Multiaddr, PeerId};
use tokio::time::Instant;

/// Peers in the book: twice the connections of a node. The one that was asked for longest ago makes room.
const MAX_PEERS: usize = 1_024;

/// Addresses of one peer: those of a host with two interfaces and two transports. The newest come first.
const MAX_ADDRS: usize = 4;

/// How long ago somebody may have asked for a peer that is dialled again without being asked for: as long as a connection
/// is kept that nobody uses.
const LATELY: Duration = crate::config::IDLE_TIMEOUT;

/// Attempts in a row without an answer: some four minutes, with the default delays.
const MAX_ATTEMPTS: u32 = 8;

/// Longest delay, as a multiple of the first: a minute, with the default.
const MAX_FACTOR: u32 = 60;

/// The book.
#[derive(Debug)]
pub(crate) struct Book {
    /// Before the first attempt.
    delay: Duration,
    peers: HashMap<PeerId, Known>,
}

/// What is known of a peer.
#[derive(Debug)]
struct Known {
    addrs: Vec<Multiaddr>,
    asked: Instant,
    /// Attempts since it was lost.
    attempts: u32,
    /// When the next one is due.
    due: Option<Instant>,
}

impl Book {
    /// An empty book; `delay` is how long after a loss the first attempt is made.
    pub(crate) fn new(delay: Duration) -> Self {
        Self { delay, peers: HashMap::new() }
    }

    /// Somebody asks for a peer. Returns its addresses.
    pub(crate) fn asked(&mut self, peer: &PeerId, now: Instant) -> Vec<Multiaddr> {
        self.peers.get_mut(peer).map_or_else(Vec::new, |known| {
            known.asked = now;
            known.addrs.clone()
        })
    }

    /// A peer that somebody asked for was reached at an address.
    pub(crate) fn reached(&mut self, peer: PeerId, addr: Multiaddr, now: Instant) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            let longest_ago = self.peers.iter().min_by_key(|(_, known)| known.asked).map(|(peer, _)| *peer);
            longest_ago.map(|peer| self.peers.remove(&peer));
        }
        let fresh = || Known { addrs: Vec::new(), asked: now, attempts: 0, due: None };
        let known = self.peers.entry(peer).or_insert_with(fresh);
        known.addrs.retain(|other| *other != addr);
        known.addrs.insert(0, addr);
        known.addrs.truncate(MAX_ADDRS);
    }

    /// A peer is connected, whoever made the connection.
    pub(crate) fn connected(&mut self, peer: &PeerId) {
        if let Some(known) = self.peers.get_mut(peer) {
            (known.attempts, known.due) = (0, None);
        }
    }

    /// The last connection of a peer broke.
    pub(crate) fn lost(&mut self, peer: &PeerId, now: Instant) {
        if let Some(known) = self.peers.get_mut(peer)
            && now.duration_since(known.asked) <= LATELY
        {
            known.due = Some(now + self.delay);
        }
    }

    /// The next peer whose time has come, with its addresses. What comes of it is for [`Book::failed`] or
    /// [`Book::connected`].
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(PeerId, Vec<Multiaddr>)> {
        let (peer, known) = self.peers.iter_mut().find(|(_, known)| known.due.is_some_and(|due| due <= now))?;
        known.due = None;
        known.attempts += 1;
        Some((*peer, known.addrs.clone()))
    }

    /// Nobody answers at the addresses of a peer.
    pub(crate) fn failed(&mut self, peer: &PeerId, now: Instant) {
        // Only where the attempt was one of ours.
        if let Some(known) = self.peers.get_mut(peer)
            && (1..MAX_ATTEMPTS).contains(&known.attempts)
        {
            let factor = 2_u32.saturating_pow(known.attempts).min(MAX_FACTOR);
            known.due = Some(now + self.delay * factor + spread(peer, self.delay));
        }
    }

    /// When the next attempt is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.peers.values().filter_map(|known| known.due).min()
    }
}

/// A part of a delay that differs from peer to peer, so that those who were lost together do not come back together.
fn spread(peer: &PeerId, delay: Duration) -> Duration {
    delay * u32::from(peer.to_bytes().last().copied().unwrap_or_default()) / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(1);

    fn addr(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn a_lost_peer_is_tried_later_each_time_and_then_no_more() {
        let (mut book, peer, start) = (Book::new(DELAY), PeerId::random(), Instant::now());
        book.reached(peer, addr(1), start);
        assert_eq!(book.next_due(), None);
        book.lost(&peer, start);
        let mut delays = Vec::new();
        let mut now = start;
        while let Some(due) = book.next_due() {
            assert_eq!(book.take_due(due - Duration::from_millis(1)), None);
            assert_eq!(book.take_due(due), Some((peer, vec![addr(1)])));
            assert_eq!(book.take_due(due), None, "once");
            delays.push((due - now).as_secs());
            now = due;
            book.failed(&peer, now);
        }
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(book.asked(&peer, now), [addr(1)], "its address stays");
        book.failed(&peer, now);
        assert_eq!(book.next_due(), None, "an attempt of somebody else");
    }

    #[test]
    fn a_peer_that_is_back_is_not_tried_again() {
        let (mut book, peer, now) = (Book::new(DELAY), PeerId::random(), Instant::now());
        book.reached(peer, addr(1), now);
        book.lost(&peer, now);
        book.connected(&peer);
        assert_eq!(book.next_due(), None);
        book.lost(&peer, now);
        assert_eq!(book.next_due(), Some(now + DELAY), "as the first time");
    }

    #[test]
    fn only_who_was_asked_for_lately_is_tried() {
        let (mut book, peer, now) = (Book::new(DELAY), PeerId::random(), Instant::now());
        book.lost(&PeerId::random(), now);
        book.reached(peer, addr(1), now);
        let later = now + LATELY + DELAY;
        book.lost(&peer, later);
        assert_eq!(book.next_due(), None);
        book.asked(&peer, later);
        book.lost(&peer, later);
        assert!(book.next_due().is_some());
    }

    #[test]
    fn peers_and_addresses_are_bounded() {
        let (mut book, now) = (Book::new(DELAY), Instant::now());
        let first = PeerId::random();
        for port in 0..10 {
            book.reached(first, addr(port), now);
        }
        book.reached(first, addr(8), now);
        assert_eq!(book.asked(&first, now), [addr(8), addr(9), addr(7), addr(6)]);
        for second in 1..=MAX_PEERS as u64 {
            book.reached(PeerId::random(), addr(1), now + Duration::from_secs(second));
        }
        assert_eq!(book.peers.len(), MAX_PEERS);
        assert!(book.asked(&first, now).is_empty(), "it was asked for longest ago");
    }
}
