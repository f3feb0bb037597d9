//! Clients that mean no good, at the control socket and over the network, beside one that means well: it is served about as
//! fast as without them, and they lose their own connections.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use capnp::{message, serialize, traits::HasTypeId};
use capnp_rpc::rpc_capnp;
use futures::future::BoxFuture;
use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    task::{JoinSet, LocalSet},
};
use ww_net::{Identity, Protocol};
use ww_rpc::{
    Wire,
    client::{self, Local},
};
use ww_schema::peer_capnp::host;

use crate::{
    client::{Client, platform, soon},
    harness::Running,
    image::Image,
    remote::{Key, everything, grants},
    verbs::User,
};

/// Calls of the one that means well, beside each attack.
const CALLS: usize = 50;

/// Connections that attack at once.
const ATTACKERS: usize = 2;

/// Connections that do nothing.
const IDLE: usize = 500;

/// How much longer a call may take in the middle than without anybody else: machines have few cores, and the attackers are
/// on the same one.
const FACTOR: u32 = 10;

/// What a call may be taken to need at least: less is noise.
const FLOOR: Duration = Duration::from_millis(10);

/// Most memory that all attacks together may cost, in bytes: a few messages of the largest size for each attacker.
const MEMORY: u64 = 512 << 20;

/// Calls at once that are never finished, in one attack.
const FLOOD: u32 = 100_000;

/// Calls that are answered before the next ones are made, where capabilities are hoarded.
const BATCH: u32 = 256;

/// How clients come to a node.
#[derive(Clone)]
enum Way {
    Socket(PathBuf),
    Peer(Client),
}

impl Way {
    async fn open(&self) -> Option<Wire> {
        match self {
            Self::Socket(path) => UnixStream::connect(path).await.ok().map(|stream| Box::new(stream) as Wire),
            Self::Peer(client) => client.open(Protocol::Rpc).await.ok().map(|stream| Box::new(stream) as Wire),
        }
    }
}

/// What somebody does with a connection until it has ended.
type Attack = fn(Wire) -> BoxFuture<'static, ()>;

const ATTACKS: [(&str, Attack); 6] = [
    ("random bytes", |wire| Box::pin(random(wire))),
    ("half a message", |wire| Box::pin(half(wire))),
    ("a message of 64 MiB", |wire| Box::pin(too_long(wire))),
    ("100,000 calls in flight", |wire| Box::pin(flood(wire))),
    ("capabilities that are never released", |wire| Box::pin(hoard(wire))),
    ("a stall in the middle of a message", |wire| Box::pin(stall(wire))),
];

fn bytes(build: impl FnOnce(rpc_capnp::message::Builder<'_>)) -> Vec<u8> {
    let mut message = message::Builder::new_default();
    build(message.init_root());
    serialize::write_message_to_words(&message)
}

fn bootstrap(question: u32) -> Vec<u8> {
    bytes(|message| message.init_bootstrap().set_question_id(question))
}

/// Calls `Host.executor` of the bootstrap that question 0 asked for.
fn executor(question: u32) -> Vec<u8> {
    bytes(|message| {
        let mut call = message.init_call();
        call.set_question_id(question);
        call.reborrow().init_target().init_promised_answer().set_question_id(0);
        call.set_interface_id(<host::Client as HasTypeId>::TYPE_ID);
        call.set_method_id(4);
    })
}

fn finish(question: u32) -> Vec<u8> {
    bytes(|message| {
        let mut finish = message.init_finish();
        finish.set_question_id(question);
        finish.set_release_result_caps(false);
    })
}

/// Waits for the end of a connection, whatever comes before.
async fn ended(mut wire: Wire) {
    let mut buffer = vec![0; 64 * 1024];
    while soon(wire.read(&mut buffer)).await.is_ok_and(|read| read > 0) {}
}

async fn random(mut wire: Wire) {
    let mut state = 1_u64;
    let noise: Vec<u8> = (0..16 * 1024)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    wire.write_all(&noise).await.unwrap_or_default();
    wire.flush().await.unwrap_or_default();
    ended(wire).await;
}

async fn half(mut wire: Wire) {
    let hello = bootstrap(0);
    wire.write_all(&hello[..hello.len() / 2]).await.unwrap_or_default();
    wire.shutdown().await.unwrap_or_default();
    ended(wire).await;
}

async fn too_long(mut wire: Wire) {
    // One segment, one word longer than the longest.
    let words = ((64_u32 << 20) / 8 + 1).to_le_bytes();
    wire.write_all(&[[0; 4], words].concat()).await.unwrap_or_default();
    let piece = vec![0; 64 * 1024];
    for _ in 0..(64 << 20) / piece.len() {
        if soon(wire.write_all(&piece)).await.is_err() {
            break;
        }
    }
    wire.flush().await.unwrap_or_default();
    ended(wire).await;
}

/// Reads nothing until all is written.
async fn flood(mut wire: Wire) {
    let calls: Vec<u8> = (0..FLOOD).flat_map(bootstrap).collect();
    soon(wire.write_all(&calls)).await.unwrap_or_default();
    wire.flush().await.unwrap_or_default();
    ended(wire).await;
}

async fn hoard(mut wire: Wire) {
    let attack = async {
        wire.write_all(&bootstrap(0)).await?;
        wire.flush().await?;
        answer(&mut wire).await?;
        // Twice as many as a client of the control socket may hold: the rest is refused, and as it holds the others all the same,
        // it is not sent away.
        for question in (1..32_768).step_by(BATCH as usize) {
            let batch = question..question + BATCH;
            let calls: Vec<u8> = batch.clone().flat_map(executor).collect();
            wire.write_all(&calls).await?;
            wire.flush().await?;
            for _ in batch.clone() {
                answer(&mut wire).await?;
            }
            let done: Vec<u8> = batch.flat_map(finish).collect();
            wire.write_all(&done).await?;
        }
        Ok(())
    };
    let _: std::io::Result<()> = attack.await;
}

/// Reads one message.
async fn answer(wire: &mut Wire) -> std::io::Result<()> {
    let segments = soon(wire.read_u32_le()).await? + 1;
    let mut words = 0;
    for _ in 0..segments {
        words += u64::from(wire.read_u32_le().await?);
    }
    // The table is a whole number of words.
    let padding = if segments.is_multiple_of(2) { 4 } else { 0 };
    let mut rest = vec![0; usize::try_from(words * 8).expect("small") + padding];
    wire.read_exact(&mut rest).await.map(drop)
}

async fn stall(mut wire: Wire) {
    // A message of 8 MiB, of which nothing comes.
    wire.write_all(&[0, 0, 0, 0, 0, 0, 0x10, 0]).await.unwrap_or_default();
    wire.flush().await.unwrap_or_default();
    ended(wire).await;
}

/// How long a call takes: the median of some.
async fn latency(node: &Local) -> Duration {
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let began = Instant::now();
        soon(node.host.id_request().send().promise).await.expect("it is served");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took[CALLS / 2]
}

/// One that means well is served beside each attack.
async fn withstands(good: Way, bad: Way, running: &Running<'_>) {
    LocalSet::new()
        .run_until(async {
            let (reader, writer) = tokio::io::split(good.open().await.expect("it is let in"));
            let (_connection, node) = client::connect(reader, writer);
            let alone = latency(&node).await;
            let before = running.memory();
            let check = async |attack: &str| {
                let beside = latency(&node).await;
                println!("{attack}: {beside:?} for a call, {alone:?} alone");
                assert!(beside <= FACTOR * alone.max(FLOOR), "{attack}: {beside:?} for a call, {alone:?} alone");
            };
            for (name, attack) in ATTACKS {
                let over = Arc::new(AtomicUsize::new(0));
                let mut attackers = JoinSet::new();
                for _ in 0..ATTACKERS {
                    let (bad, over) = (bad.clone(), Arc::clone(&over));
                    attackers.spawn(async move {
                        loop {
                            if let Some(wire) = bad.open().await {
                                attack(wire).await;
                                over.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
                check(name).await;
                // Each of them loses its connection in the end, or gives up.
                soon(async {
                    while over.load(Ordering::Relaxed) == 0 {
                        soon(node.host.id_request().send().promise).await.expect("it is served");
                    }
                })
                .await;
                attackers.shutdown().await;
            }
            let mut idle = Vec::new();
            for _ in 0..IDLE {
                idle.extend(bad.open().await);
            }
            check("connections that do nothing").await;
            let grown = running.memory().saturating_sub(before);
            assert!(grown < MEMORY, "{} MiB more memory", grown >> 20);
            println!("{} MiB more memory", grown >> 20);
            drop(idle);
            // A newcomer is served as well.
            let (reader, writer) = tokio::io::split(good.open().await.expect("it is let in"));
            let (_connection, node) = client::connect(reader, writer);
            latency(&node).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_of_the_control_socket_harm_nobody() {
    let (user, image) = (User::new(), Image::of("echo"));
    let socket = user.directory().join("my.sock");
    let control = format!("unix:{}", socket.display());
    let node = user.serve(&image, &["--async", "--name", "echo", "--control", &control]);
    withstands(Way::Socket(socket.clone()), Way::Socket(socket), &node).await;
    node.signal(Signal::TERM);
    node.end().expect(143, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_peers_that_are_granted_something_harm_nobody() {
    let platform = platform();
    let (good, bad, image) = (Key::new(), Key::new(), Image::of("echo"));
    let server = grants(&image, "echo", &format!("{}{}", everything(&good.id), everything(&bad.id)));
    let place = server.places().next().expect("a place");
    let way = async |key: &Key| {
        let identity = Identity::load_or_create(key.file()).expect("the key");
        Client::with(&platform, place.clone(), identity).await
    };
    let (good, bad) = (way(&good).await, way(&bad).await);
    withstands(Way::Peer(good.clone()), Way::Peer(bad.clone()), &server.running).await;
    good.net.stop().await;
    bad.net.stop().await;
    server.stop().expect(143, "");
}
