//! Two nodes send each other large and small messages over one connection of TCP, for minutes, and must never get stuck.
//!
//! `make soak MINUTES=10`, or `cargo run --release --example soak-streams -- 10`. Each lane sends one kind of message one
//! after the other, or some at the same time, and compares what comes back. A lane that moves no byte for [`STALL`] fails
//! the run, as does a reply that differs. Prints what each lane has moved.

use std::{
    env, process,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
    task::JoinSet,
    time::sleep,
};
use ww::{Audience, Boot, Config, Node, PeerId, Process, Published, Serving, cell::Mode};
use ww_core::Name;
use ww_net::{
    Multiaddr, Net, Protocol,
    call::{self, Asked, Ending, Header, Part, Status, Target},
};

/// How long a lane may move nothing: many times what the slowest step takes, and less than any timeout below it that
/// would end a deadlock without a word.
const STALL: Duration = Duration::from_secs(8);

/// How often progress is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long the soak takes where nobody says so, in minutes.
const DEFAULT_MINUTES: f64 = 5.0;

/// Bytes that are written at once.
const CHUNK: usize = 64 * 1024;

/// What is sent: name, cell, whether as a call, bytes of a message, and how many at the same time.
const LANES: [(&str, &str, bool, usize, usize); 5] = [
    ("small, raw", "live", false, 100, 16),
    ("small, calls", "live", true, 100, 16),
    ("medium, calls", "fresh", true, 100_000, 4),
    ("large, raw", "fresh", false, 16 << 20, 2),
    ("large, calls", "fresh", true, 16 << 20, 2),
];

/// What a lane has done.
#[derive(Default)]
struct Progress {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// A node that echoes, in both modes.
struct Peer {
    node: Node,
    addrs: Vec<Multiaddr>,
    _cells: Vec<(Process, Published)>,
}

impl Peer {
    async fn start() -> anyhow::Result<Self> {
        let mut config = Config::default();
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
        config.identity = None;
        let node = Node::start(config, Handle::current()).await?;
        let mut cells = Vec::new();
        for (name, mode) in [("live", Mode::Async), ("fresh", Mode::Sync)] {
            let image = node.load("examples/images/echo").await.context("run `make images` first")?;
            let process = node.serve(image, Boot::default(), Serving::new(mode)).await?;
            let published = node.publish(name.parse()?, process.cell(), Audience::All)?;
            cells.push((process, published));
        }
        let addrs = node.net().addrs().await;
        Ok(Self { node, addrs, _cells: cells })
    }
}

/// Byte `at` of message `number`.
fn byte(number: u64, at: usize) -> u8 {
    (number as usize ^ at ^ (at >> 8) ^ (at >> 16)) as u8
}

fn chunk(number: u64, at: usize, len: usize) -> Vec<u8> {
    (at..len.min(at + CHUNK)).map(|at| byte(number, at)).collect()
}

/// Compares a part of a reply.
fn check(number: u64, at: &mut usize, bytes: &[u8], progress: &Progress) -> anyhow::Result<()> {
    let same = bytes.iter().copied().eq((*at..*at + bytes.len()).map(|at| byte(number, at)));
    ensure!(same, "message {number}: another reply from byte {at} on");
    *at += bytes.len();
    progress.bytes.fetch_add(bytes.len() as u64, Relaxed);
    Ok(())
}

async fn call(net: &Net, to: (PeerId, Name), number: u64, len: usize, progress: &Progress) -> anyhow::Result<()> {
    let stream = net.open(to.0, Vec::new(), Protocol::Call).await?;
    let header = Header { target: Target::Name(to.1), remaining: None, trace: number.into(), message: number };
    let Asked { mut body, mut reply } = call::ask(stream, &header);
    let sending = async {
        for at in (0..len).step_by(CHUNK) {
            body.write(&chunk(number, at, len)).await?;
        }
        anyhow::Ok(body.finish(Ending::Whole).await?)
    };
    let receiving = async {
        let mut received = 0;
        loop {
            match reply.read().await? {
                Part::Data(bytes) => check(number, &mut received, bytes, progress)?,
                Part::End(Status::Ok) => break,
                Part::End(status) => bail!("message {number}: {status:?}"),
            }
        }
        ensure!(received == len, "message {number}: {received} bytes of {len} came back");
        anyhow::Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(())
}

async fn raw(net: &Net, to: (PeerId, Name), number: u64, len: usize, progress: &Progress) -> anyhow::Result<()> {
    let (mut reply, mut body) = net.open(to.0, Vec::new(), to.1.into()).await?.into_split();
    let sending = async {
        for at in (0..len).step_by(CHUNK) {
            body.write_all(&chunk(number, at, len)).await?;
        }
        anyhow::Ok(body.shutdown().await?)
    };
    let receiving = async {
        let (mut received, mut buffer) = (0, vec![0; CHUNK]);
        loop {
            match reply.read(&mut buffer).await? {
                0 => break,
                read => check(number, &mut received, &buffer[..read], progress)?,
            }
        }
        ensure!(received == len, "message {number}: {received} bytes of {len} came back");
        anyhow::Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let minutes = env::args().nth(1).map_or(Ok(DEFAULT_MINUTES), |text| text.parse()).context("expected minutes")?;
    let peers = [Peer::start().await?, Peer::start().await?];
    let ids = peers.each_ref().map(|peer| peer.node.net().peer_id());
    // One connection carries everything, in both directions.
    peers[0].node.net().connect(ids[1], peers[1].addrs.clone()).await?;
    while peers[1].node.net().peers().await.is_empty() {
        tokio::task::yield_now().await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut lanes = Vec::new();
    let mut senders = JoinSet::new();
    for (from, to) in [(0, 1), (1, 0)] {
        for (what, cell, framed, len, in_flight) in LANES {
            let progress = Arc::<Progress>::default();
            for _ in 0..in_flight {
                let (net, name) = (peers[from].node.net().clone(), cell.parse::<Name>()?);
                let (progress, over, peer) = (Arc::clone(&progress), Arc::clone(&over), ids[to]);
                senders.spawn(async move {
                    while !over.load(Relaxed) {
                        let number = progress.messages.fetch_add(1, Relaxed);
                        let to = (peer, name.clone());
                        if framed {
                            call(&net, to, number, len, &progress).await?;
                        } else {
                            raw(&net, to, number, len, &progress).await?;
                        }
                    }
                    anyhow::Ok(())
                });
            }
            lanes.push((format!("{from} to {to}: {what}"), progress));
        }
    }
    let began = Instant::now();
    let mut moved = vec![(0, began); lanes.len()];
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        tokio::select! {
            () = sleep(LOOK) => {}
            Some(ended) = senders.join_next() => ended??,
        }
        for ((name, progress), (bytes, when)) in lanes.iter().zip(&mut moved) {
            let now = progress.bytes.load(Relaxed);
            if now != *bytes {
                (*bytes, *when) = (now, Instant::now());
            } else if when.elapsed() > STALL {
                eprintln!("stuck after {:?}: {name} has moved nothing for {STALL:?}", began.elapsed());
                report(&lanes, began);
                process::exit(1);
            }
        }
    }
    over.store(true, Relaxed);
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    report(&lanes, began);
    println!("never stuck in {:.1} minutes", began.elapsed().as_secs_f64() / 60.0);
    for Peer { node, _cells, .. } in peers {
        drop(_cells);
        node.stop().await;
    }
    Ok(())
}

fn report(lanes: &[(String, Arc<Progress>)], began: Instant) {
    for (name, progress) in lanes {
        let (messages, bytes) = (progress.messages.load(Relaxed), progress.bytes.load(Relaxed));
        println!("{name:<24} {messages:>9} messages {:>9} MiB", bytes >> 20);
    }
    let all: u64 = lanes.iter().map(|(_, progress)| progress.bytes.load(Relaxed)).sum();
    println!("{:.1} MiB/s there and back", all as f64 / (1 << 20) as f64 / began.elapsed().as_secs_f64());
}
