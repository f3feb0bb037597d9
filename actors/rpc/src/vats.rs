//! The vats of a node.
//!
//! All of them live on one arbiter, so that a capability that one cell serves can be handed to another.
//! Each vat is a task of that arbiter, owned by its cell: it ends when the guest closes its connection or
//! ends, and with it everything that the guest held. A vat that fails is logged, and harms no other.
//!
//! A client of the control socket, or a peer, has a vat as well. It owns what it starts, as a cell does, and that ends
//! with its connection.

use std::{io, rc::Rc, sync::Arc};

use actix::ArbiterHandle;
use capnp::message::ReaderOptions;
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty};
use futures::io::BufReader;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use ww_core::task;
use ww_executor::{Executor, Guest, GuestVat};
use ww_schema::peer_capnp;

use crate::{
    admin::StopNode,
    clients::Clients,
    context::Context,
    entitlement::Entitlement,
    host,
    load::{Bounds, Load},
    local,
    metered::Metered,
    network::Network,
    vat::{Delayed, Vat},
    watched,
};

/// Levels of pointers in one message: as deep as any schema here goes, with room.
const MAX_NESTING: i32 = 32;

/// The vats of one node.
#[derive(Clone)]
pub struct Vats {
    arbiter: ArbiterHandle,
    network: Arc<dyn Network>,
}

impl Vats {
    /// Vats that live on `arbiter` and whose `Host` speaks for `network`.
    pub fn new(arbiter: ArbiterHandle, network: Arc<dyn Network>) -> Self {
        Self { arbiter, network }
    }

    /// Serves a client until it closes its connection. What it starts ends with the connection. One for whom there is no
    /// place among `clients` is sent away.
    ///
    /// `open` gives the two directions of the connection, and is called on the thread of the vats: the runtime that a socket
    /// is made in waits for it, and if that were another one, each message would wake a thread that only wakes this one.
    pub fn serve_client<R, W>(
        &self,
        executor: &Executor,
        clients: &Clients,
        entitlement: Entitlement,
        stop: StopNode,
        open: impl FnOnce() -> io::Result<(R, W)> + Send + 'static,
    ) where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        let (network, executor, clients) = (Arc::clone(&self.network), executor.clone(), clients.clone());
        let vats = self.arbiter.clone();
        let served = self.arbiter.spawn_fn(move || {
            let serving = async move {
                let heard = Arc::default();
                let Some(place) = clients.admit(Arc::clone(&heard)) else {
                    tracing::warn!("a client was sent away: there are as many as there may be");
                    return;
                };
                let (reader, writer) = match open() {
                    Ok(ends) => ends,
                    Err(error) => return tracing::warn!(%error, "a client was sent away"),
                };
                let session = match clients.open_session(&executor, entitlement.limits.clone()).await {
                    Ok(session) => session,
                    Err(error) => return tracing::warn!(%error, "a client was sent away"),
                };
                let guest = Guest {
                    id: session.id(),
                    grants: entitlement.grants.clone(),
                    files: None,
                    account: session.account().clone(),
                    handed: None,
                };
                let client = session.id();
                let load = Rc::new(Load::new(entitlement.bounds(), session.account().clone()).telling(heard));
                tracing::debug!(%client, from = ?entitlement.origin, "a client connected");
                if entitlement.is_remote() {
                    load.when_over(move || session.lose());
                } else {
                    load.when_over(move || drop(session));
                }
                let context = Context::new(guest, network, executor, vats).of_client(Rc::new(entitlement));
                let bootstrap = local::client(context, stop).client;
                tokio::select! {
                    () = drive(reader, writer, bootstrap, client.get(), Rc::clone(&load)) => tracing::debug!(%client, "a client left"),
                    why = place.lost(&load) => tracing::debug!(%client, why, "a client was sent away"),
                }
            };
            // Ends with the connection.
            drop(task::spawn_local(task::Kind::detached("vat", "a client"), serving));
        });
        if !served {
            tracing::debug!("no vat for a client: the node is stopping");
        }
    }
}

impl GuestVat for Vats {
    fn serve(&self, executor: &Executor, guest: Guest, connection: ww_cell::Duplex) {
        let network = Arc::clone(&self.network);
        let executor = executor.clone();
        let (cell, vats) = (guest.id, self.arbiter.clone());
        let served = self.arbiter.spawn_fn(move || {
            let load = Rc::new(Load::new(Bounds::OWN, guest.account.clone()));
            let context = Context::new(guest, network, executor, vats).of_instance(connection.handling.clone());
            let bootstrap = host::client(context);
            // Ends with the connection, which ends with the guest.
            drop(task::spawn_local(task::Kind::detached("vat", cell), serve(connection, bootstrap, cell.get(), load)));
        });
        if !served {
            tracing::debug!(%cell, "no vat for a guest: the node is stopping");
        }
    }
}

/// Drives the vat of a guest until the connection ends.
async fn serve(connection: ww_cell::Duplex, bootstrap: peer_capnp::host::Client, cell: u64, load: Rc<Load>) {
    drive(connection.from_guest, connection.to_guest, bootstrap.client, cell, load).await;
}

/// Drives one vat until the connection ends.
pub(crate) async fn drive(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
    bootstrap: capnp::capability::Client,
    cell: u64,
    load: Rc<Load>,
) {
    let system = system((reader, writer), Side::Server, Some(bootstrap), cell, Rc::clone(&load));
    tokio::select! {
        ended = system => match ended {
            Ok(()) => tracing::trace!(cell, "a vat ended"),
            Err(error) => tracing::debug!(cell, %error, "a vat ended with an error"),
        },
        () = load.gone() => tracing::debug!(cell, "a vat ended, and nobody read its last words"),
    }
}

/// One end of a connection, on behalf of a cell or a client, within the bounds of its load.
pub(crate) fn system<W: AsyncWrite + Unpin + 'static>(
    (reader, writer): (impl AsyncRead + Unpin + 'static, W),
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
    cell: u64,
    load: Rc<Load>,
) -> Vat<Compat<W>> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(load.bounds.message_words)).nesting_limit(MAX_NESTING);
    // Outside the buffer, so that what is read is what belongs to a message.
    let reader = Metered::new(BufReader::new(reader.compat()), Rc::clone(&load));
    let writer = Delayed::new(writer.compat_write(), Rc::clone(&load));
    let network = twoparty::VatNetwork::new(reader, writer.clone(), side, options);
    Vat::new(RpcSystem::new(Box::new(watched::Network::new(network, cell, load)), bootstrap), writer)
}

#[cfg(test)]
mod tests;
