//! What peers do with streams to a published cell: nothing, a little, too much, or never the end of it.

use std::{rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::sleep,
};
use ww_core::Name;
use ww_net::{Protocol, Stream};

use super::{bar::Bar, enemy::Enemy, script::noise};
use crate::client::soon;

/// The cell that everybody may send messages to: one live instance.
pub(super) const OPEN: &str = "open";

/// The same with a fresh instance for each message.
pub(super) const FRESH: &str = "fresh";

/// Streams that a hostile peer tries to have at once, more than strangers of one address may.
const STREAMS: usize = 600;

/// What somebody does with a stream.
type Doing = fn(Stream) -> futures::future::BoxFuture<'static, ()>;

/// Every attack by streams: what it does, and to which cell.
pub(super) const STREAM_ROWS: [(&str, &str, Doing); 6] = [
    ("streams that say nothing", OPEN, |stream| Box::pin(silent(stream))),
    ("streams that say a little now and then", OPEN, |stream| Box::pin(slow(stream))),
    ("streams that do not listen", FRESH, |stream| Box::pin(deaf(stream))),
    ("streams that babble", FRESH, |stream| Box::pin(babbling(stream))),
    ("messages without end", OPEN, |stream| Box::pin(endless(stream))),
    ("streams that are reset at once", OPEN, |stream| Box::pin(async { drop(stream) })),
];

pub(super) fn raw(name: &str) -> Protocol {
    Protocol::from(Name::new(name).expect("a name"))
}

/// Opens as many streams as there may be, half of them for calls, and does with each what is hostile; again when it has ended.
pub(super) async fn attack(enemy: Rc<Enemy>, cell: &'static str, hostile: Doing) -> Result<(), capnp::Error> {
    let mut attackers = JoinSet::new();
    for number in 0..STREAMS {
        let (client, enemy) = (enemy.peer().clone(), Enemy::clone(&enemy));
        let protocol = if number % 2 == 0 { raw(cell) } else { Protocol::Call };
        attackers.spawn(async move {
            loop {
                // Too many at once are refused, at either end. One that is open was accepted by the node.
                match client.open(protocol.clone()).await {
                    Ok(stream) => {
                        enemy.struck();
                        hostile(stream).await;
                    }
                    Err(error) => enemy.failed(error),
                }
                sleep(Duration::from_millis(1)).await;
            }
        });
    }
    attackers.join_all().await;
    Ok(())
}

/// Says nothing until the node has had enough.
async fn silent(mut stream: Stream) {
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap_or_default();
}

/// Says a little now and then.
async fn slow(mut stream: Stream) {
    while stream.write_all(b".").await.is_ok() && stream.flush().await.is_ok() {
        sleep(Bar::of_this_run().silence / 4).await;
    }
}

/// Sends what will be sent back, and takes nothing of it.
async fn deaf(mut stream: Stream) {
    for _ in 0..32 {
        if soon(stream.write_all(&[b'x'; 64 * 1024])).await.is_err() {
            return;
        }
    }
    stream.shutdown().await.unwrap_or_default();
    sleep(2 * Bar::of_this_run().silence).await;
}

/// Sends whatever comes to its mind, without end.
async fn babbling(mut stream: Stream) {
    let noise = noise(16 * 1024);
    while soon(stream.write_all(&noise)).await.is_ok() {}
}

/// Sends without end, and takes what comes back.
async fn endless(stream: Stream) {
    let (mut reply, mut request) = stream.into_split();
    let taking = async {
        let mut buffer = vec![0; 64 * 1024];
        while reply.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let sending = async { while request.write_all(&[b'\n'; 16 * 1024]).await.is_ok() {} };
    // When the reply has ended, so has the message.
    tokio::select! {
        () = taking => {}
        () = sending => {}
    }
}
