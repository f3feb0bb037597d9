//! Cap'n Proto: one vat per connection of a guest, and the capability servers of a node.
//!
//! | file | concept |
//! |---|---|
//! | `vats` | the arbiter on which all vats of a node live, and how a connection becomes one |
//! | `clients`, `local`, `admin` | the clients of the control socket, and what they get |
//! | `entitlement` | what one client gets, here or over the network |
//! | `client` | the other end of that socket |
//! | `context` | what the servers of one cell share |
//! | `host`, `executor`, `program`, `process`, `exchange`, `byte_stream`, `registry`, `supervisor`, `watching` | one server per interface |
//! | `membrane` | capabilities that do less than what is behind them, and can be taken back |
//! | `remote` | capabilities of other nodes |
//! | `spec`, `exit_reason` | specs of cells and supervisors as they are read, exit reasons as they are written |
//! | `shelf` | what belongs to the thread of the vats: capabilities that cells were handed |
//! | `network` | what a `Host` needs to know of the network, implemented elsewhere |
//! | `vat` | one end of a connection, and when what it writes leaves |
//! | `watched`, `load`, `traced` | what passes through a vat: kept within bounds, and logged at level trace |
//! | `metered`, `sift`, `promises` | what comes: charged before it is read, judged before it is heard, never nested too deep |
//!
//! Capabilities are `!Send`: they never leave the arbiter. Everything that they reach beyond it is a handle.

mod admin;
mod byte_stream;
pub mod client;
mod clients;
mod context;
mod entitlement;
mod exchange;
mod executor;
mod exit_reason;
#[cfg(test)]
mod fixture;
#[doc(hidden)]
pub mod fuzz;
mod host;
mod load;
mod local;
mod membrane;
mod metered;
mod network;
mod process;
mod program;
mod promises;
mod registry;
mod remote;
mod shelf;
mod sift;
mod spec;
mod supervisor;
#[cfg(test)]
mod table;
mod traced;
mod vat;
mod vats;
mod watched;
mod watching;

pub use admin::StopNode;
pub use clients::{Clients, MAX_CLIENTS, MAX_OF_PEER};
pub use entitlement::Entitlement;
pub use executor::MAX_PROGRAM;
pub use load::{DEFAULT_PEER_MESSAGE, MAX_PEER_MESSAGE, MIN_PEER_MESSAGE};
pub use network::{Dial, Dialled, Duplex, Network, Opened, Outcome, Peer, Publication, Wire};
pub use vats::Vats;
