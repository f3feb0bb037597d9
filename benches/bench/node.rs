//! The node's side: programs, cells, and peers.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::runtime::Handle;
pub(crate) use ww::cell::Spec;
use ww::{
    CellId, Config, Executor, Grants, Limits, Node, PeerId, Serving,
    cell::{self, Cell, Cells, Class, Duplex, Mode, Program, Runtime, SMALL_MEMORY, Stderr, Stop, tail},
    executor::{self, ChildSpec, GuestVat},
};
use ww_core::Platform;
use ww_net::{Identity, Net, OpenError, Protocol, Stream};

use crate::floor::{self, Settings};

/// Cells of each class. Both sides make an engine of the same size, and mappings are shared: see `capacity` of `ww-cell`.
const CELLS: Cells = Cells { standard: 1_024, small: 2_048 };

/// Room for as many as a row has at once, where tools that simulate a machine cannot map the pools otherwise.
const FEW: Cells = Cells { standard: 8, small: 64 };

static HAS_FEW: AtomicBool = AtomicBool::new(false);

/// Lets sandboxes have few places from now on: for rows with few cells, beneath a tool that counts instructions.
pub(crate) fn have_few() {
    HAS_FEW.store(true, Ordering::Relaxed);
}

fn cells() -> Cells {
    if HAS_FEW.load(Ordering::Relaxed) { FEW } else { CELLS }
}

/// On loopback, wherever there is room.
pub(crate) const LISTEN: [&str; 2] = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];

/// What the table calls the transports, and what tells their addresses.
pub(crate) const TRANSPORTS: [(&str, &str); 2] = [("tcp", "/tcp/"), ("quic", "/quic-v1")];

/// A sandbox, and the settings that its engines were made with.
pub(crate) struct Sandbox {
    pub(crate) runtime: Runtime,
    pub(crate) settings: Settings,
}

impl Sandbox {
    /// On the current threads.
    pub(crate) fn start() -> Result<Self> {
        Self::with(cells(), &Settings::default())
    }

    /// With places for so many cells.
    pub(crate) fn with(cells: Cells, settings: &Settings) -> Result<Self> {
        let settings = settings.clone();
        let config = cell::Config { cells, customise: Some(settings.watch()), ..cell::Config::default() };
        let runtime = Runtime::start(config, Handle::current())?;
        Ok(Self { runtime, settings })
    }

    /// An engine with the settings of the node's, and a guest compiled with it.
    pub(crate) fn bare(&self, name: &str) -> Result<floor::Program> {
        floor::Program::new(&self.settings.engine()?, &guest(name)?)
    }

    /// What starts cells below an owner, and the threads of its actors.
    pub(crate) fn executor(&self) -> Result<(Platform, Executor)> {
        let platform = Platform::start(Handle::current())?;
        let executor = Executor::start(&platform.arbiter()?, self.runtime.clone(), Arc::new(NoVat));
        Ok((platform, executor))
    }

    /// A guest, compiled.
    pub(crate) async fn load(&self, name: &str, class: Class) -> Result<Program> {
        Ok(self.runtime.load(guest(name)?, class).await?)
    }

    /// A cell that serves messages.
    pub(crate) fn cell(&self, program: &Program, spec: Spec) -> Result<Cell> {
        let stderr = Stderr::Tail(tail::tail(CellId::new(1)).0);
        let id = self.runtime.directory().next_id();
        Ok(self.runtime.spawn(id, program.clone(), spec, stderr, Stop::default())?)
    }
}

/// A whole node with an identity of its own, and the settings that its engines are made with.
pub(crate) async fn node(change: impl FnOnce(&mut Config)) -> Result<(Node, Settings)> {
    let settings = Settings::default();
    let mut config = Config::default();
    (config.identity, config.cache, config.cells) = (None, None, cells());
    config.listen = LISTEN.iter().map(|addr| addr.parse()).collect::<Result<_, _>>()?;
    config.engine = Some(settings.watch());
    change(&mut config);
    Ok((Node::start(config, Handle::current()).await?, settings))
}

/// A peer of a node, connected to it.
#[derive(Clone)]
pub(crate) struct Peer {
    net: Net,
    node: PeerId,
}

impl Peer {
    /// With this identity, over the transport whose addresses contain `marker`.
    pub(crate) async fn connect(platform: &Platform, identity: Identity, node: &Node, marker: &str) -> Result<Self> {
        let addrs = node.net().addrs().await;
        let addr = addrs.into_iter().find(|addr| addr.to_string().contains(marker)).context("it listens")?;
        let net = Net::start(ww_net::Config::default(), identity, &platform.arbiter()?).await?;
        let node = node.net().peer_id();
        net.connect(node, vec![addr]).await?;
        Ok(Self { net, node })
    }

    /// A new stream to the node.
    pub(crate) async fn open(&self, protocol: Protocol) -> Result<Stream, OpenError> {
        self.net.open(self.node, Vec::new(), protocol).await
    }

    /// Takes leave.
    pub(crate) async fn stop(&self) {
        self.net.stop().await;
    }
}

/// A cell in this mode, with the defaults of everything else.
pub(crate) fn spec(mode: Mode) -> Spec {
    Spec { mode, ..Spec::default() }
}

/// A live cell of the small class that may do anything.
pub(crate) fn small() -> Spec {
    let limits = Limits { memory: SMALL_MEMORY, deadline: None, ..Limits::default() };
    Spec { limits, grants: Grants::all(), ..spec(Mode::Async) }
}

/// A live cell of the small class, for a supervisor.
pub(crate) fn child(program: Program) -> Result<ChildSpec> {
    let limits = Limits { memory: SMALL_MEMORY, ..Limits::default() };
    let spec = executor::Spec { program: Some(program), limits: Some(limits), ..executor::Spec::default() };
    Ok(executor::cell("cell", spec, Serving::new(Mode::Async))?)
}

/// Starts nothing but cells: what a guest would connect to is not there.
struct NoVat;

impl GuestVat for NoVat {
    fn serve(&self, _: &Executor, _: executor::Guest, _: Duplex) {}
}

/// The bytes of a guest.
pub(crate) fn guest(name: &str) -> Result<Bytes> {
    let path = guest_path(name);
    let wasm = std::fs::read(&path);
    Ok(wasm.with_context(|| format!("{}: run `make guests test-guests` first", path.display()))?.into())
}

/// Where a guest lies.
pub(crate) fn guest_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/target/wasm32-wasip2/release/{name}.wasm"))
}
