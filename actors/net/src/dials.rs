//! Attempts to reach peers.
//!
//! All who wait for the same peer share one [`Dial`]. Whoever joins with addresses that it has not tried starts one
//! more attempt beside the running ones; the first connection to the peer, from either side, serves everybody, and
//! the end of the last attempt fails everybody. An attempt ends as a whole when a stranger answers at one of its
//! addresses, so it is then repeated without that one.
//!
//! A state machine without a swarm and without a clock: the actor carries out what it says. Bounded are the addresses
//! and the waiters of a dial; the number of attempts is limited by the swarm.

use std::{
    collections::{HashMap, HashSet},
    error::Error as StdError,
    fmt,
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, TransportError,
    multiaddr::Protocol,
    swarm::{ConnectionId, DialError},
};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    admission::Exceeded,
    config::{DEFAULT_OUTBOUND_PER_PEER, MAX_ADDRS},
};

/// Callers that may wait for one peer: as many as may then have a stream to it.
const MAX_WAITERS: usize = DEFAULT_OUTBOUND_PER_PEER;

/// Addresses that one dial tries before it has ended: those of a few callers that know different ones.
const MAX_TRIED: usize = 4 * MAX_ADDRS;

/// Why a peer cannot be connected to.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address was given, and none is known.
    #[error("no address of the peer {peer} is known: give one, for example /ip4/192.0.2.7/tcp/2020")]
    NoAddresses {
        /// Who was to be reached.
        peer: PeerId,
    },
    /// The swarm is the program's, and so are its dials.
    #[error("the peer {peer} is not connected: the program that this node lives in dials, the node does not")]
    NotConnected {
        /// Who was to be reached.
        peer: PeerId,
    },
    /// More addresses were given than are tried.
    #[error("{given} addresses of the peer {peer} were given: at most {MAX_ADDRS} are tried, give the likeliest ones")]
    TooManyAddresses {
        /// Who was to be reached.
        peer: PeerId,
        /// How many addresses were given.
        given: usize,
    },
    /// An address names another peer than the one to reach.
    #[error("the address {addr} is not one of the peer {peer}, it names another one: correct either of them")]
    OtherPeer {
        /// Who was to be reached.
        peer: PeerId,
        /// The address.
        addr: Multiaddr,
    },
    /// Somebody else answered.
    #[error("expected the peer {expected} at {addr}, found {found}: ask the peer for its current id and address")]
    WrongPeer {
        /// Who was to be reached.
        expected: PeerId,
        /// Who answered.
        found: Box<PeerId>,
        /// Where.
        addr: Multiaddr,
    },
    /// No address led to the peer.
    #[error(
        "cannot reach the peer {peer} at {}: check that it runs, and that nothing on the way stops it",
        List(tried)
    )]
    Unreachable {
        /// Who was to be reached.
        peer: PeerId,
        /// What was tried.
        tried: Vec<Refusal>,
    },
    /// Nothing was decided in time.
    #[error(
        "the peer {peer} did not answer within {after:?}: check that it runs, and that nothing on the way stops it"
    )]
    Timeout {
        /// Who was to be reached.
        peer: PeerId,
        /// How long was waited.
        after: Duration,
    },
    /// A limit of this node.
    #[error("no connection to the peer {peer}, because this node has too many: try again later, or raise its limit")]
    Limit {
        /// Who was to be reached.
        peer: PeerId,
        /// Which limit.
        source: Exceeded,
    },
    /// Too many wait for this peer, or have named addresses of it.
    #[error("too many attempts to reach the peer {peer} at the same time: wait for one of them")]
    Busy {
        /// Who was to be reached.
        peer: PeerId,
    },
    /// The swarm has stopped.
    #[error("the network of this node has stopped")]
    Stopped,
}

/// An address that did not lead to its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The address.
    pub addr: Multiaddr,
    /// Why not, for a person.
    pub reason: String,
}

/// Where the outcome for one caller arrives.
pub(crate) type Outcome = oneshot::Receiver<Result<(), ConnectError>>;

/// The dials of a node.
#[derive(Default)]
pub(crate) struct Dials(HashMap<PeerId, Dial>);

#[derive(Default)]
struct Dial {
    waiters: Vec<oneshot::Sender<Result<(), ConnectError>>>,
    attempts: HashMap<ConnectionId, Attempt>,
    tried: HashSet<Multiaddr>,
    refusals: Vec<Refusal>,
    /// What to answer rather than the refusals: the first thing that says more than "unreachable".
    verdict: Option<ConnectError>,
}

/// One attempt: addresses that the swarm tries at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) addrs: Vec<Multiaddr>,
    /// Whether discovered addresses are tried as well. Only the first attempt for an address does, so that a repeated
    /// one has less to try.
    pub(crate) discovered: bool,
}

/// Checks addresses of a peer, and takes its id off their ends.
pub(crate) fn checked(peer: PeerId, addrs: Vec<Multiaddr>) -> Result<Vec<Multiaddr>, ConnectError> {
    if addrs.len() > MAX_ADDRS {
        return Err(ConnectError::TooManyAddresses { peer, given: addrs.len() });
    }
    let bare = |addr: Multiaddr| match addr.iter().last() {
        Some(Protocol::P2p(id)) if id != peer => Err(ConnectError::OtherPeer { peer, addr }),
        _ => Ok(without_peer(addr)),
    };
    addrs.into_iter().map(bare).collect()
}

/// An address without the id of the peer at its end.
pub(crate) fn without_peer(mut addr: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = addr.iter().last() {
        addr.pop();
    }
    addr
}

impl Dials {
    /// Joins the dial of a peer. The attempt, if any, is to be begun.
    pub(crate) fn join(
        &mut self,
        peer: PeerId,
        mut addrs: Vec<Multiaddr>,
    ) -> Result<(Outcome, Option<Attempt>), ConnectError> {
        let dial = self.0.entry(peer).or_default();
        dial.waiters.retain(|waiter| !waiter.is_closed());
        let mut seen = HashSet::new();
        addrs.retain(|addr| !dial.tried.contains(addr) && seen.insert(addr.clone()));
        if dial.waiters.len() == MAX_WAITERS || dial.tried.len() + addrs.len() > MAX_TRIED {
            return Err(ConnectError::Busy { peer });
        }
        dial.tried.extend(seen);
        let (tx, rx) = oneshot::channel();
        dial.waiters.push(tx);
        let needed = !addrs.is_empty() || dial.attempts.is_empty();
        Ok((rx, needed.then_some(Attempt { addrs, discovered: true })))
    }

    /// An attempt has begun.
    pub(crate) fn began(&mut self, peer: PeerId, id: ConnectionId, attempt: Attempt) {
        self.0.entry(peer).or_default().attempts.insert(id, attempt);
    }

    /// The peer is connected.
    pub(crate) fn connected(&mut self, peer: &PeerId) {
        if let Some(dial) = self.0.remove(peer) {
            dial.answer(&Ok(()));
        }
    }

    /// An attempt has failed. The one that is returned, if any, is to be begun in its place.
    pub(crate) fn failed(&mut self, peer: PeerId, id: ConnectionId, error: DialError) -> Option<Attempt> {
        let dial = self.0.get_mut(&peer)?;
        let attempt = dial.attempts.remove(&id)?;
        if let Some(again) = dial.note(peer, attempt, error) {
            return Some(again);
        }
        if dial.attempts.is_empty() {
            let dial = self.0.remove(&peer)?;
            let verdict = dial.verdict.clone();
            let tried = dial.refusals.clone();
            dial.answer(&Err(verdict.unwrap_or(ConnectError::Unreachable { peer, tried })));
        }
        None
    }

    /// Whether a peer is being dialled.
    pub(crate) fn is_under_way(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    /// Nobody will be connected to any more.
    pub(crate) fn stop(&mut self) {
        for (_, dial) in self.0.drain() {
            dial.answer(&Err(ConnectError::Stopped));
        }
    }
}

impl Dial {
    fn note(&mut self, peer: PeerId, attempt: Attempt, error: DialError) -> Option<Attempt> {
        match error {
            DialError::WrongPeerId { obtained: found, address } => {
                let addr = without_peer(address);
                tracing::debug!(%peer, %found, %addr, "another peer answered");
                let mut addrs = attempt.addrs;
                let before = addrs.len();
                addrs.retain(|other| *other != addr);
                let again = !addrs.is_empty() && (addrs.len() < before || attempt.discovered);
                self.verdict.get_or_insert(ConnectError::WrongPeer { expected: peer, found: Box::new(found), addr });
                return again.then_some(Attempt { addrs, discovered: false });
            }
            DialError::Denied { cause } => match cause.downcast::<Exceeded>() {
                Ok(source) => drop(self.verdict.get_or_insert(ConnectError::Limit { peer, source })),
                Err(cause) => self.refuse(attempt.addrs, &chain(&cause)),
            },
            DialError::NoAddresses if attempt.addrs.is_empty() => {
                self.verdict.get_or_insert(ConnectError::NoAddresses { peer });
            }
            DialError::NoAddresses => self.refuse(attempt.addrs, "this node itself listens there"),
            DialError::Transport(refusals) => {
                for (addr, error) in refusals {
                    match error {
                        TransportError::MultiaddrNotSupported(_) => {
                            self.refuse(vec![addr], "no transport understands such an address");
                        }
                        TransportError::Other(error) => self.refuse(vec![addr], &chain(&error)),
                    }
                }
            }
            error @ (DialError::LocalPeerId { .. } | DialError::DialPeerConditionFalse(_) | DialError::Aborted) => {
                self.refuse(attempt.addrs, &chain(&error));
            }
        }
        None
    }

    fn refuse(&mut self, addrs: Vec<Multiaddr>, reason: &str) {
        self.refusals
            .extend(addrs.into_iter().map(|addr| Refusal { addr: without_peer(addr), reason: reason.to_owned() }));
    }

    fn answer(self, outcome: &Result<(), ConnectError>) {
        for waiter in self.waiters {
            if waiter.send(outcome.clone()).is_err() {
                tracing::trace!("a caller has stopped waiting for a peer");
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.addr, self.reason)
    }
}

/// Refusals, one after the other.
struct List<'a>(&'a [Refusal]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("any address");
        }
        self.0.iter().enumerate().try_for_each(|(at, refusal)| {
            f.write_str(if at == 0 { "" } else { ", " })?;
            refusal.fmt(f)
        })
    }
}

/// An error and its sources in one line. Transports wrap errors that then say the same again, which is left out.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    // The resolver lists what it has tried below a heading, a line each.
    match text.split_once(":\n - ") {
        Some((_, list)) => list.replace("\n - ", "; "),
        None => text,
    }
}

#[cfg(test)]
mod tests;
