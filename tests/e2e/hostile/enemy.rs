//! The hostile principal, and what it has: a way to the node, or only its addresses.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use capnp::{Error, ErrorKind};
use futures::future::{LocalBoxFuture, join_all};
use tokio::{net::UnixStream, runtime::Handle, time::sleep};
use ww_core::Platform;
use ww_net::{Multiaddr, Net, PeerId, Protocol};
use ww_rpc::{
    Wire,
    client::{self, Connection, Local},
};
use ww_schema::{
    cell_capnp::{spec, status},
    peer_capnp::{executor, host, process},
};

use crate::client::{Client, soon};

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
    /// How often the node has answered or refused what it does.
    pub(super) blows: Arc<AtomicU64>,
    /// The last error that it met.
    last: Arc<Mutex<Option<String>>>,
    /// Networks of its own, by their numbers.
    swarms: Arc<Mutex<HashMap<usize, Net>>>,
}

/// What a cell may have: nothing but its own name and id, or all that the client has that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted {
    Nothing,
    Everything,
}

impl Enemy {
    pub(super) fn new(way: Way, places: Vec<(PeerId, Multiaddr)>, platform: Arc<Platform>) -> Self {
        Self { way, places, platform, blows: Arc::default(), last: Arc::default(), swarms: Arc::default() }
    }

    /// Forgets what it did before.
    pub(super) fn begin(&self) {
        self.blows.store(0, Ordering::Relaxed);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Counts that the attack has arrived: the node has answered it, or refused it.
    pub(super) fn struck(&self) {
        self.blows.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps an error, which a test that fails shows.
    pub(super) fn failed(&self, error: impl fmt::Display) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    pub(super) fn last(&self) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().unwrap_or_else(|| "none".to_owned())
    }

    /// Counts an answer or a refusal. `false` where the cell or the connection has ended, which counts for nothing.
    pub(super) fn goes_on<T>(&self, answer: Result<T, Error>) -> bool {
        let over = answer.as_ref().is_err_and(is_over);
        if let Err(error) = answer {
            self.failed(error);
        }
        if !over {
            self.struck();
        }
        !over
    }

    /// Keeps a network until the next one with this number, or until it leaves.
    pub(super) fn keep(&self, number: usize, net: Net) {
        self.swarms.lock().unwrap_or_else(PoisonError::into_inner).insert(number, net);
    }

    /// Stops the networks that it still has.
    pub(super) fn leave(&self, runtime: &Handle) {
        let swarms = std::mem::take(&mut *self.swarms.lock().unwrap_or_else(PoisonError::into_inner));
        runtime.block_on(soon(join_all(swarms.values().map(Net::stop))));
    }

    /// A new connection of capabilities.
    pub(super) async fn open(&self) -> Option<Wire> {
        let opened = match &self.way {
            Way::Socket(path) => UnixStream::connect(path)
                .await
                .map(|stream| Box::new(stream) as Wire)
                .map_err(|error| error.to_string()),
            Way::Peer(client) => {
                let stream = client.open(Protocol::Rpc).await;
                stream.map(|stream| Box::new(stream) as Wire).map_err(|error| error.to_string())
            }
        };
        opened.inspect_err(|error| self.failed(error)).ok()
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

/// Whether a cell, or the connection to it, has ended.
fn is_over(error: &Error) -> bool {
    error.kind == ErrorKind::Disconnected || error.extra.contains("ended")
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

/// Waits until a cell has its memory, which it gets when it begins to run, or has ended.
pub(super) async fn begins(cell: &process::Client) -> Result<(), Error> {
    loop {
        let answer = cell.status_request().send().promise.await?;
        let status = answer.get()?.get_status()?;
        if status.get_memory() > 0 || matches!(status.get_state().which()?, status::state::Ended(_)) {
            return Ok(());
        }
        sleep(Duration::from_millis(1)).await;
    }
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
