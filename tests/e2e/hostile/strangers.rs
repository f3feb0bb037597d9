//! What anybody does who has nothing but an address of the node: sockets, handshakes, and as many keys as one likes.

use std::{net::SocketAddr, rc::Rc};

use futures::future::LocalBoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::sleep,
};
use ww_net::{Config, Identity, Multiaddr, Net, Protocol};

use super::{
    bar::Bar,
    enemy::Enemy,
    script::noise,
    streams::{OPEN, raw},
};
use crate::client::Client;

/// Sockets at once: more than may be in their handshake. With the pauses of the bar they come 200 times a second in a run of the
/// tests, 2,000 times in a soak. These rows are not held to the bar without a pause: 12,000 connections a second from one
/// address take the thread of the network from peers for a second, in which answers are late and messages that `peer-timeout`
/// ends are torn.
const SOCKETS: usize = 200;

/// Keys at once: more than an address may have connections.
const KEYS: usize = 80;

/// What one of them does, until it is dropped.
type Doing = fn(Rc<Enemy>) -> LocalBoxFuture<'static, ()>;

/// Every attack of strangers, by what it does.
pub(super) const STRANGERS: [(&str, Doing); 6] = [
    ("sockets that say nothing", |enemy| Box::pin(sockets(enemy, Vec::new(), false))),
    ("sockets that say anything", |enemy| Box::pin(sockets(enemy, noise(4 << 10), true))),
    ("handshakes that stop in the middle", |enemy| Box::pin(sockets(enemy, greeting(), false))),
    ("packets without end", |enemy| Box::pin(packets(enemy))),
    ("as many keys as one likes, over TCP", |enemy| Box::pin(keys(enemy, 0))),
    ("as many keys as one likes, over QUIC", |enemy| Box::pin(keys(enemy, 1))),
];

/// What a peer says first over TCP, by multistream-select, and half of what comes next.
fn greeting() -> Vec<u8> {
    [&b"\x13/multistream/1.0.0\n\x07/noise\n"[..], &[0, 32, 1, 2, 3]].concat()
}

fn socket_of(addr: &Multiaddr) -> SocketAddr {
    let text = addr.to_string();
    let mut parts = text.split('/').skip(2);
    let (ip, port) = (parts.next().expect("an address"), parts.nth(1).expect("a port"));
    format!("{ip}:{port}").parse().expect("an address and a port")
}

/// Connects as often as it may; says this, once or without end, and waits for the end.
async fn sockets(enemy: Rc<Enemy>, says: Vec<u8>, endless: bool) {
    let (to, pause) = (socket_of(&enemy.places[0].1), Bar::of_this_run().pause);
    let mut attackers = JoinSet::new();
    for _ in 0..SOCKETS {
        let (says, enemy) = (says.clone(), Enemy::clone(&enemy));
        attackers.spawn(async move {
            loop {
                match TcpStream::connect(to).await {
                    Ok(mut stream) => {
                        while stream.write_all(&says).await.is_ok() && endless {}
                        // What it says, or the end that it makes.
                        stream.read(&mut [0; 64]).await.map(drop).unwrap_or_default();
                        enemy.struck();
                        stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
                    }
                    Err(error) => enemy.failed(error),
                }
                sleep(pause).await;
            }
        });
    }
    attackers.join_all().await;
}

/// Packets that look like the first ones of connections over QUIC, and now and then one of a version that the node names in
/// its answer that it does not know.
async fn packets(enemy: Rc<Enemy>) {
    let to = socket_of(&enemy.places[1].1);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut packet = noise(1_200);
    // A long header with connection ids of 8 bytes.
    packet[0] = 0xc3;
    packet[5] = 8;
    packet[14] = 8;
    for turn in 0_u64.. {
        let version = if turn % 64 == 0 { 0x0a0a_0a0a } else { 1_u32 };
        packet[1..5].copy_from_slice(&version.to_be_bytes());
        packet[6..14].copy_from_slice(&turn.to_le_bytes());
        // The system may have no room for it.
        socket.send_to(&packet, to).await.map(drop).unwrap_or_else(|error| enemy.failed(error));
        if turn % 64 == 63 {
            while socket.try_recv(&mut [0; 2_048]).is_ok() {
                enemy.struck();
            }
            tokio::task::yield_now().await;
        }
    }
}

/// Peers that come, begin a message and stay, each with a key of its own; those that are sent away come with another key.
async fn keys(enemy: Rc<Enemy>, transport: usize) {
    let to = enemy.places[transport].clone();
    let arbiter = enemy.platform.arbiter().expect("a thread starts");
    let mut attackers = JoinSet::new();
    for number in 0..KEYS {
        let (to, enemy, arbiter) = (to.clone(), Enemy::clone(&enemy), arbiter.clone());
        attackers.spawn(async move {
            loop {
                let net = Net::start(Config::default(), Identity::ephemeral(), &arbiter).await.expect("a network");
                enemy.keep(number, net.clone());
                let client = Client { net, to: to.clone() };
                let protocol = if number % 2 == 0 { raw(OPEN) } else { Protocol::Call };
                match client.open(protocol).await {
                    Ok(mut stream) => {
                        enemy.struck();
                        stream.write_all(b".").await.unwrap_or_default();
                        stream.flush().await.unwrap_or_default();
                        stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
                    }
                    Err(error) => enemy.failed(error),
                }
                client.net.stop().await;
            }
        });
    }
    attackers.join_all().await;
}
