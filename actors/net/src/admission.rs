//! Which connections are open at the same time.
//!
//! Strangers together, those from one address, dialled peers, and each peer have bounds of their own; what these leave
//! of all connections is for the peers that the configuration names. A connection that finds no place takes that of the
//! one that has been idle longest among those that share the bound: one whose peer has no stream on which something was
//! said, and none of this node's. A connection at work makes no room, with one exception: where all places of strangers
//! are taken by connections at work, an address with more than [`SHARE`] of them, or [`QUIC_SHARE`] of QUIC, gives one to an
//! address with less.
//!
//! Bounded are connections ([`Limits`]), dials, and those that are closed and not gone yet ([`MAX_LEAVING`]).

use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    fmt,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

use crate::{
    config::Limits,
    counts::{ConnectionCounts, Refusals},
    origin::Origin,
    standing::{Acquaintances, Standing},
    streams::ledger::Ledger,
};

/// Connections that were closed to make room and are not gone yet. Each is for milliseconds, or until its peer is given
/// up within [`CLOSE_TIMEOUT`](crate::config::CLOSE_TIMEOUT); meanwhile it costs what an open one does.
const MAX_LEAVING: usize = 128;

/// Connections at work that an address of strangers keeps even where others find no place: those of a program that is
/// reached over both transports. So as many addresses as half of all places find one.
const SHARE: usize = 2;

/// The same of connections over QUIC, of which there are few: as many addresses as places find one.
const QUIC_SHARE: usize = 1;

/// Dials to peers that the configuration names, beside those to others that are under way at the same time: those of a
/// few supervisors.
const NAMED_DIALS: usize = 8;

/// A limit of connections of this node that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    limit: usize,
    what: Bound,
}

/// What a limit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Peer,
    Address,
    Strangers,
    Dialled,
    All,
    Leaving,
    Dials,
}

/// The behaviour that admits connections and closes idle ones. To be the first of a swarm's.
pub(crate) struct Admission {
    limits: Limits,
    known: Acquaintances,
    ledger: Ledger,
    refusals: Refusals,
    open: HashMap<ConnectionId, Open>,
    dials: HashSet<ConnectionId>,
    /// Connections to be closed.
    closing: VecDeque<(PeerId, ConnectionId)>,
    /// Connections that were admitted.
    admitted: u64,
}

/// One connection.
struct Open {
    peer: PeerId,
    origin: Origin,
    standing: Standing,
    /// That it is one of QUIC.
    quic: bool,
    /// How many were admitted before.
    number: u64,
    /// That it makes room.
    leaving: bool,
}

impl Admission {
    pub(crate) fn new(limits: Limits, known: Acquaintances, ledger: Ledger, refusals: Refusals) -> Self {
        let (open, dials, closing) = Default::default();
        Self { limits, known, ledger, refusals, open, dials, closing, admitted: 0 }
    }

    /// Takes a place for a connection, in the place of an idle one if need be.
    fn admit(&mut self, id: ConnectionId, peer: PeerId, standing: Standing, addr: &Multiaddr) -> Result<(), Exceeded> {
        let Limits { connections, strangers, dialled, per_address, per_peer, .. } = self.limits;
        let Limits { quic_strangers, quic_per_address, .. } = self.limits;
        let (origin, quic) = (Origin::of(addr), addr.iter().any(|part| part == Protocol::QuicV1));
        self.make_room(per_peer, Bound::Peer, |open| open.peer == peer)?;
        match standing {
            Standing::Stranger => {
                let is_stranger = |open: &Open| open.standing == Standing::Stranger;
                self.make_room(per_address, Bound::Address, |open| is_stranger(open) && open.origin == origin)?;
                if quic {
                    let same = |open: &Open| is_stranger(open) && open.quic;
                    self.make_room(quic_per_address, Bound::Address, |open| same(open) && open.origin == origin)?;
                    self.make_room(quic_strangers, Bound::Strangers, same)
                        .or_else(|full| self.share(origin, quic, full))?;
                }
                self.make_room(strangers, Bound::Strangers, is_stranger)
                    .or_else(|full| self.share(origin, false, full))?;
            }
            Standing::Dialled => self.make_room(dialled, Bound::Dialled, |open| open.standing == standing)?,
            Standing::Named => {}
        }
        if self.count(|_| true) >= connections as usize {
            // The least known give way first.
            let idle = self.longest_idle(|open| open.standing <= standing);
            self.displace(idle, connections, Bound::All)?;
        }
        if standing < Standing::Named && self.open.values().filter(|open| open.leaving).count() > MAX_LEAVING {
            return Err(self.refuse(MAX_LEAVING, Bound::Leaving));
        }
        self.admitted += 1;
        self.open.insert(id, Open { peer, origin, standing, quic, number: self.admitted, leaving: false });
        Ok(())
    }

    /// Sees to it that one more fits in below a limit, of those that it is for.
    fn make_room(&mut self, limit: u32, what: Bound, shares: impl Fn(&Open) -> bool) -> Result<(), Exceeded> {
        if self.count(&shares) < limit as usize {
            return Ok(());
        }
        let idle = self.longest_idle(shares);
        self.displace(idle, limit, what)
    }

    /// Has the stranger from another address make room that came first, where many are from there and few from `origin`.
    fn share(&mut self, origin: Origin, quic: bool, full: Exceeded) -> Result<(), Exceeded> {
        let is_meant = |open: &Open| open.standing == Standing::Stranger && (open.quic || !quic);
        let mut origins = HashMap::<Origin, usize>::new();
        for (_, open) in self.staying().filter(|(_, open)| is_meant(open)) {
            *origins.entry(open.origin).or_default() += 1;
        }
        let own = origins.get(&origin).copied().unwrap_or_default();
        let most = origins.into_iter().max_by_key(|(_, count)| *count);
        let share = if quic { QUIC_SHARE } else { SHARE };
        let Some((most, _)) = most.filter(|(_, count)| *count > share.max(own + 1)) else { return Err(full) };
        let meant = self.staying().filter(|(_, open)| is_meant(open) && open.origin == most);
        let first = meant.min_by_key(|(_, open)| open.number).map(|(id, _)| *id);
        self.refusals.count(|counts| &mut counts.over_share);
        first.map(|id| self.close(id)).ok_or(full)
    }

    /// The connection that has been idle longest of those that are meant; of the least known ones, where these differ.
    fn longest_idle(&self, is_meant: impl Fn(&Open) -> bool) -> Option<ConnectionId> {
        let meant = self.staying().filter(|(_, open)| is_meant(open));
        let idle = meant.filter_map(|(id, open)| {
            let activity = self.ledger.activity(&open.peer);
            (!activity.at_work).then_some((open.standing, activity.last, open.number, *id))
        });
        idle.min_by_key(|(standing, last, number, _)| (*standing, *last, *number)).map(|(.., id)| id)
    }

    fn displace(&mut self, idle: Option<ConnectionId>, limit: u32, what: Bound) -> Result<(), Exceeded> {
        let Some(id) = idle else { return Err(self.refuse(limit as usize, what)) };
        self.refusals.count(|counts| &mut counts.made_room);
        self.close(id);
        Ok(())
    }

    fn close(&mut self, id: ConnectionId) {
        if let Some(open) = self.open.get_mut(&id) {
            tracing::debug!(peer = %open.peer, "a connection makes room for another one");
            open.leaving = true;
            self.closing.push_back((open.peer, id));
        }
    }

    fn refuse(&self, limit: usize, what: Bound) -> Exceeded {
        self.refusals.count(|counts: &mut ConnectionCounts| match what {
            Bound::Peer => &mut counts.refused_by_peer,
            Bound::Address => &mut counts.refused_by_address,
            Bound::Strangers => &mut counts.refused_strangers,
            Bound::Dialled | Bound::All | Bound::Leaving | Bound::Dials => &mut counts.refused_by_node,
        });
        Exceeded { limit, what }
    }

    fn staying(&self) -> impl Iterator<Item = (&ConnectionId, &Open)> {
        self.open.iter().filter(|(_, open)| !open.leaving)
    }

    fn count(&self, is_meant: impl Fn(&Open) -> bool) -> usize {
        self.staying().filter(|(_, open)| is_meant(open)).count()
    }

    fn forget(&mut self, id: ConnectionId) {
        self.open.remove(&id);
        self.dials.remove(&id);
    }
}

impl NetworkBehaviour for Admission {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let standing = self.known.standing(&peer);
        self.admit(id, peer, standing, remote).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let named = peer.is_some_and(|peer| self.known.standing(&peer) == Standing::Named);
        let limit = self.limits.pending_outgoing as usize;
        let limit = if named && limit > 0 { limit + NAMED_DIALS } else { limit };
        if self.dials.len() >= limit {
            return Err(ConnectionDenied::new(self.refuse(limit, Bound::Dials)));
        }
        self.dials.insert(id);
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.dials.remove(&id);
        self.known.dialled(peer);
        let standing = self.known.standing(&peer);
        self.admit(id, peer, standing, addr).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.forget(closed.connection_id),
            FromSwarm::DialFailure(failure) => self.forget(failure.connection_id),
            FromSwarm::ListenFailure(failure) => self.forget(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // Asked after each event, and nothing but an event adds to it.
        match self.closing.pop_front() {
            Some((peer_id, id)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
            }
            None => Poll::Pending,
        }
    }
}

impl Exceeded {
    /// How many there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Bound::Peer => "connections at work to one peer",
            Bound::Address => "connections at work of strangers from one address",
            Bound::Strangers => "connections at work of strangers",
            Bound::Dialled => "connections at work to dialled peers",
            Bound::All => "connections at work",
            Bound::Leaving => "connections that are being closed",
            Bound::Dials => "dials at the same time",
        };
        write!(f, "at most {} {what} are allowed", self.limit)
    }
}

impl std::error::Error for Exceeded {}

#[cfg(test)]
mod tests;
