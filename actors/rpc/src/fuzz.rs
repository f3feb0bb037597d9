//! The vat of a client, for fuzzing. No part of the interface.

use std::{
    rc::Rc,
    sync::{Arc, LazyLock},
};

use futures::future::BoxFuture;
use tokio::{io::sink, task::LocalSet};
use ww_cell::{Config, Runtime, Slot};
use ww_core::{Limits, Platform};
use ww_executor::{Executor, Guest};

use crate::{
    Dial, Dialled, Entitlement, Network, Peer, Publication, Vats, Wire,
    context::Context,
    load::{Bounds, Load},
    local,
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
    let arbiter = platform.arbiter();
    let vats = Vats::new(arbiter.clone(), Arc::new(Nobody));
    let executor = Executor::start(&platform.arbiter(), sandbox, Arc::new(vats));
    House { threads, executor, arbiter, _platform: platform }
});

/// Feeds bytes to the vat of a client, which takes whatever comes and ends with it.
pub fn vat(bytes: &[u8]) {
    let (house, bytes) = (&*HOUSE, bytes.to_vec());
    LocalSet::new().block_on(&house.threads, async move {
        let session = house.executor.open_session(Limits::default()).await.expect("the executor runs");
        let entitlement = Entitlement::everything(Limits::default());
        let guest = Guest {
            id: session.id(),
            grants: entitlement.grants.clone(),
            files: None,
            account: session.account().clone(),
            handed: None,
        };
        let load = Rc::new(Load::new(Bounds::OWN, guest.account.clone()));
        let context = Context::new(guest, Arc::new(Nobody), house.executor.clone(), house.arbiter.clone());
        let context = context.of_client(Rc::new(entitlement));
        let bootstrap = local::client(context, Arc::new(|| {})).client;
        let reader = std::io::Cursor::new(bytes);
        drive(reader, sink(), bootstrap, session.id().get(), load).await;
    });
}
