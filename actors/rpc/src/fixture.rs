//! A node for tests of capabilities: real cells and vats, a network that is made up, and a client at the other end.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use capnp::{Error, message::ReaderOptions};
use capnp_rpc::{RpcSystem, rpc_twoparty_capnp::Side, twoparty};
use futures::future::BoxFuture;
use tokio::{sync::oneshot, task::LocalSet};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};
use ww_cell::{Duplex, Runtime, pipe};
use ww_core::{Account, Grants, Limits, Platform, grants::AdminMethod, task};
use ww_executor::{Executor, Guest, GuestVat, Handed, Owner, Process, Spec, Streams};
use ww_schema::peer_capnp::{byte_stream, executor, host, process};

use crate::{
    Clients, Dial, Dialled, Entitlement, Network, Opened, Outcome, Peer, Publication, Vats, Wire,
    client::Connection,
    client::Local,
    context::Context,
    exchange, host as server,
    load::{Bounds, Load},
};

pub(crate) mod calls;

/// Copies stdin to stdout until the end.
pub(crate) const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (loop $more
            (i32.store (i32.const 0) (i32.const 64))
            (i32.store (i32.const 4) (i32.const 10000))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
            (i32.store (i32.const 4) (i32.load (i32.const 16)))
            (if (i32.eqz (i32.load (i32.const 16))) (then (return)))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
            (br $more))))"#;

/// Computes until it is stopped.
pub(crate) const SPIN: &str = r#"(module (memory (export "memory") 1) (func (export "_start") (loop (br 0))))"#;

/// Writes `out` and `oops`, and exits with 3.
pub(crate) const COMPLAIN: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 64) "out")
    (data (i32.const 80) "oops")
    (func $put (param $fd i32) (param $at i32) (param $len i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $len))
        (drop (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 16))))
    (func (export "_start")
        (call $put (i32.const 1) (i32.const 64) (i32.const 3))
        (call $put (i32.const 2) (i32.const 80) (i32.const 4))
        (call $exit (i32.const 3))))"#;

/// Answers messages, by their first byte: `t` traps, `s` computes until it is stopped, `n` is answered with the number of
/// the message in the life of the instance, a digit; all else with itself.
pub(crate) const ACTOR: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (global $count (mut i32) (i32.const 48))
    (func $is (param i32) (result i32) (i32.eq (i32.load8_u (i32.const 64)) (local.get 0)))
    (func (export "poll")
        (global.set $count (i32.add (global.get $count) (i32.const 1)))
        (i32.store (i32.const 0) (i32.const 64))
        (i32.store (i32.const 4) (i32.const 1000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
        (i32.store (i32.const 4) (i32.load (i32.const 16)))
        (if (call $is (i32.const 116)) (then (unreachable)))
        (if (call $is (i32.const 115)) (then (loop (br 0))))
        (if (call $is (i32.const 110)) (then (i32.store8 (i32.const 64) (global.get $count))))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// Longer than anything here takes on a busy machine: what is still missing then will never come.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes far too long")
}

/// An error of a call, to be compared.
#[derive(Debug, PartialEq)]
pub(crate) struct Failed {
    pub(crate) kind: capnp::ErrorKind,
    pub(crate) extra: String,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { kind: error.kind, extra: error.extra }
    }
}

/// Runs a test that holds capabilities.
pub(crate) fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    LocalSet::new().block_on(&runtime, test)
}

/// The peers that were asked for, each with its addresses.
type Asked = Arc<Mutex<Vec<(Vec<u8>, Vec<Vec<u8>>)>>>;

/// What carries the connections to other nodes.
#[derive(Default)]
pub(crate) struct Carriers {
    tasks: Mutex<Vec<task::Task<()>>>,
    /// Nothing is carried any more.
    stalled: AtomicBool,
}

type Wires = Arc<Carriers>;

/// A network that is made up. It refuses to connect to anybody but `friend`, and tells when nobody holds it any more.
pub(crate) struct FakeNetwork {
    asked: Asked,
    wires: Wires,
    /// What the node of `friend` grants.
    friend: Grants,
    gone: Option<oneshot::Sender<()>>,
}

impl Network for FakeNetwork {
    fn peer_id(&self) -> Vec<u8> {
        b"me".to_vec()
    }

    fn addrs(&self) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { vec![b"here".to_vec(), Vec::new(), b"there".to_vec()] })
    }

    fn peers(&self) -> BoxFuture<'_, Vec<Peer>> {
        Box::pin(async {
            vec![
                Peer { peer_id: b"friend".to_vec(), addrs: vec![b"a".to_vec(), b"b".to_vec()] },
                Peer { peer_id: b"lonely".to_vec(), addrs: Vec::new() },
            ]
        })
    }

    fn connect(&self, peer_id: Vec<u8>, addrs: Vec<Vec<u8>>) -> BoxFuture<'_, Result<(), String>> {
        self.asked.lock().expect("no panic").push((peer_id.clone(), addrs));
        Box::pin(async move {
            tokio::task::yield_now().await;
            if peer_id == b"friend" { Ok(()) } else { Err("nobody answers at any address".into()) }
        })
    }

    /// The node of `friend` is another one with the same cells, whose `Host` does everything unless a test says less; that of
    /// `overseer` shows all of its cells besides; that of `older` has a `Host` that does everything, and nothing besides.
    fn open_rpc(&self, peer_id: Vec<u8>, _: Vec<Vec<u8>>) -> BoxFuture<'_, Result<Wire, String>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let (network, ..) = network();
            let (network, theirs) = (Arc::new(network), tokio::io::split(theirs));
            let (executor, vats) = (&house().executor, house().vats.clone());
            match &*peer_id {
                b"friend" | b"overseer" => {
                    let granted = self.friend.clone();
                    let all_cells = peer_id == b"overseer";
                    let admin = all_cells.then_some(AdminMethod::Process).into_iter().collect();
                    let entitlement = Entitlement::of_peer(peer_id, granted, admin, Limits::default());
                    let clients = Clients::default();
                    Vats::new(vats, network)
                        .serve_client(executor, &clients, entitlement, Arc::new(|| {}), || Ok(theirs));
                }
                b"older" => {
                    let id = executor.directory().next_id();
                    let account = Account::unlimited();
                    let guest = Guest { id, grants: Grants::all(), files: None, account, handed: None };
                    house().vats.spawn_fn(move || {
                        let load = Rc::new(Load::new(Bounds::PEER, guest.account.clone()));
                        let host = server::client(Context::new(guest, network, executor.clone(), vats));
                        let served = crate::vats::drive(theirs.0, theirs.1, host.client, 0, load);
                        drop(task::spawn_local(task::Kind::detached("vat", "a test"), served));
                    });
                }
                _ => return Err("nobody answers at any address".into()),
            }
            let (mut far, near) = tokio::io::duplex(1 << 16);
            let kind = task::Kind::owned("wire", "a test");
            let (mut ours, wires) = (ours, Arc::clone(&self.wires));
            let wire = task::spawn(house().platform.runtime(), kind, async move {
                let mut carried = pin!(tokio::io::copy_bidirectional(&mut far, &mut ours));
                let _ = poll_fn(|cx| match wires.stalled.load(Ordering::Relaxed) {
                    true => Poll::Pending,
                    false => carried.as_mut().poll(cx),
                })
                .await;
            });
            self.wires.tasks.lock().expect("no panic").push(wire);
            Ok(Box::new(near) as Wire)
        })
    }

    /// Straight into the mailbox.
    fn open(&self, opened: Opened) -> task::Task<Outcome> {
        let Opened { from, cell, envelope, request, reply, .. } = opened;
        task::spawn(house().platform.runtime(), task::Kind::owned("message", from), async move {
            exchange::outcome(cell.process_message(envelope, request, reply).await)
        })
    }

    /// Anything but `taken` can be published.
    fn publish(&self, publication: Publication, _: &ww_cell::Slot) -> Result<(), String> {
        if publication.name.as_str() == "taken" { Err("the name is taken".into()) } else { Ok(()) }
    }

    /// The cell `echo` of `friend` answers with the request, in capitals; any other name ends with the reason that it
    /// is, or fails.
    fn dial(&self, dial: Dial, payer: ww_core::Account) -> BoxFuture<'_, Result<Dialled, String>> {
        self.asked.lock().expect("no panic").push((dial.peer_id.clone(), dial.addrs));
        Box::pin(async move {
            if dial.peer_id != b"friend" {
                return Err("nobody answers at any address".into());
            }
            let (request, guest_request) = pipe::charged(pipe::CAPACITY, &payer);
            let (guest_reply, reply) = pipe::charged(pipe::CAPACITY, &payer);
            let kind = task::Kind::owned("dial", dial.from);
            let outcome = task::spawn(house().platform.runtime(), kind, async move {
                loop {
                    match guest_request.read(usize::MAX).await {
                        Ok(bytes) if bytes.is_empty() => break,
                        Ok(bytes) => guest_reply.write_all(&bytes.to_ascii_uppercase()).await.expect("it reads"),
                        Err(error) => return Outcome::Refused(error.to_string()),
                    }
                }
                match dial.name.as_str() {
                    "echo" => Outcome::Ok,
                    "killed" => Outcome::Ended(ww_core::exit::Reason::Killed),
                    other => Outcome::Failed(format!("{other} within {:?}", dial.deadline)),
                }
            });
            Ok(Dialled { request, reply, outcome })
        })
    }
}

impl Drop for FakeNetwork {
    fn drop(&mut self) {
        // The test may not care.
        self.gone.take().map(|gone| gone.send(()));
    }
}

/// The threads of all tests, with one executor.
struct House {
    platform: Platform,
    executor: Executor,
    vats: actix::ArbiterHandle,
    threads: tokio::runtime::Runtime,
}

fn house() -> &'static House {
    static HOUSE: LazyLock<House> = LazyLock::new(|| {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let threads = threads.worker_threads(2).enable_all().build().expect("threads start");
        let runtime = Runtime::start(ww_cell::Config::default(), threads.handle().clone()).expect("a runtime starts");
        let platform = Platform::start(threads.handle().clone()).expect("a platform starts");
        // Guests of these tests are no components: none connects by itself.
        let (network, ..) = network();
        let vats = platform.arbiter().expect("a thread starts");
        let vat = Arc::new(Vats::new(vats.clone(), Arc::new(network)));
        let executor = Executor::start(&platform.arbiter().expect("a thread starts"), runtime, vat);
        House { platform, executor, vats, threads }
    });
    assert!(HOUSE.platform.runtime().metrics().num_workers() > 0);
    &HOUSE
}

/// The executor of all tests.
pub(crate) fn shared_executor() -> &'static Executor {
    &house().executor
}

/// The executor of a node of its own, for a test that uses up what a node has.
pub(crate) fn executor_alone() -> Executor {
    let House { platform, vats, threads, .. } = house();
    let runtime = Runtime::start(ww_cell::Config::default(), threads.handle().clone()).expect("a runtime starts");
    let (network, ..) = network();
    Executor::start(
        &platform.arbiter().expect("a thread starts"),
        runtime,
        Arc::new(Vats::new(vats.clone(), Arc::new(network))),
    )
}

/// A client of the control socket.
pub(crate) fn controller(stop: crate::StopNode) -> (Connection, Local) {
    visitor(Entitlement::everything(Limits::default()), stop)
}

/// A peer that is granted everything.
pub(crate) fn peer() -> (Connection, Local) {
    let Entitlement { grants, admin, limits, .. } = Entitlement::everything(Limits::default());
    visitor(Entitlement::of_peer(b"peer".to_vec(), grants, admin, limits), Arc::new(|| {}))
}

/// A peer that is granted this, and nothing of `Admin`.
pub(crate) fn peer_with(grants: Grants) -> (Connection, Local) {
    let entitlement = Entitlement::of_peer(b"peer".to_vec(), grants, Default::default(), Limits::default());
    visitor(entitlement, Arc::new(|| {}))
}

/// A client that gets this.
pub(crate) fn visitor(entitlement: Entitlement, stop: crate::StopNode) -> (Connection, Local) {
    visitor_of(&house().executor, entitlement, stop)
}

/// The same at another node.
pub(crate) fn visitor_of(executor: &Executor, entitlement: Entitlement, stop: crate::StopNode) -> (Connection, Local) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (network, ..) = network();
    let vats = Vats::new(house().vats.clone(), Arc::new(network));
    let theirs = || Ok(tokio::io::split(theirs));
    vats.serve_client(executor, &Clients::default(), entitlement, stop, theirs);
    let (reader, writer) = tokio::io::split(ours);
    crate::client::connect(reader, writer)
}

fn network() -> (FakeNetwork, Asked, Wires, oneshot::Receiver<()>) {
    let (tx, rx) = oneshot::channel();
    let (asked, wires) = (Asked::default(), Wires::default());
    (
        FakeNetwork { asked: Arc::clone(&asked), wires: Arc::clone(&wires), friend: Grants::all(), gone: Some(tx) },
        asked,
        wires,
        rx,
    )
}

/// A guest's end of a connection, and what lives at the node's end.
pub(crate) struct Connected {
    pub(crate) to_vat: pipe::Writer,
    pub(crate) from_vat: pipe::Reader,
    /// The cell on whose behalf the vat was started.
    pub(crate) cell: (Process, Streams),
    /// What `Host.connect` was asked for.
    pub(crate) asked: Asked,
    pub(crate) wires: Wires,
    /// Resolves when nothing at the node's end is left of the connection.
    pub(crate) gone: oneshot::Receiver<()>,
}

async fn guest(grants: Grants, limits: Limits) -> ((Process, Streams), Guest) {
    let spec = Spec { limits: Some(limits), ..spec(ECHO, grants.clone()) };
    let cell = house().executor.run(Owner::Node, spec).await.expect("there is room");
    let guest = Guest { id: cell.0.id(), grants, files: None, account: Account::unlimited(), handed: None };
    (cell, guest)
}

/// A program without any grant.
pub(crate) fn spec_of(wat: &str) -> Spec {
    spec(wat, Grants::none())
}

fn spec(wat: &str, grants: Grants) -> Spec {
    let (args, env) = (Vec::new(), Vec::new());
    Spec {
        name: "test".into(),
        names: Vec::new(),
        wasm: wasm(wat).into(),
        args,
        env,
        limits: None,
        grants,
        ..Spec::default()
    }
}

fn duplex() -> (Duplex, pipe::Writer, pipe::Reader) {
    let (to_vat, from_guest) = pipe::pipe(pipe::CAPACITY);
    let (to_guest, from_vat) = pipe::pipe(pipe::CAPACITY);
    (Duplex { from_guest, to_guest, handling: ww_cell::Handling::default() }, to_vat, from_vat)
}

/// Starts a vat as a guest does that connects.
async fn connected_with(grants: Grants, limits: Limits, friend: Grants) -> Connected {
    let (cell, guest) = guest(grants, limits).await;
    let (mut network, asked, wires, gone) = network();
    network.friend = friend;
    let (duplex, to_vat, from_vat) = duplex();
    Vats::new(house().vats.clone(), Arc::new(network)).serve(&house().executor, guest, duplex);
    Connected { to_vat, from_vat, cell, asked, wires, gone }
}

/// The same, beside a node that grants everything.
pub(crate) async fn connected(grants: Grants, limits: Limits) -> Connected {
    connected_with(grants, limits, Grants::all()).await
}

/// The parts of a vat, for a test that drives it itself: its end of a connection, its bootstrap, and the other end.
pub(crate) async fn parts(handed: Option<Handed>) -> (Duplex, host::Client, Connected) {
    let (cell, guest) = guest(Grants::all(), Limits::default()).await;
    let guest = Guest { handed, ..guest };
    let (network, asked, wires, gone) = network();
    let (duplex, to_vat, from_vat) = duplex();
    let (executor, vats) = (house().executor.clone(), house().vats.clone());
    let context = Context::new(guest, Arc::new(network), executor, vats);
    (duplex, server::client(context), Connected { to_vat, from_vat, cell, asked, wires, gone })
}

/// What the servers of a cell share that is handling a message, and the cell itself.
pub(crate) async fn context(handling: ww_cell::Handling) -> (Context, (Process, Streams)) {
    let (cell, guest) = guest(Grants::all(), Limits::default()).await;
    let (network, ..) = network();
    let (executor, vats) = (house().executor.clone(), house().vats.clone());
    (Context::new(guest, Arc::new(network), executor, vats).of_instance(handling), cell)
}

/// The thread of the vats.
pub(crate) fn vats() -> actix::ArbiterHandle {
    house().vats.clone()
}

/// A client's vat. It ends with this.
pub(crate) struct Session {
    pub(crate) host: host::Client,
    pub(crate) cell: (Process, Streams),
    pub(crate) asked: Asked,
    wires: Wires,
    pub(crate) gone: oneshot::Receiver<()>,
    _system: task::Task<capnp::Result<()>>,
}

/// The client's side of a connection.
pub(crate) fn client(from_vat: pipe::Reader, to_vat: pipe::Writer) -> (host::Client, task::Task<capnp::Result<()>>) {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(None);
    let network = twoparty::VatNetwork::new(from_vat.compat(), to_vat.compat_write(), Side::Client, options);
    let mut system = RpcSystem::new(Box::new(network), None);
    let host = system.bootstrap(Side::Server);
    (host, task::spawn_local(task::Kind::owned("client", "a test"), system))
}

/// A guest with these grants.
pub(crate) async fn session(grants: Grants) -> Session {
    limited_session(grants, Limits::default()).await
}

/// A guest with these grants and limits.
pub(crate) async fn limited_session(grants: Grants, limits: Limits) -> Session {
    session_at(connected(grants, limits).await)
}

/// A guest with all grants, beside a node that grants this, and the `Host` of that node.
pub(crate) async fn session_beside(friend: Grants) -> (Session, host::Client) {
    let session = session_at(connected_with(Grants::all(), Limits::default(), friend).await);
    let far = calls::connect(&session.host, "friend");
    (session, far)
}

fn session_at(Connected { to_vat, from_vat, cell, asked, wires, gone }: Connected) -> Session {
    let (host, system) = client(from_vat, to_vat);
    Session { host, cell, asked, wires, gone, _system: system }
}

impl Session {
    /// Ends the client's vat, and with it every capability.
    pub(crate) fn disconnect(self) -> ((Process, Streams), oneshot::Receiver<()>) {
        (self.cell, self.gone)
    }

    /// Cuts its connections to other nodes.
    pub(crate) fn cut(&self) {
        self.wires.tasks.lock().expect("no panic").clear();
    }

    /// Carries nothing any more to other nodes and back, which nobody is told.
    pub(crate) fn stall(&self) {
        self.wires.stalled.store(true, Ordering::Relaxed);
    }

    /// The cells of the node.
    pub(crate) fn directory(&self) -> &'static ww_cell::Directory {
        house().executor.directory()
    }

    /// The executor, before anybody has answered.
    pub(crate) fn executor(&self) -> executor::Client {
        self.host.executor_request().send().pipeline.get_executor()
    }
}

pub(crate) fn wasm(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}"))
}

/// A process that is being started.
pub(crate) fn run(executor: &executor::Client, wasm: &[u8], args: &[&str], env: &[&str]) -> Started {
    let mut request = executor.run_bytes_request();
    let mut params = request.get();
    params.set_wasm(wasm);
    params.set_args(args).expect("valid text");
    params.set_env(env).expect("valid text");
    let promise = request.send();
    Started { process: promise.pipeline.get_process(), promise: promise.promise }
}

pub(crate) struct Started {
    pub(crate) process: process::Client,
    promise: capnp::capability::Promise<capnp::capability::Response<executor::run_bytes_results::Owned>, Error>,
}

impl Started {
    pub(crate) async fn done(self) -> Result<process::Client, Error> {
        soon(self.promise).await?.get()?.get_process()
    }
}

pub(crate) fn stdin(process: &process::Client) -> byte_stream::Client {
    process.stdin_request().send().pipeline.get_stream()
}

pub(crate) fn stdout(process: &process::Client) -> byte_stream::Client {
    process.stdout_request().send().pipeline.get_stream()
}

pub(crate) fn stderr(process: &process::Client) -> byte_stream::Client {
    process.stderr_request().send().pipeline.get_stream()
}

pub(crate) fn read(stream: &byte_stream::Client, max: u32) -> impl Future<Output = Result<Vec<u8>, Failed>> + use<> {
    let mut request = stream.read_request();
    request.get().set_max_bytes(max);
    let promise = request.send().promise;
    async move { Ok(soon(promise).await?.get()?.get_data()?.to_vec()) }
}

pub(crate) fn write(stream: &byte_stream::Client, bytes: &[u8]) -> impl Future<Output = Result<(), Failed>> + use<> {
    let mut request = stream.write_request();
    request.get().set_data(bytes);
    let promise = request.send().promise;
    async move { Ok(soon(promise).await.map(drop)?) }
}

pub(crate) fn close(stream: &byte_stream::Client) -> impl Future<Output = Result<(), Failed>> + use<> {
    let promise = stream.close_request().send().promise;
    async move { Ok(soon(promise).await.map(drop)?) }
}

/// The most that the reader of a stream takes, once it waits.
pub(crate) fn wanted(stream: &byte_stream::Client) -> impl Future<Output = Result<u32, Failed>> + use<> {
    let promise = stream.wanted_request().send().promise;
    async move { Ok(soon(promise).await?.get()?.get_bytes()) }
}

pub(crate) fn wait(process: &process::Client) -> impl Future<Output = Result<i32, Failed>> + use<> {
    let promise = process.wait_request().send().promise;
    async move { Ok(soon(promise).await?.get()?.get_exit_code()) }
}
