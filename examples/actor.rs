//! A cell as an actor: one live instance that answers one message after the other, and a Rust actor that watches it.
//!
//! The two are alike to each other: each can monitor the other and link with it.
//!
//! `make images`, then `cargo run --example actor -- examples/images/echo hello world`.

use std::time::Duration;

use actix::{Actor, StreamHandler};
use anyhow::Context;
use tokio::{sync::oneshot, task::LocalSet};
use ww::{
    Boot, Config, Node, Serving,
    cell::{Mode, Native},
    exit::Reason,
    links::Signal,
};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// An actix actor that tells of the end of a cell.
struct Watcher {
    /// As long as it has this, it is there for others.
    _native: Native,
    told: Option<oneshot::Sender<Reason>>,
}

impl Actor for Watcher {
    type Context = actix::Context<Self>;
}

impl StreamHandler<Signal> for Watcher {
    fn handle(&mut self, signal: Signal, _: &mut Self::Context) {
        if let Some(told) = self.told.take() {
            // Whoever waits for it waits in `run`.
            let _ = told.send(signal.reason().clone());
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Where actix actors live.
    LocalSet::new().run_until(run()).await
}

async fn run() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let image = args.next().context("expected the path of an image, then messages for it")?;

    let mut config = Config::default();
    // On loopback, with a key of this run alone.
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
    config.identity = None;
    let node = Node::start(config, tokio::runtime::Handle::current()).await?;

    let image = node.load(&image).await?;
    let process = node.serve(image, Boot::default(), Serving::new(Mode::Async)).await?;
    let cell = process.cell().clone();
    for message in args {
        let reply = cell.ask(cell.envelope(Some(PATIENCE)), message.into_bytes()).await?;
        println!("{}", String::from_utf8_lossy(&reply));
    }

    let (native, notices) = node.directory().enter();
    native.monitor(cell.id())?;
    let (told, end) = oneshot::channel();
    Watcher::create(|ctx| {
        Watcher::add_stream(notices, ctx);
        Watcher { _native: native, told: Some(told) }
    });
    drop(process);
    println!("the cell ended: {}", end.await?);
    node.stop().await;
    Ok(())
}
