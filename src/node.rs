//! A node: its parts, started in order and stopped in reverse.

use std::{collections::BTreeMap, ffi::OsStr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::{runtime, sync::Notify};
use ww_cell::{Cell, Directory, Files, Runtime, Slot, Stdio};
use ww_core::{
    Account, Name, Platform,
    account::Holder,
    limits::{DEFAULT_DEADLINE, DEFAULT_INSTANCES, DEFAULT_MEMORY, Exceeds},
    platform,
    registry::Registry,
    supervisor::Restart,
    task::Task,
};
use ww_executor::{Executor, Owner, Process, Serving, SpawnError, Spec, Work};
use ww_image::{Image, LoadError, Loader, LoaderConfig};
use ww_net::{AcceptError, Audience, Identity, Net, identity};
use ww_rpc::{StopNode, Vats};

use crate::{
    Config, Published,
    calls::{Callee, Calls},
    control::{Address, Listening, OpenError, Service},
    doors::Doors,
    network::Swarm,
    payers::Payers,
    peers::Peers,
    supervised::Supervised,
};

/// One node: one identity, one sandbox, one tree of cells.
pub struct Node {
    config: Config,
    loader: Loader,
    executor: Executor,
    net: Net,
    calls: Calls,
    payers: Payers,
    accepting: Task<()>,
    peers: Peers,
    control: Option<Listening>,
    doors: Doors,
    stop_requests: StopRequests,
    platform: Platform,
}

/// Learns that a client tells the node to stop. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct StopRequests(Arc<Notify>);

/// How an image's own cell is started, besides what the image says.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// Its name; `None` for the image's, or `pid0`.
    pub name: Option<Name>,
    /// Arguments after the name.
    pub args: Vec<String>,
    /// Environment, in the place of what the image says.
    pub env: BTreeMap<String, String>,
}

/// Why a node did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A thread could not be started.
    #[error(transparent)]
    Platform(#[from] platform::StartError),
    /// The sandbox could not be started.
    #[error(transparent)]
    Runtime(#[from] ww_cell::StartError),
    /// The network could not be started.
    #[error(transparent)]
    Net(#[from] ww_net::StartError),
    /// Calls cannot be accepted.
    #[error(transparent)]
    Calls(#[from] AcceptError),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Control(#[from] OpenError),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The loader cannot be configured.
    #[error(transparent)]
    Loader(#[from] ww_image::loader::ConfigError),
}

/// Why an image's cell did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BootError {
    /// The image wants more than the node gives.
    #[error("the image's etc/ww.toml asks for too much: {0}")]
    Limits(#[from] Exceeds),
    /// The cell did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It cannot be published under its name.
    #[error(transparent)]
    Publish(#[from] AcceptError),
}

impl Node {
    /// Starts a node whose guests run as tasks of `runtime`, a multi-threaded one.
    ///
    /// # Errors
    ///
    /// Where a thread, the identity or an address cannot be had. What was started is stopped.
    pub async fn start(config: Config, runtime: runtime::Handle) -> Result<Self, StartError> {
        let node = Self::start_closed(config, runtime).await?;
        node.open();
        Ok(node)
    }

    /// [`Node::start`] of a node that serves no client before it is [opened](Node::open): those who come wait.
    pub(crate) async fn start_closed(config: Config, runtime: runtime::Handle) -> Result<Self, StartError> {
        let identity = identity(&config)?;
        let platform = Platform::start(runtime)?;
        let net = Net::start(net_config(&config), identity, &platform.arbiter()?).await?;
        Self::around(config, platform, net).await
    }

    /// Starts a node in a swarm of the program's own: see [`Net::in_swarm`]. Its identity, its addresses and its dials are
    /// the program's; what the configuration says of them means nothing here.
    ///
    /// # Errors
    ///
    /// Where a thread cannot be had, or the swarm has ended. What was started is stopped.
    pub async fn start_in(config: Config, runtime: runtime::Handle, net: Net) -> Result<Self, StartError> {
        let platform = Platform::start(runtime)?;
        let node = Self::around(config, platform, net).await?;
        node.open();
        Ok(node)
    }

    /// Serves clients from now on, on the control socket and those that are peers.
    pub(crate) fn open(&self) {
        self.doors.open();
    }

    async fn around(config: Config, platform: Platform, net: Net) -> Result<Self, StartError> {
        let loader = loader(&config)?;
        let runtime = platform.runtime().clone();
        let sandbox = Runtime::start(sandbox_config(&config), runtime)?;
        let calls = Calls::default();
        let (patience, payers) = (config.peer_timeout, Payers::new(sandbox.account().clone()));
        let swarm = Swarm {
            net: net.clone(),
            calls: calls.clone(),
            runtime: platform.runtime().clone(),
            payers: payers.clone(),
            patience,
        };
        let vats = Vats::new(platform.arbiter()?, Arc::new(swarm));
        let executor = Executor::start(&platform.arbiter()?, sandbox, Arc::new(vats.clone()));
        let accepting = calls.start(&net, config.peer_timeout, platform.runtime())?;
        let stop_requests = StopRequests::default();
        let requests = stop_requests.clone();
        let stop: StopNode = Arc::new(move || requests.0.notify_one());
        let doors = Doors::default();
        let service = Service { vats, executor: executor.clone(), limits: config.most(), stop, opened: doors.opened() };
        let peers = Peers::start(&net, &config.peers, service.clone(), platform.runtime())?;
        let control = Listening::open(&config.control, service, platform.runtime()).await?;
        let addrs = net.addrs().await;
        let addrs = addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let socket = control.as_ref().map_or_else(|| "off".to_owned(), |control| control.address().to_string());
        tracing::info!(peer = %net.peer_id(), addrs, control = socket, "the node runs");
        Ok(Self {
            config,
            loader,
            executor,
            net,
            calls,
            payers,
            accepting,
            peers,
            control,
            doors,
            stop_requests,
            platform,
        })
    }

    /// The node's network.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Where the node is controlled from, if it is.
    pub fn control(&self) -> Option<&Address> {
        self.control.as_ref().map(Listening::address)
    }

    /// Learns that a client tells the node to stop: whoever runs it then calls [`Node::stop`].
    pub fn stop_requests(&self) -> StopRequests {
        self.stop_requests.clone()
    }

    /// Loads an image, from disk or from IPFS.
    ///
    /// # Errors
    ///
    /// Where no loader has it, or it is not valid.
    pub async fn load(&self, image: impl AsRef<OsStr>) -> Result<Image, LoadError> {
        self.loader.load(image).await
    }

    /// Starts an image's own cell: its `main` runs once. Everything that it starts ends with it.
    ///
    /// # Errors
    ///
    /// Where the program cannot be run, or the image asks for what it cannot have.
    pub async fn boot(&self, image: Image, boot: Boot, stdio: Stdio) -> Result<Process, BootError> {
        // Whoever sits at the terminal decides how long it takes.
        let spec = self.spec(image, boot, None)?;
        Ok(self.executor.run_with(Owner::Node, spec, stdio).await?)
    }

    /// Starts an image's own cell: it serves messages until it ends, or until the returned process is dropped.
    ///
    /// # Errors
    ///
    /// As [`Node::boot`], and where the program cannot serve messages in this mode.
    pub async fn serve(&self, image: Image, boot: Boot, serving: Serving) -> Result<Process, BootError> {
        let spec = self.spec(image, boot, Some(DEFAULT_DEADLINE))?;
        Ok(self.executor.spawn(Owner::Node, spec, serving).await?)
    }

    /// Starts an image's own cell under a supervisor that never gives up: it is started again until it ends for good, as
    /// its image says, or the node stops. If the image says nothing, one that serves messages always is, and one whose
    /// `main` runs never. Not cancel safe: the start goes on.
    ///
    /// # Errors
    ///
    /// As [`Node::boot`] and [`Node::serve`].
    pub async fn supervise(&self, image: Image, boot: Boot, work: impl Into<Work>) -> Result<Supervised, BootError> {
        let work = work.into();
        let (deadline, restart) = match &work {
            Work::Serve(_) => (Some(DEFAULT_DEADLINE), Restart::Permanent),
            Work::Main(_) => (None, Restart::Temporary),
        };
        let restart = image.manifest.cell.restart.unwrap_or(restart);
        let spec = self.spec(image, boot, deadline)?;
        let started = Supervised::start(&self.executor, spec, work, restart, |_| Ok::<_, SpawnError>(()));
        Ok(started.await?.0)
    }

    /// [`Node::supervise`] of a cell that serves messages of peers under a name, as [`Node::publish`] says, from now on: what
    /// comes while its program is compiled waits, and is told if it does not start. Not cancel safe: the start goes on.
    ///
    /// # Errors
    ///
    /// As [`Node::supervise`] and [`Node::publish`].
    pub async fn supervise_published(
        &self,
        image: Image,
        boot: Boot,
        serving: Serving,
        (name, audience): (Name, Audience),
    ) -> Result<(Supervised, Published), BootError> {
        let restart = image.manifest.cell.restart.unwrap_or(Restart::Permanent);
        let spec = self.spec(image, boot, Some(DEFAULT_DEADLINE))?;
        let limits = spec.limits.clone().unwrap_or_default();
        let publish = |slot: &Slot| {
            let at_once = serving.mode.at_once(&limits);
            self.publish_slot(name, slot.clone(), at_once, limits.deadline, audience).map_err(BootError::from)
        };
        Supervised::start(&self.executor, spec, serving.into(), restart, publish).await
    }

    /// Accepts messages of peers for a cell under a name: raw streams on `/ww/0.1.0/<name>` and calls on
    /// `/ww/0.1.0/call`, and for this node's own cells. As many are served at the same time as the cell has instances, and
    /// [`WAITING`](crate::gate::WAITING) may wait. Peers that are not in the audience, this node among them, cannot tell
    /// that the cell is there. What is published is the cell's slot, whoever lives there; the name is free again when the
    /// slot has ended.
    ///
    /// # Errors
    ///
    /// Where the name is taken, or as many are published as may be.
    pub fn publish(&self, name: Name, cell: &Cell, audience: Audience) -> Result<Published, AcceptError> {
        self.publish_slot(name, cell.slot().clone(), cell.at_once(), cell.limits().deadline, audience)
    }

    fn publish_slot(
        &self,
        name: Name,
        slot: Slot,
        at_once: usize,
        deadline: Option<Duration>,
        audience: Audience,
    ) -> Result<Published, AcceptError> {
        let (gate, patience) = (self.calls.gate(&slot, at_once), self.config.peer_timeout);
        let payers = self.payers.clone();
        let callee = Callee { slot, gate, audience, patience, deadline, payers };
        Published::start(&self.net, &self.calls, name, callee, self.platform.runtime())
    }

    /// What an image's cell is started with; `deadline` is what it has for one message if it does not say so itself.
    fn spec(&self, image: Image, boot: Boot, deadline: Option<Duration>) -> Result<Spec, BootError> {
        let mut wishes = image.manifest.limits.clone();
        wishes.instances.get_or_insert(DEFAULT_INSTANCES);
        wishes.memory.get_or_insert(DEFAULT_MEMORY.min(self.config.max_memory));
        let mut limits = self.config.most().narrowed(&wishes)?;
        limits.deadline = limits.deadline.or(deadline);
        let chosen = boot.name.or_else(|| image.manifest.cell.name.clone());
        let names = match &chosen {
            Some(name) => vec![name.clone()],
            // Of several images on one node the first has the name that nobody chose.
            None => Some(Name::pid0()).filter(|name| self.names().owner(name).is_none()).into_iter().collect(),
        };
        let name = chosen.unwrap_or_else(Name::pid0).to_string();
        let mut env = image.manifest.env.clone();
        env.extend(boot.env);
        tracing::debug!(image = image.source, name, "booting an image");
        Ok(Spec {
            name,
            names,
            args: boot.args,
            env: env.into_iter().collect(),
            limits: Some(limits),
            grants: image.manifest.grants(),
            files: Some(Arc::new(ImageFiles(image.files))),
            wasm: image.wasm,
            program: None,
            handed: None,
            publish: None,
        })
    }

    /// Starts cells from bytes, with a [`Spec`] for each.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// The cells that live on this node.
    pub fn directory(&self) -> &Directory {
        self.executor.directory()
    }

    fn names(&self) -> &Registry {
        self.directory().names()
    }

    /// Returns when no cell runs any more.
    pub async fn quiet(&self) {
        self.executor.quiet().await;
    }

    /// Ends every cell, all at once and supervisors within 8 s, then the network and the threads.
    pub async fn stop(self) {
        self.accepting.abort();
        self.executor.stop().await;
        let Self { executor, net, peers, control, platform, .. } = self;
        // Whoever waited for an end is told of it.
        tokio::join!(peers.close(), async {
            if let Some(control) = control {
                control.close().await;
            }
        });
        net.stop_after_farewell().await;
        let runtime = platform.runtime().clone();
        drop((executor, net));
        if runtime.spawn_blocking(move || platform.stop()).await.is_err() {
            tracing::error!("the threads of the node did not stop in order");
        }
    }
}

impl StopRequests {
    /// Waits for the next. Cancel safe.
    pub async fn next(&self) {
        self.0.notified().await;
    }
}

/// What loads the images of a node.
pub(crate) fn loader(config: &Config) -> Result<Loader, ww_image::loader::ConfigError> {
    Loader::new(LoaderConfig { ipfs_url: config.ipfs_url.clone(), ..LoaderConfig::default() })
}

/// The node's key: its own, or one for this run where the file is in use.
fn identity(config: &Config) -> Result<Identity, identity::Error> {
    let Some(path) = &config.identity else { return Ok(Identity::ephemeral()) };
    match Identity::load_or_create(path) {
        Err(identity::Error::Locked { path }) => {
            let identity = Identity::ephemeral();
            tracing::warn!(path = %path.display(), peer = %identity.peer_id(), "the identity is in use by another node: this one uses a key for this run");
            Ok(identity)
        }
        other => other,
    }
}

fn sandbox_config(config: &Config) -> ww_cell::Config {
    ww_cell::Config {
        debug: config.wasm_debug,
        cache: config.cache.clone(),
        cells: config.cells,
        account: Some(Account::root(Holder::Node, config.held)),
        customise: config.engine.clone(),
        compiler: config.compiler.clone(),
    }
}

fn net_config(config: &Config) -> ww_net::Config {
    let mut net = ww_net::Config::on_port(config.port);
    if !config.listen.is_empty() {
        net.listen = config.listen.clone();
        net.listen_if_possible.clear();
    }
    net.mdns = config.mdns;
    net.named = config.peers.iter().map(|peer| peer.id).collect();
    net
}

/// The files of an image, for its cell.
struct ImageFiles(ww_image::Files);

impl Files for ImageFiles {
    fn read(&self, path: String) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move { self.0.read(&path).await.map_err(|error| error.to_string()) })
    }
}
