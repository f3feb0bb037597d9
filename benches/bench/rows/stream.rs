//! A peer sends messages to a live cell over libp2p, each on a stream of its own: raw, as any libp2p client does, and in
//! frames.
//!
//! The floor is the same stream behaviour of the same node with an echo in Rust behind it.

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
};
use ww::{Audience, Node, Owner, Serving, cell::Mode, executor::Spec};
use ww_core::{Name, Platform, task};
use ww_net::{
    Identity, Protocol, Stream,
    call::{self, Accepted, Asked, Ending, Header, Part, Status, Target as To},
};

use super::{IN_FLIGHT, Row, SIZES, message};
use crate::{
    harness::{Plan, Record, Side, Target, compare, threads},
    node::{Peer, TRANSPORTS, guest, node},
};

pub(crate) const ROW: Row = Row { name: "stream", about: "a peer sends messages to a cell", run };

const GUEST: &str = "mirror";

/// The cell, and the echoes in Rust.
const NAMES: [&str; 3] = ["cell", "raw", "framed"];

fn run(plan: &Plan) -> Result<Vec<Record>> {
    threads()?.block_on(async {
        let (node, _) = node(|_| {}).await?;
        let spec = Spec::new(guest(GUEST)?);
        let cell = node.executor().spawn(Owner::Node, spec, Serving::new(Mode::Async)).await?;
        let published = node.publish(name(0), cell.cell(), Audience::All)?;
        echo(&node)?;
        let platform = Platform::start(Handle::current())?;
        let mut records = Vec::new();
        for (transport, marker) in TRANSPORTS {
            let peer = Peer::connect(&platform, Identity::ephemeral(), &node, marker).await?;
            for (kind, framed) in [("raw", false), ("framed", true)] {
                for (bytes, size) in SIZES {
                    // The sizes of the table: the smallest is that of a line.
                    let (bytes, size) = if bytes == 16 { (64, "64B") } else { (bytes, size) };
                    for in_flight in IN_FLIGHT {
                        let name = format!("stream/{transport}/{kind}/{size}/{in_flight}");
                        if !plan.wants(&name) {
                            continue;
                        }
                        let floor = side(&peer, if framed { 2 } else { 1 }, framed, framed, bytes);
                        let value = side(&peer, 0, framed, false, bytes);
                        let both = compare(plan, &value.in_flight(in_flight), &floor.in_flight(in_flight)).await?;
                        let record = if in_flight == 1 { Record::time(name, &both) } else { Record::rate(name, &both) };
                        records.push(record.target(Target::Ratio(1.3)));
                    }
                }
            }
            peer.stop().await;
        }
        drop(published);
        drop(cell);
        node.stop().await;
        platform.stop();
        Ok(records)
    })
}

fn name(place: usize) -> Name {
    Name::new(NAMES[place]).expect("a name")
}

/// Accepts streams of the floor.
fn echo(node: &Node) -> Result<()> {
    for (place, framed) in [(1, false), (2, true)] {
        let mut incoming = node.net().accept(name(place).into())?;
        drop(task::spawn(&Handle::current(), task::Kind::detached("accept", "floor"), async move {
            while let Some(incoming) = incoming.next().await {
                drop(task::spawn(&Handle::current(), task::Kind::detached("echo", "floor"), async move {
                    // Whoever sent it sees what became of it.
                    let _ = if framed { echo_framed(incoming.stream).await } else { echo_raw(incoming.stream).await };
                }));
            }
        }));
    }
    Ok(())
}

async fn echo_raw(mut stream: Stream) -> Result<()> {
    let mut message = Vec::new();
    stream.read_to_end(&mut message).await?;
    stream.write_all(&message).await?;
    Ok(stream.shutdown().await?)
}

async fn echo_framed(stream: Stream) -> Result<()> {
    let Accepted { mut body, mut reply, .. } = call::accept(stream).await?;
    let mut message = Vec::new();
    while let Part::Data(bytes) = body.read().await? {
        message.extend_from_slice(bytes);
    }
    reply.write(&message).await?;
    Ok(reply.finish(Status::Ok).await?)
}

/// Messages of so many bytes to whoever has this name. Calls go by the header, those of the floor by the protocol.
fn side(peer: &Peer, to: usize, framed: bool, bare: bool, bytes: usize) -> Side {
    let message = message(bytes);
    Side::new((peer.clone(), name(to)), move |(peer, to)| async move {
        let protocol = if framed && !bare { Protocol::Call } else { to.clone().into() };
        let stream = peer.open(protocol).await?;
        if framed { send_framed(stream, to, message).await } else { send_raw(stream, message).await }
    })
}

async fn send_raw(stream: Stream, message: &[u8]) -> Result<()> {
    let (mut reply, mut body) = stream.into_split();
    let sending = async {
        body.write_all(message).await?;
        anyhow::Ok(body.shutdown().await?)
    };
    let receiving = async {
        let mut all = Vec::new();
        reply.read_to_end(&mut all).await?;
        anyhow::ensure!(all == message, "{} bytes of {} came back", all.len(), message.len());
        Ok(())
    };
    tokio::try_join!(sending, receiving).map(drop)
}

async fn send_framed(stream: Stream, to: Name, message: &[u8]) -> Result<()> {
    let header = Header { target: To::Name(to), remaining: None, trace: 1, message: 1 };
    let Asked { mut body, mut reply } = call::ask(stream, &header);
    let sending = async {
        body.write(message).await?;
        anyhow::Ok(body.finish(Ending::Whole).await?)
    };
    let receiving = async {
        let mut all = Vec::new();
        loop {
            match reply.read().await? {
                Part::Data(bytes) => all.extend_from_slice(bytes),
                Part::End(Status::Ok) => break,
                Part::End(status) => bail!("{status:?}"),
            }
        }
        anyhow::ensure!(all == message, "{} bytes of {} came back", all.len(), message.len());
        Ok(())
    };
    tokio::try_join!(sending, receiving).map(drop)
}
