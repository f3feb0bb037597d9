//! The node that is attacked: accounts are small, so that growth beyond them is seen, and two cells are there to be asked.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    runtime::{Builder, Runtime},
    sync::oneshot,
    time::timeout,
};
use ww_core::Platform;
use ww_net::{Identity, Multiaddr, PeerId};

use super::{
    bar::Bar,
    enemy::{Enemy, Way, executor_of, spawn},
    probes::{connect, local},
    streams::{FRESH, OPEN},
};
use crate::{
    client::{Client, soon},
    harness::PATIENCE,
    image::{Image, guest},
    remote::{Key, everything},
    server::{Server, serve_with},
    verbs::User,
};

/// The cell that those who mean well ask: published for one peer.
pub(super) const ASKED: &str = "asked";

/// Bytes that the node holds for everybody together.
const HELD: u64 = 256 << 20;

/// The same for one client, with all that it started.
pub(super) const HELD_FOR_CLIENT: u64 = 32 << 20;

/// The same for the hostile peer.
pub(super) const HELD_FOR_PEER: u64 = 16 << 20;

/// Linear memory of all cells of the hostile peer together.
pub(super) const MEMORY_OF_PEER: u64 = 32 << 20;

/// Bytes of a message that is announced, and never sent: close to what one client may hold.
const ANNOUNCED: u64 = 28 << 20;

/// How long a message may be refused after another one was.
const OTHERS: Duration = Duration::from_millis(500);

/// A node, and those who mean well beside the hostile one.
pub(super) struct Victim<'image> {
    pub(super) server: Server<'image>,
    pub(super) socket: PathBuf,
    pub(super) runtime: Runtime,
    platform: Arc<Platform>,
    honest: Key,
    hostile: Key,
    /// Has started the cells that everybody may send messages to.
    keeper: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    _user: User,
}

impl<'image> Victim<'image> {
    pub(super) fn start(image: &'image Image, bar: Bar) -> Self {
        let (user, honest, hostile) = (User::new(), Key::new(), Key::new());
        let socket = user.directory().join("my.sock");
        let config = format!(
            "held = {HELD}\nmax-held = {HELD_FOR_CLIENT}\nmax-memory = \"16MiB\"\npeer-timeout = {}\n{}{}\
             [rpc.peers.limits]\nheld = {HELD_FOR_PEER}\nmemory = \"4MiB\"\nchildren = 32\nsubtree-cells = 64\n\
             subtree-memory = {MEMORY_OF_PEER}\n",
            bar.silence.as_millis(),
            everything(&honest.id),
            everything(&hostile.id),
        );
        let control = format!("unix:{}", socket.display());
        let server = serve_with(image, ASKED, |ww| {
            ww.args(["--async", "--control", &control, "--allow", &honest.id.to_string()]).config(&config)
        });
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let platform = Arc::new(Platform::start(runtime.handle().clone()).expect("threads"));
        let mut victim = Self { server, socket, runtime, platform, honest, hostile, keeper: None, _user: user };
        victim.keeper = Some(victim.keep(bar));
        victim
    }

    /// Starts the cells that everybody may send messages to, as a client that stays.
    fn keep(&self, bar: Bar) -> (oneshot::Sender<()>, JoinHandle<()>) {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = mpsc::channel();
        let (runtime, socket) = (self.runtime.handle().clone(), self.socket.clone());
        let keeper = thread::spawn(move || {
            local(&runtime, async {
                let (_connection, node) = connect(&socket).await;
                let executor = executor_of(&node.host);
                let mut cells = Vec::new();
                for (name, live) in [(OPEN, true), (FRESH, false)] {
                    let cell = spawn(&executor, |mut spec| {
                        spec.reborrow().init_program().set_wasm(&guest("echo"));
                        spec.set_async(live);
                        spec.set_name(name);
                        spec.set_publish(true);
                        let mut limits = spec.init_limits();
                        limits.set_memory(4 << 20);
                        // One that is kept busy for longer loses the message.
                        limits.set_deadline(bar.deadline.as_millis() as u32);
                    });
                    cells.push(soon(cell).await.expect("it starts"));
                }
                ready.send(()).unwrap_or_default();
                stopped.await.unwrap_or_default();
            });
        });
        started.recv().expect("the cells have started");
        (stop, keeper)
    }

    pub(super) fn places(&self) -> Vec<(PeerId, Multiaddr)> {
        self.server.places().collect()
    }

    /// A peer with a key, which comes over TCP or QUIC.
    fn peer(&self, key: Option<&Key>, transport: usize) -> Client {
        let identity = match key {
            Some(key) => Identity::load_or_create(key.file()).expect("the key"),
            None => Identity::ephemeral(),
        };
        let place = self.places().swap_remove(transport);
        self.runtime.block_on(Client::with(&self.platform, place, identity))
    }

    /// The peer that means well.
    pub(super) fn honest(&self) -> Client {
        self.peer(Some(&self.honest), 0)
    }

    fn enemy(&self, way: Way) -> Enemy {
        Enemy::new(way, self.places(), Arc::clone(&self.platform))
    }

    /// A client of the control socket that means no good.
    pub(super) fn client(&self) -> Enemy {
        self.enemy(Way::Socket(self.socket.clone()))
    }

    /// A peer that the configuration names, and that means no good.
    pub(super) fn named(&self, transport: usize) -> Enemy {
        self.enemy(Way::Peer(self.peer(Some(&self.hostile), transport)))
    }

    /// One that nobody knows.
    pub(super) fn stranger(&self, transport: usize) -> Enemy {
        self.enemy(Way::Peer(self.peer(None, transport)))
    }

    /// Waits until the node holds nothing for those who have gone: others can have it all. The allocator may keep the memory
    /// that is announced here, so that nothing is measured afterwards.
    pub(super) fn settled(&self) -> bool {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if self.runtime.block_on(refused(&self.socket)) == 1 {
                return true;
            }
        }
        false
    }

    /// Stops it: it has not ended before.
    pub(super) fn stop(mut self) {
        if let Some((stop, keeper)) = self.keeper.take() {
            stop.send(()).unwrap_or_default();
            keeper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        self.server.stop().expect(143, "");
    }
}

/// Announces messages that together are larger than what the node holds by less than one of them, each over a connection
/// of its own, and counts those that are refused. One is, if the node holds nothing else.
async fn refused(socket: &PathBuf) -> usize {
    let mut open = Vec::new();
    for _ in 0..=HELD / ANNOUNCED {
        let mut stream = UnixStream::connect(socket).await.expect("the node listens");
        let words = ((ANNOUNCED / 8) as u32).to_le_bytes();
        stream.write_all(&[[0; 4], words].concat()).await.expect("open");
        open.push(stream);
    }
    // The refusal comes with certainty, and any other one before long.
    let ended = futures::future::select_all(open.into_iter().map(|mut stream| {
        Box::pin(async move {
            stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
        })
    }));
    let (_, _, rest) = soon(ended).await;
    let others = rest.into_iter().map(|mut stream| async move { timeout(OTHERS, &mut stream).await.is_ok() });
    1 + futures::future::join_all(others).await.into_iter().filter(|ended| *ended).count()
}
