//! Capabilities of another node, as the cells and clients of this one hold them.
//!
//! | file | concept |
//! |---|---|
//! | `nodes` | the server of `Nodes`: how a connection to another node begins |
//! | `proxy` | one capability of another node, as it is handed on here |
//! | `watched` | a `Monitor` of a process there, that is told when the connection is lost |
//! | `ties` | links between processes of two nodes |
//!
//! Whoever asks for a connection has it for itself: what it starts there ends with the connection. The connection lasts as
//! long as somebody holds a capability that came over it, through [`Proxy`]s that keep it. When it is lost, whoever waits
//! for, monitors, or is linked to a process there learns `no-connection`; all other calls fail as those on a connection
//! that broke do.

use std::rc::{Rc, Weak};

use capnp::capability::{Client, FromClientHook};
use capnp_rpc::rpc_twoparty_capnp::Side;
use tokio::sync::{OwnedSemaphorePermit, watch};
use ww_cell::Directory;
use ww_core::task::{self, Task};
use ww_schema::grant_capnp::neighbour;

use crate::{
    context::Context,
    load::{Bounds, Load},
    network::Wire,
    vats,
};

pub(crate) mod nodes;
mod proxy;
pub(crate) mod ties;
mod watched;

pub(crate) use proxy::Proxy;
use ties::Ties;

/// A connection to another node.
pub(crate) struct Node {
    /// Identifies the capabilities that came over it.
    brand: usize,
    /// What the other node does for this one, whatever it grants to it.
    neighbour: neighbour::Client,
    lost: watch::Receiver<bool>,
    directory: Directory,
    /// Those of whoever asked for the connection.
    ties: Weak<Ties>,
    /// Ends the connection.
    _driving: Task<()>,
    _place: OwnedSemaphorePermit,
}

impl Node {
    /// Begins a conversation with another node: what that grants to this one.
    pub(crate) fn start(wire: Wire, context: &Context, place: OwnedSemaphorePermit) -> Client {
        let asking = context.guest.id;
        let load = Rc::new(Load::new(Bounds::PEER, context.guest.account.clone()));
        let mut system = vats::system(tokio::io::split(wire), Side::Client, None, asking.get(), Rc::clone(&load));
        let bootstrap: Client = system.bootstrap(Side::Server);
        let (tx, lost) = watch::channel(false);
        let driving = async move {
            tokio::select! {
                ended = system => tracing::debug!(cell = %asking, ?ended, "a connection to another node has ended"),
                () = load.gone() => tracing::debug!(cell = %asking, "a connection to another node is lost"),
            }
            tx.send_replace(true);
        };
        let node = Rc::new(Self {
            brand: bootstrap.hook.get_brand(),
            neighbour: bootstrap.clone().cast_to(),
            lost,
            directory: context.executor.directory().clone(),
            ties: Rc::downgrade(&context.ties),
            _driving: task::spawn_local(task::Kind::owned("node", asking), driving),
            _place: place,
        });
        Proxy::client(&node, bootstrap)
    }

    pub(crate) fn neighbour(&self) -> &neighbour::Client {
        &self.neighbour
    }

    /// Returns when the connection is lost. Does not keep it.
    fn lost(&self) -> impl Future<Output = ()> + use<> {
        let mut lost = self.lost.clone();
        async move {
            // An error says that it is given up, which nobody is left to learn.
            let _ = lost.wait_for(|lost| *lost).await;
        }
    }
}

#[cfg(test)]
mod tests;
