//! The peers that this node knows: what strangers share is not taken from them.
//!
//! A peer is named in the node's configuration, was dialled by the node, or is a stranger. A stranger cannot change
//! that by itself. Bounded are the dialled ones, by [`MAX_DIALLED`]; the named ones are the configuration's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use libp2p::PeerId;

/// Peers that the node has dialled and remembers as such, some 200 bytes each: twice its connections. The one that was
/// dialled longest ago is forgotten.
const MAX_DIALLED: usize = 1_024;

/// How well a peer is known. A later one counts for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// It came by itself.
    Stranger,
    /// The node dialled it.
    Dialled,
    /// The node's configuration names it, or it is the node itself.
    Named,
}

/// The peers that a node knows. Clones are the same.
#[derive(Clone)]
pub(crate) struct Acquaintances(Arc<Inner>);

struct Inner {
    named: BTreeSet<PeerId>,
    dialled: Mutex<Dialled>,
}

#[derive(Default)]
struct Dialled {
    /// When each was dialled last, in dials.
    peers: HashMap<PeerId, u64>,
    dials: u64,
}

impl Acquaintances {
    pub(crate) fn new(named: BTreeSet<PeerId>) -> Self {
        Self(Arc::new(Inner { named, dialled: Mutex::default() }))
    }

    /// How well a peer is known.
    pub(crate) fn standing(&self, peer: &PeerId) -> Standing {
        if self.0.named.contains(peer) {
            return Standing::Named;
        }
        let dialled = self.0.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        if dialled.peers.contains_key(peer) { Standing::Dialled } else { Standing::Stranger }
    }

    /// The node has dialled a peer, and it answered.
    pub(crate) fn dialled(&self, peer: PeerId) {
        let mut dialled = self.0.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        dialled.dials += 1;
        let now = dialled.dials;
        if dialled.peers.insert(peer, now).is_none() && dialled.peers.len() > MAX_DIALLED {
            let longest_ago = dialled.peers.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
            longest_ago.map(|peer| dialled.peers.remove(&peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialled_are_remembered_up_to_a_number() {
        let (named, first) = (PeerId::random(), PeerId::random());
        let known = Acquaintances::new([named].into());
        assert_eq!(known.standing(&first), Standing::Stranger);
        known.dialled(first);
        known.dialled(named);
        assert_eq!([first, named].map(|peer| known.standing(&peer)), [Standing::Dialled, Standing::Named]);
        for _ in 0..MAX_DIALLED {
            known.dialled(PeerId::random());
        }
        assert_eq!([first, named].map(|peer| known.standing(&peer)), [Standing::Stranger, Standing::Named]);
        assert_eq!(known.0.dialled.lock().unwrap().peers.len(), MAX_DIALLED);
    }
}
