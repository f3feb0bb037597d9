//! The network of a node in a swarm that somebody else made and drives.

use std::time::Duration;

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, noise, ping,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use ww_net::{Behaviour, Config, ConnectError, Net, OpenError, Protocol};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the program itself speaks, and the node's share.
#[derive(NetworkBehaviour)]
struct Mine {
    ping: ping::Behaviour,
    node: Behaviour,
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes far too long")
}

fn swarm() -> (Net, Swarm<Mine>) {
    let builder = SwarmBuilder::with_new_identity().with_tokio();
    let builder = builder.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default);
    let mut net = None;
    let builder = builder.expect("noise").with_behaviour(|key| {
        let (ours, node) = Net::in_swarm(PeerId::from(key.public()), &Config::default());
        net = Some(ours);
        Mine { ping: ping::Behaviour::default(), node }
    });
    let swarm = builder.expect("it cannot fail").build();
    (net.expect("the behaviour was made"), swarm)
}

/// Drives a swarm until the test ends.
fn drive(mut swarm: Swarm<Mine>) -> tokio::task::JoinSet<()> {
    let mut driving = tokio::task::JoinSet::new();
    driving.spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    driving
}

async fn listening(swarm: &mut Swarm<Mine>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("a port");
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_go_both_ways_in_swarms_of_the_programs_own() {
    let ((server, mut serving), (client, mut dialling)) = (swarm(), swarm());
    let addr = soon(listening(&mut serving)).await;
    let name = Protocol::from("echo".parse::<ww_core::Name>().expect("a name"));
    let mut incoming = server.accept(name.clone()).expect("the name is free");

    let refused = client.connect(server.peer_id(), vec![addr.clone()]).await;
    assert!(matches!(refused, Err(ConnectError::NotConnected { .. })), "the program dials: {refused:?}");
    dialling.dial(addr).expect("an address");
    let (_serving, _dialling) = (drive(serving), drive(dialling));
    while client.peers().await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.peers().await[0].peer_id, server.peer_id());
    client.connect(server.peer_id(), Vec::new()).await.expect("there is a connection");

    let echoing = async {
        let mut stream = incoming.next().await.expect("a stream").stream;
        let mut message = Vec::new();
        stream.read_to_end(&mut message).await.expect("whole");
        stream.write_all(&message).await.expect("it reads");
        stream.shutdown().await.expect("open");
    };
    let asking = async {
        let mut stream = client.open(server.peer_id(), Vec::new(), name).await.expect("it is accepted");
        stream.write_all(b"hello").await.expect("it reads");
        stream.shutdown().await.expect("open");
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await.expect("whole");
        reply
    };
    let ((), reply) = soon(async { tokio::join!(echoing, asking) }).await;
    assert_eq!(reply, b"hello");

    let other = Protocol::from("other".parse::<ww_core::Name>().expect("a name"));
    let unknown = soon(client.open(server.peer_id(), Vec::new(), other)).await;
    assert!(matches!(unknown, Err(OpenError::NoSuchProtocol { .. })), "{unknown:?}");
    drop(_dialling);
    soon(client.closed()).await;
}
