//! What anybody does who has nothing but an address of the node: sockets, handshakes, and as many keys as one likes.

use std::{net::SocketAddr, rc::Rc, time::Duration};

use futures::future::LocalBoxFuture;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    task::JoinSet,
    time::sleep,
};
use ww_net::{Config, Identity, Multiaddr, Net, Protocol};

use super::{
    enemy::Enemy,
    script::noise,
    streams::{OPEN, raw},
};
use crate::client::Client;

/// Sockets at once: more than may be in their handshake.
const SOCKETS: usize = 200;

/// Pause before a socket is opened anew: 2,000 a second in all. This row is held to the bar at this rate and not without a
/// pause: 12,000 connections a second from one address take the thread of the network from peers for a second, in which
/// answers are late and messages that `peer-timeout` ends are torn.
const PAUSE: Duration = Duration::from_millis(100);

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
    let to = socket_of(&enemy.places[0].1);
    let mut attackers = JoinSet::new();
    for _ in 0..SOCKETS {
        let (says, blows) = (says.clone(), enemy.blows.clone());
        attackers.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(to).await {
                    blows.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    while stream.write_all(&says).await.is_ok() && endless {}
                    stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
                }
                sleep(PAUSE).await;
            }
        });
    }
    attackers.join_all().await;
}

/// Packets that look like the first ones of connections over QUIC.
async fn packets(enemy: Rc<Enemy>) {
    let to = socket_of(&enemy.places[1].1);
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let mut packet = noise(1_200);
    // A long header of version 1, with connection ids of 8 bytes.
    packet[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
    packet[14] = 8;
    loop {
        for turn in 0..64_u64 {
            packet[6..14]
                .copy_from_slice(&(enemy.blows.load(std::sync::atomic::Ordering::Relaxed) * 64 + turn).to_le_bytes());
            // The system may have no room for it.
            socket.send_to(&packet, to).await.map(drop).unwrap_or_default();
        }
        enemy.struck();
        tokio::task::yield_now().await;
    }
}

/// Peers that come, begin a message and stay, each with a key of its own; those that are sent away come with another key.
async fn keys(enemy: Rc<Enemy>, transport: usize) {
    let to = enemy.places[transport].clone();
    let arbiter = enemy.platform.arbiter();
    let mut attackers = JoinSet::new();
    for number in 0..KEYS {
        let (to, blows, arbiter) = (to.clone(), enemy.blows.clone(), arbiter.clone());
        attackers.spawn(async move {
            loop {
                let net = Net::start(Config::default(), Identity::ephemeral(), &arbiter).await.expect("a network");
                let client = Client { net, to: to.clone() };
                let protocol = if number % 2 == 0 { raw(OPEN) } else { Protocol::Call };
                if let Ok(mut stream) = client.open(protocol).await {
                    blows.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    stream.write_all(b".").await.unwrap_or_default();
                    stream.flush().await.unwrap_or_default();
                    stream.read_to_end(&mut Vec::new()).await.map(drop).unwrap_or_default();
                }
                client.net.stop().await;
            }
        });
    }
    attackers.join_all().await;
}
