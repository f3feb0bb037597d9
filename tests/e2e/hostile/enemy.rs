//! The hostile principal, and what it has: a way to the node, or only its addresses.

use std::{
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use capnp::Error;
use futures::future::LocalBoxFuture;
use tokio::net::UnixStream;
use ww_core::Platform;
use ww_net::{Multiaddr, PeerId, Protocol};
use ww_rpc::{
    Wire,
    client::{self, Connection, Local},
};
use ww_schema::{
    cell_capnp::spec,
    peer_capnp::{executor, host, process},
};

use crate::client::Client;

/// What somebody does to a node, again and again, until it is dropped.
pub(super) type Attack = Arc<dyn Fn(Rc<Enemy>) -> LocalBoxFuture<'static, ()> + Send + Sync>;

/// How somebody comes to a node.
#[derive(Clone)]
pub(super) enum Way {
    /// As a client of the control socket.
    Socket(PathBuf),
    /// As a peer.
    Peer(Client),
}

/// Somebody who means no good.
#[derive(Clone)]
pub(super) struct Enemy {
    pub(super) way: Way,
    /// The node, over TCP and QUIC.
    pub(super) places: Vec<(PeerId, Multiaddr)>,
    pub(super) platform: Arc<Platform>,
    /// How often it has done what it does.
    pub(super) blows: Arc<AtomicU64>,
}

/// What a cell may have: nothing but its own name and id, or all that the client has that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Nothing,
    Everything,
}

impl Enemy {
    /// Counts that the attack has come as far as it can.
    pub(super) fn struck(&self) {
        self.blows.fetch_add(1, Ordering::Relaxed);
    }

    /// A new connection of capabilities.
    pub(super) async fn open(&self) -> Option<Wire> {
        match &self.way {
            Way::Socket(path) => UnixStream::connect(path).await.ok().map(|stream| Box::new(stream) as Wire),
            Way::Peer(client) => client.open(Protocol::Rpc).await.ok().map(|stream| Box::new(stream) as Wire),
        }
    }

    /// A connection with a library at this end.
    pub(super) async fn connect(&self) -> (Connection, Local) {
        loop {
            // Too many at once are refused.
            let Some(wire) = self.open().await else {
                tokio::task::yield_now().await;
                continue;
            };
            let (reader, writer) = tokio::io::split(wire);
            return client::connect(reader, writer);
        }
    }

    /// As a peer.
    pub(super) fn peer(&self) -> &Client {
        match &self.way {
            Way::Peer(client) => client,
            Way::Socket(_) => panic!("the attack is for peers"),
        }
    }
}

pub(super) fn executor_of(host: &host::Client) -> executor::Client {
    host.executor_request().send().pipeline.get_executor()
}

/// The same executor for cells with little memory and a small account, with all grants of the caller or with none.
pub(super) fn narrowed(host: &host::Client, granted: Granted, held: u64, memory: u64) -> executor::Client {
    let mut request = host.narrow_request();
    request.get().init_cap().set_as_capability(executor_of(host).client.hook);
    let mut to = request.get().init_to();
    let mut limits = to.reborrow().init_limits();
    limits.set_held(held);
    limits.set_memory(memory);
    if granted == Granted::Nothing {
        // One reserved name that leaves none.
        to.reborrow().init_grants(1).set(0, "wetware:cell/self");
        let mut method = to.init_methods(1).get(0);
        method.set_interface(<executor::Client as capnp::traits::HasTypeId>::TYPE_ID);
        method.set_method(0);
    }
    capnp::capability::FromClientHook::new(request.send().pipeline.get_cap().as_cap())
}

/// Runs a program once.
pub(super) async fn run(executor: &executor::Client, wasm: &[u8]) -> Result<process::Client, Error> {
    let mut request = executor.run_bytes_request();
    request.get().set_wasm(wasm);
    request.send().promise.await?.get()?.get_process()
}

/// Starts a cell.
pub(super) async fn spawn(
    executor: &executor::Client,
    set: impl FnOnce(spec::Builder<'_>),
) -> Result<process::Client, Error> {
    let mut request = executor.spawn_request();
    set(request.get().init_spec());
    request.send().promise.await?.get()?.get_process()
}

/// Sends a message to a cell.
pub(super) async fn send(cell: &process::Client, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut request = cell.send_request();
    request.get().set_message(message);
    Ok(request.send().promise.await?.get()?.get_reply()?.to_vec())
}
