//! A cell as an actor: one live instance that answers one message after the other.
//!
//! `make images`, then `cargo run --example actor -- examples/images/echo hello world`.

use std::time::Duration;

use anyhow::Context;
use ww::{Boot, Config, Node, Serving, cell::Mode};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
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
    drop(process);
    println!("the cell ended: {}", cell.exit().wait().await);
    node.stop().await;
    Ok(())
}
