//! A program of your own that runs other people's code: it starts a node, boots an image and reads what the image's
//! cell writes.
//!
//! `make images`, then `cargo run --example embed -- examples/images/child-echo hello`.

use anyhow::Context;
use ww::{Boot, Config, Node, terminal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let image = args.next().context("expected the path of an image, then what to say to it")?;
    let said = args.next().unwrap_or_default();

    let mut config = Config::default();
    // On loopback, with a key of this run alone.
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
    config.identity = None;
    let node = Node::start(config, tokio::runtime::Handle::current()).await?;
    println!("the node is {}", node.net().peer_id());

    let image = node.load(&image).await?;
    let (stdio, ends) = terminal::pipes();
    let cell = node.boot(image, Boot::default(), stdio).await?;
    ends.stdin.write_all(said.as_bytes()).await?;
    ends.stdin.close();
    loop {
        let bytes = ends.stdout.read(usize::MAX).await?;
        if bytes.is_empty() {
            break;
        }
        print!("{}", String::from_utf8_lossy(&bytes));
    }
    let reason = cell.exit().wait().await;
    println!("the cell ended: {reason}");
    node.stop().await;
    Ok(())
}
