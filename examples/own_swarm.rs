//! A node in a swarm of your own: the program has its identity, its transports, its behaviours and its connections, and
//! gives the node a share in them.
//!
//! `make images`, then `cargo run --example own_swarm -- examples/images/echo 1` serves one message under the name `echo`
//! and ends; `ww send <address>/p2p/<peer id>/echo hello`, with what is printed, is a client.

use anyhow::Context;
use futures::StreamExt;
use libp2p::{
    PeerId, SwarmBuilder, noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use ww::{
    Audience, Boot, Config, Node, Serving,
    cell::Mode,
    net::{self, Net},
};

/// What this program speaks, and the node's share.
#[derive(NetworkBehaviour)]
struct Mine {
    ping: ping::Behaviour,
    node: net::Behaviour,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let image = args.next().context("expected the path of an image, then a number of messages")?;
    let messages: u64 = args.next().context("expected a number of messages")?.parse()?;

    let mut share = None;
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| {
            let (net, node) = Net::in_swarm(PeerId::from(key.public()), &net::Config::default());
            share = Some(net);
            Mine { ping: ping::Behaviour::default(), node }
        })?
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;

    let net = share.context("the behaviour was made")?;
    let node = Node::start_in(Config::default(), tokio::runtime::Handle::current(), net).await?;
    let image = node.load(&image).await?;
    let cell = node.serve(image, Boot::default(), Serving::new(Mode::Async)).await?;
    let published = node.publish("echo".parse()?, cell.cell(), Audience::All)?;

    while cell.cell().meters().answered() < messages {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => println!("{address}/p2p/{}/echo", swarm.local_peer_id()),
            SwarmEvent::ConnectionClosed { peer_id, .. } => println!("{peer_id} has left"),
            _ => {}
        }
    }
    drop(published);
    node.stop().await;
    Ok(())
}
