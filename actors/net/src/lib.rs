//! The network of a node: its identity, and the libp2p swarm as an actor.
//!
//! | file | what |
//! |---|---|
//! | [`identity`] | the key that names the node, and the file that keeps it |
//! | [`config`] | where the swarm listens, and every limit |
//! | [`net`] | the handle: what the rest of the node asks of the swarm |
//! | `admission` | which connections are open at the same time, and which make room |
//! | `arrivals` | connections of others that have not proven yet who they are |
//! | `muxer` | what a connection may hold before anybody has accepted anything |
//! | `origin`, `standing` | where a connection comes from, and how well its peer is known |
//! | `counts` | how many connections were refused, or made room |
//! | `swarm` | the actor that owns the swarm |
//! | `dials` | attempts to reach peers, shared by all who wait for the same one |
//! | `book` | addresses at which peers were reached, and when to try them again |
//! | `streams` | streams from and to other nodes, by protocol name, with their limits |
//! | [`call`] | the framed protocol on a stream: a message and its reply, each whole or torn |
//! | `listen` | whether an address can be listened on, and what to tell if not |
//! | `behaviour` | the protocols that the swarm speaks, and its transports |
//!
//! This crate knows no cell, no schema and no name of either: it knows peers, addresses, connections and streams.

mod admission;
mod arrivals;
mod behaviour;
mod book;
pub mod call;
pub mod config;
mod counts;
mod dials;
#[cfg(test)]
mod fixture;
#[doc(hidden)]
pub mod fuzz;
pub mod identity;
mod listen;
mod muxer;
pub mod net;
mod origin;
mod standing;
mod streams;
mod swarm;

pub use admission::Exceeded;
pub use config::{Config, StreamLimits};
pub use counts::ConnectionCounts;
pub use dials::{ConnectError, Refusal};
pub use identity::Identity;
pub use libp2p::{Multiaddr, PeerId, multiaddr};
pub use net::{Net, PeerInfo};
pub use origin::Origin;
pub use streams::{
    behaviour::Behaviour,
    ledger::StreamCounts,
    open::OpenError,
    protocol::Protocol,
    published::{AcceptError, Audience, Incoming, IncomingStream},
    stream::Stream,
};
pub use swarm::StartError;
