//! What one client of a node gets: its part of `Host`, `Executor` and `Admin`, and the limits of what it starts.
//!
//! Whoever reaches the control socket gets everything, a peer what the node's configuration grants to its id.

use std::collections::BTreeSet;

use ww_cell::message::Sender;
use ww_core::{Grants, Limits, grants::AdminMethod};

use crate::load::{Bounds, DEFAULT_PEER_MESSAGE, MAX_PEER_MESSAGE, MIN_PEER_MESSAGE};

/// What one client gets. A method that is not in it answers `denied`.
#[derive(Clone, Debug)]
pub struct Entitlement {
    /// Its part of `Host` and `Executor`, of which the cells that it starts get no more.
    pub grants: Grants,
    /// Its part of `Admin`.
    pub admin: BTreeSet<AdminMethod>,
    /// What each cell that it starts gets at most, and all of them together.
    pub limits: Limits,
    /// Bytes of one message of it.
    pub(crate) max_message: usize,
    pub(crate) origin: Origin,
}

/// Where a client comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// This machine, over the control socket.
    Here,
    /// A peer with this id, over the network.
    Peer(Vec<u8>),
}

impl Entitlement {
    /// Everything, for a client of the control socket.
    pub fn everything(limits: Limits) -> Self {
        let max_message = MAX_PEER_MESSAGE;
        Self { grants: Grants::operator(), admin: AdminMethod::ALL.into(), limits, max_message, origin: Origin::Here }
    }

    /// Exactly this, for a peer with this id, as libp2p serialises it.
    pub fn of_peer(peer_id: Vec<u8>, grants: Grants, admin: BTreeSet<AdminMethod>, limits: Limits) -> Self {
        Self { grants, admin, limits, max_message: DEFAULT_PEER_MESSAGE, origin: Origin::Peer(peer_id) }
    }

    /// The same with messages of at most this many bytes, between [`MIN_PEER_MESSAGE`] and [`MAX_PEER_MESSAGE`].
    pub fn with_messages_of(self, bytes: usize) -> Self {
        Self { max_message: bytes.clamp(MIN_PEER_MESSAGE, MAX_PEER_MESSAGE), ..self }
    }

    /// How much it may have under way.
    pub(crate) fn bounds(&self) -> Bounds {
        let bounds = match self.origin {
            Origin::Here => Bounds::OWN,
            Origin::Peer(_) => Bounds::PEER,
        };
        bounds.with_messages_of(self.max_message)
    }

    /// As whom it sends messages.
    pub(crate) fn sender(&self) -> Sender {
        match &self.origin {
            Origin::Here => Sender::Host,
            Origin::Peer(id) => Sender::Peer(id.clone()),
        }
    }

    /// Whether its end is the loss of a connection, and not the end of a program on this machine.
    pub(crate) fn is_remote(&self) -> bool {
        self.origin != Origin::Here
    }
}
