//! The vats of clients, peers and guests, and of callers of another node, for fuzzing. No part of the interface.

use std::{
    future::pending,
    io::Cursor,
    rc::Rc,
    sync::{Arc, LazyLock},
};

use capnp::capability::FromClientHook;
use capnp_rpc::new_future_client;
use futures::{future::BoxFuture, join};
use tokio::{io::sink, sync::Semaphore, task::LocalSet, time::timeout};
use ww_cell::{Config, Runtime, Slot};
use ww_core::{
    Grants, Limits, Platform,
    fuzz::{SOON, given_back},
    grants::AdminMethod,
    task::{self, Task},
};
use ww_executor::{Executor, Guest};
use ww_schema::{cell_capnp::observer, peer_capnp};

use crate::{
    Dial, Dialled, Entitlement, Network, Opened, Outcome, Peer, Publication, Vats, Wire,
    context::Context,
    host,
    load::{Bounds, Load},
    local, remote,
    vats::drive,
};

/// A network in which there is nobody.
struct Nobody;

impl Network for Nobody {
    fn peer_id(&self) -> Vec<u8> {
        b"nobody".to_vec()
    }

    fn addrs(&self) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { Vec::new() })
    }

    fn peers(&self) -> BoxFuture<'_, Vec<Peer>> {
        Box::pin(async { Vec::new() })
    }

    fn connect(&self, _: Vec<u8>, _: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Err("nobody is there".into()) })
    }

    fn open_rpc(&self, _: Vec<u8>, _: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Wire, String>> {
        Box::pin(async { Err("nobody is there".into()) })
    }

    fn open(&self, opened: Opened) -> Task<Outcome> {
        let kind = task::Kind::owned("message", opened.from);
        task::spawn(HOUSE.threads.handle(), kind, async { Outcome::Refused("nobody is there".into()) })
    }

    fn publish(&self, _: Publication, _: &Slot) -> Result<(), String> {
        Err("nobody is there".into())
    }

    fn dial(&self, _: Dial, _: ww_core::Account) -> BoxFuture<'_, Result<Dialled, String>> {
        Box::pin(async { Err("nobody is there".into()) })
    }
}

/// What all runs share: threads and one executor.
struct House {
    threads: tokio::runtime::Runtime,
    executor: Executor,
    arbiter: actix::ArbiterHandle,
    _platform: Platform,
}

static HOUSE: LazyLock<House> = LazyLock::new(|| {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let threads = threads.expect("a runtime starts");
    let platform = Platform::start(threads.handle().clone()).expect("the threads start");
    let sandbox = Runtime::start(Config::default(), threads.handle().clone()).expect("the sandbox starts");
    let arbiter = platform.arbiter().expect("a thread starts");
    let vats = Vats::new(arbiter.clone(), Arc::new(Nobody));
    let executor = Executor::start(&platform.arbiter().expect("a thread starts"), sandbox, Arc::new(vats));
    House { threads, executor, arbiter, _platform: platform }
});

/// Feeds bytes to the vat of a client, which takes whatever comes and ends with it.
pub fn client(bytes: &[u8]) {
    visited(Entitlement::everything(Limits::default()), bytes);
}

/// Feeds bytes to the vat of a peer that is granted everything.
pub fn peer(bytes: &[u8]) {
    visited(Entitlement::of_peer(b"peer".to_vec(), Grants::all(), AdminMethod::ALL.into(), Limits::default()), bytes);
}

/// Feeds bytes to the vat of a guest that is granted everything.
pub fn guest(bytes: &[u8]) {
    within(Limits::default(), Grants::all(), bytes, |context, bytes, load| {
        drive(Cursor::new(bytes), sink(), host::client(context).client, 0, load)
    });
}

/// Feeds bytes to a vat of this node that calls another node: its answers, and what it calls itself.
pub fn callee(bytes: &[u8]) {
    within(Limits::default(), Grants::all(), bytes, |context, bytes, _| async move {
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is the only one");
        let wire: Wire = Box::new(tokio::io::join(Cursor::new(bytes), sink()));
        let other: peer_capnp::host::Client = remote::Node::start(wire, &context, place).cast_to();
        let executor = other.executor_request().send().pipeline.get_executor();
        let process = executor.run_bytes_request().send().pipeline.get_process();
        let observer: observer::Client = new_future_client(pending());
        let mut monitor = process.monitor_request();
        monitor.get().set_observer(observer);
        let mut grant = other.grant_request();
        grant.get().set_name("something");
        // Each is answered by something, or fails with the connection.
        let _ = join!(
            other.id_request().send().promise,
            other.peers_request().send().promise,
            executor.echo_request().send().promise,
            process.status_request().send().promise,
            process.wait_request().send().promise,
            grant.send().promise,
            monitor.send().promise,
        );
    });
}

/// A client or peer comes, says this and leaves.
fn visited(entitlement: Entitlement, bytes: &[u8]) {
    let (limits, grants) = (entitlement.limits.clone(), entitlement.grants.clone());
    within(limits, grants, bytes, |context, bytes, load| {
        let client = context.guest.id;
        let bootstrap = local::client(context.of_client(Rc::new(entitlement)), Arc::new(|| {})).client;
        drive(Cursor::new(bytes), sink(), bootstrap, client.get(), load)
    });
}

/// Holds a conversation on behalf of a principal, after which nothing may be held for that.
fn within<F: Future<Output = ()>>(
    limits: Limits,
    grants: Grants,
    bytes: &[u8],
    converse: impl FnOnce(Context, Vec<u8>, Rc<Load>) -> F,
) {
    let (house, bytes) = (&*HOUSE, bytes.to_vec());
    LocalSet::new().block_on(&house.threads, async move {
        let session = house.executor.open_session(limits).await.expect("the executor runs");
        let account = session.account().clone();
        let guest = Guest { id: session.id(), grants, files: None, account: account.clone(), handed: None };
        let load = Rc::new(Load::new(Bounds::OWN, account.clone()));
        let context = Context::new(guest, Arc::new(Nobody), house.executor.clone(), house.arbiter.clone());
        timeout(SOON, converse(context, bytes, load)).await.expect("a conversation ends with what is said");
        drop(session);
        given_back(&account).await;
    });
}
