//! Messages from streams of your own: every TCP connection is one message to a cell, and its reply.
//!
//! The node has its sandbox and its limits; the streams, and who may open them, are this program's. Any stream will do: one
//! of a swarm of your own, a Unix socket, a pipe.
//!
//! `make images`, then `cargo run --example streams -- examples/images/echo 3` serves three connections and ends;
//! `echo hello | nc -N 127.0.0.1 <port>` is a client.

use std::time::Duration;

use anyhow::Context;
use tokio::{net::TcpListener, task::JoinSet};
use ww::{Boot, Config, Node, Serving, cell::Mode, serve};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let image = args.next().context("expected the path of an image, then a number of connections")?;
    let connections: usize = args.next().context("expected a number of connections")?.parse()?;

    let mut config = Config::default();
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
    config.identity = None;
    let node = Node::start(config, tokio::runtime::Handle::current()).await?;
    let image = node.load(&image).await?;
    let process = node.serve(image, Boot::default(), Serving::new(Mode::Async)).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let mut serving = JoinSet::new();
    for _ in 0..connections {
        let (stream, from) = listener.accept().await?;
        let slot = process.cell().slot().clone();
        serving.spawn(async move { (from, serve::process_message(&slot, stream, Some(PATIENCE)).await) });
    }
    while let Some(served) = serving.join_next().await {
        let (from, outcome) = served?;
        match outcome {
            Ok(()) => println!("{from}: answered"),
            Err(failure) => println!("{from}: {failure}"),
        }
    }
    node.stop().await;
    Ok(())
}
